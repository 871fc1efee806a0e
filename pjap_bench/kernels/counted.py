"""Random numbers without generators: one kernel draws for all runs (`draws.Draws`).

A number is a function of the run's seed, of how often the run has drawn, and of its place in that draw: Philox 4x32-10
(Salmon et al., 2011), Triton's. Torch's generators would be a kernel for each run and draw, and two more for each before a
recorded graph starts.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 256  # counters of a program, each good for four numbers; part of what is drawn


class Counted:
    """Streams of runs with these seeds, [R] int64 on the device, that have drawn `count` times, [R] int64, counted in place."""

    def __init__(self, seeds: Tensor, count: Tensor):
        self._seeds, self._count = seeds, count

    def uniform(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return self._drawn(shape, dtype or torch.get_default_dtype(), normal=False)

    def normal(self, *shape: int) -> Tensor:
        return self._drawn(shape, torch.get_default_dtype(), normal=True)

    def of(self, runs: slice) -> "Counted":
        return Counted(self._seeds[runs], self._count[runs])  # views: it counts for the whole

    def tensors(self) -> dict[str, Tensor]:
        return {"count": self._count}

    def generators(self) -> list[torch.Generator]:
        return []

    def _drawn(self, shape: tuple[int, ...], dtype: torch.dtype, normal: bool) -> Tensor:
        found = torch.empty(len(self._seeds), *shape, dtype=dtype, device=self._seeds.device)
        numbers = found[0].numel()
        _draw[triton.cdiv(numbers, 4 * _BLOCK), len(found)](
            self._seeds, self._count, found, numbers, DOUBLE=dtype == torch.float64, NORMAL=normal, BLOCK=_BLOCK
        )
        self._count += 1
        return found


@triton.jit
def _draw(seeds, counts, found, numbers, DOUBLE: tl.constexpr, NORMAL: tl.constexpr, BLOCK: tl.constexpr):
    """Four numbers from every counter, or from two in double precision."""
    run, start, lane = tl.program_id(1), tl.program_id(0) * BLOCK, tl.arange(0, BLOCK)
    seed, count = tl.load(seeds + run), tl.load(counts + run)
    place, nothing = (start + lane).to(tl.uint32), (lane * 0).to(tl.uint32)
    low, high = nothing + (count & 0xFFFFFFFF).to(tl.uint32), nothing + (count >> 32).to(tl.uint32)
    first, second, third, fourth = tl.philox(seed, place, nothing, low, high)
    to, at = found + run.to(tl.int64) * numbers, start * 4 + lane
    if DOUBLE:
        other = tl.philox(seed, place, nothing + 1, low, high)
        first, second = _double(first, second), _double(third, fourth)
        third, fourth = _double(other[0], other[1]), _double(other[2], other[3])
    else:
        first, second, third, fourth = _single(first), _single(second), _single(third), _single(fourth)
    if NORMAL:
        first, second = _normal(first, second)
        third, fourth = _normal(third, fourth)
    tl.store(to + at, first, mask=at < numbers)
    tl.store(to + at + BLOCK, second, mask=at + BLOCK < numbers)
    tl.store(to + at + 2 * BLOCK, third, mask=at + 2 * BLOCK < numbers)
    tl.store(to + at + 3 * BLOCK, fourth, mask=at + 3 * BLOCK < numbers)


@triton.jit
def _single(word):
    """[0, 1) in steps of 2^-24."""
    return (word >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def _double(word, other):
    """[0, 1) in steps of 2^-53."""
    high, low = (word >> 5).to(tl.int32).to(tl.float64), (other >> 6).to(tl.int32).to(tl.float64)
    return (high * 67108864.0 + low) * 1.1102230246251565e-16


@triton.jit
def _normal(first, second):
    """Two normal numbers of two uniform ones (Box and Muller, 1958)."""
    radius, angle = tl.sqrt(-2.0 * tl.log(1.0 - first)), 6.283185307179586 * second  # 1 - first: never 0
    return radius * tl.cos(angle), radius * tl.sin(angle)
