"""Pinned releases: results in a folder pinned/NAME whose every file is known by its sha256, and what is done with them.

contents    which files of a results folder a release takes
checks      what results must be like to be pinned: finished, of one code, one set of images, one configuration
pinning     makes a release
manifest    release.json, and the check of every file on every use
crate       the release as an RO-Crate
redrawing   figures, statistics and verdict anew from a release, without training
comparison  what changed between two results
citation    how to cite a release
"""
