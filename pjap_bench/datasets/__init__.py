"""Datasets: cards (what a dataset is), HDF5 (how it is stored), collection and mixtures (how it is made)."""
