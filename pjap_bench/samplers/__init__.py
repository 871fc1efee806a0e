"""Samplers: which sequences an update sees. A sampler receives distances and gives back start indices, and knows no algorithm.

To add one: a file beside this one with a class that has the methods of `Sampler`, and a line in `SAMPLERS`. Everything
is a tensor on one device and changes in place, so that an update never waits for the host.

Shapes: R runs (all seeds of an arm), B sequences of a batch.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pjap_bench.errors import BenchError
from pjap_bench.samplers.pjap import ProximalJointActionSampler
from pjap_bench.samplers.td_error import TdErrorSampler
from pjap_bench.samplers.uniform import UniformSampler

Draw = Callable[[int], Tensor]  # n -> [R, n] float64, uniform in [0, 1), each run's from its own stream


class Sampler(Protocol):
    """The samplers of runs side by side over the start indices 0 .. starts - 1 of the dataset's time line."""

    #: what it learns of sequences: "distance" to the joint policy, "td_error", or None for nothing
    measure: str | None

    def __init__(self, runs: int, starts: int, settings: dict, device: torch.device): ...

    def sample(self, size: int, draw: Draw) -> Tensor:
        """Start indices of one batch of every run, [R, size] int64."""
        ...

    def to_refresh(self, sampled: Tensor, draw: Draw) -> Tensor | None:
        """The start indices [R, n] whose measure it wants after this update: `sampled` itself, others, or None for none.

        Others are possible for the distance alone, which needs no more than the policy.
        """
        ...

    def refresh(self, indices: Tensor, measures: Tensor, update: Tensor) -> None:
        """Takes the measures [R, n] of the sequences at `indices`; `update` counts from 1. Numbers of a run that are not
        finite change nothing of it (the run is stopped soon)."""
        ...

    def effective_sample_size(self) -> Tensor:
        """(sum p)^2 / (n sum p^2) of the sampling probabilities, [R]: 1 if uniform, 1/n if all on one sequence."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Its live tensors, [R, ...]: all that must be put back to go on as if never interrupted."""
        ...


SAMPLERS: dict[str, type[Sampler]] = {
    "uniform": UniformSampler,
    "pjap": ProximalJointActionSampler,
    "td_error": TdErrorSampler,
}


def make(name: str, runs: int, starts: int, settings: dict, device: torch.device) -> Sampler:
    """The samplers of that name for `runs` runs.

    Raises:
        BenchError: no such sampler.
    """
    if name not in SAMPLERS:
        raise BenchError(f"unknown sampler '{name}'", do=f"use one of: {', '.join(SAMPLERS)}")
    return SAMPLERS[name](runs, starts, settings, device)
