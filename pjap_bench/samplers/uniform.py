"""Uniform sampling with replacement: the baseline."""

import torch
from torch import Tensor


class UniformSampler:
    """Every start index with equal probability."""

    measure = None

    def __init__(self, runs: int, starts: int, settings: dict, device: torch.device):
        self._runs, self._starts, self._device = runs, starts, device

    def sample(self, size: int, draw) -> Tensor:
        """Start indices, [R, size] int64."""
        return (draw(size) * self._starts).long()

    def to_refresh(self, sampled: Tensor, draw) -> None:
        """Nothing matters here."""

    def refresh(self, indices: Tensor, measures: Tensor, update: Tensor) -> None:
        """Nothing to learn."""

    def effective_sample_size(self) -> Tensor:
        """1: uniform."""
        return torch.ones(self._runs, dtype=torch.float64, device=self._device)

    def state(self) -> dict[str, Tensor]:
        """It has none."""
        return {}
