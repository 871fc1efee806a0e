"""Samplers: which sequences an update sees. A sampler receives distances and gives back start indices, and knows no algorithm.

To add one: a file beside this one with a class that has the methods of `Sampler`, and a line in `SAMPLERS`.
"""

from typing import Protocol

import numpy as np

from pjap_bench.errors import BenchError
from pjap_bench.samplers.pjap import ProximalJointActionSampler
from pjap_bench.samplers.uniform import UniformSampler


class Sampler(Protocol):
    """One run's sampler over the start indices 0 .. starts - 1 of the dataset's time line."""

    def __init__(self, starts: int, settings: dict): ...

    def sample(self, size: int, random: np.random.Generator) -> np.ndarray:
        """Start indices of one batch, [size] int64."""
        ...

    def to_refresh(self, sampled: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
        """The start indices whose distance to the current joint policy it wants after this update, or None for none."""
        ...

    def refresh(self, indices: np.ndarray, distances: np.ndarray, update: int) -> None:
        """Takes the mean distances [len(indices)] of the sequences at `indices`, measured at `update`."""
        ...

    def effective_sample_size(self) -> float:
        """(sum p)^2 / (n sum p^2) of the sampling probabilities: 1 if uniform, 1/n if all on one sequence."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that `load` needs to go on as if never interrupted."""
        ...

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Takes back what `state` gave."""
        ...


SAMPLERS: dict[str, type[Sampler]] = {"uniform": UniformSampler, "pjap": ProximalJointActionSampler}


def make(name: str, starts: int, settings: dict) -> Sampler:
    """The sampler of that name.

    Raises:
        BenchError: no such sampler.
    """
    if name not in SAMPLERS:
        raise BenchError(f"unknown sampler '{name}'", do=f"use one of: {', '.join(SAMPLERS)}")
    return SAMPLERS[name](starts, settings)
