"""Random numbers of runs side by side, each run's from a stream of its own, whoever its neighbours are."""

from typing import Protocol

import torch
from torch import Tensor

from pjap_bench import kernels


class Draws(Protocol):
    """The streams of R runs; a draw takes as much from each."""

    def uniform(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """[R, *shape] in [0, 1), of torch's default type if none is said."""
        ...

    def normal(self, *shape: int) -> Tensor:
        """[R, *shape] of mean 0 and standard deviation 1."""
        ...

    def of(self, runs: slice) -> "Draws":
        """Of some of the runs: drawing there goes on in the same streams."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What changes with a draw and is a tensor, [R, ...]."""
        ...

    def generators(self) -> list[torch.Generator]:
        """What changes with a draw and is a generator: one for each run, or none."""
        ...


class Streams:
    """Torch's generators, one for each run, that draw one after the other."""

    def __init__(self, generators: list[torch.Generator]):
        self._generators = generators

    def uniform(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        drawn = [torch.rand(shape, dtype=dtype, generator=own, device=own.device) for own in self._generators]
        return torch.stack(drawn)

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=own, device=own.device) for own in self._generators])

    def of(self, runs: slice) -> "Streams":
        return Streams(self._generators[runs])

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def generators(self) -> list[torch.Generator]:
        return self._generators


def make(seeds: list[int], device: torch.device) -> Draws:
    """Streams of runs with these seeds, below 2^63: on a GPU with kernels one kernel draws for all runs, else torch does."""
    if device.type == kernels.DEVICE:
        from pjap_bench.kernels.counted import Counted

        numbers = torch.tensor(seeds, dtype=torch.int64, device=device)
        return Counted(numbers, torch.zeros_like(numbers))
    return Streams([torch.Generator(device).manual_seed(seed) for seed in seeds])
