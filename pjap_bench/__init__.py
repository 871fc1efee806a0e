"""pjap_bench: the reproducible benchmark of 'Coordination Failure in Cooperative Offline MARL' (Tilbury et al., 2024)."""

__version__ = "0.1.0"
