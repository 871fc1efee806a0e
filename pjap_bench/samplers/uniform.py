"""Uniform sampling with replacement: the baseline."""

import numpy as np


class UniformSampler:
    """Every start index with equal probability."""

    def __init__(self, starts: int, settings: dict):
        self._starts = starts

    def sample(self, size: int, random: np.random.Generator) -> np.ndarray:
        """Start indices, [size] int64."""
        return random.integers(self._starts, size=size)

    def to_refresh(self, sampled: np.ndarray, random: np.random.Generator) -> None:
        """Distances do not matter here."""

    def refresh(self, indices: np.ndarray, distances: np.ndarray, update: int) -> None:
        """Nothing to learn from distances."""

    def effective_sample_size(self) -> float:
        """1: uniform."""
        return 1.0

    def state(self) -> dict[str, np.ndarray]:
        """It has none."""
        return {}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """It has none."""
