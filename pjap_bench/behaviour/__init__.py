"""Behaviour policies: the systems whose noisy play is the data. `policy` plays them (NumPy), `matd3` trains them (torch)."""
