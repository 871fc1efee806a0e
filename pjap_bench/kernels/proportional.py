"""Proportional sampling: `sample` draws in one kernel, `change` sets priorities and all sums in three, what
`samplers.priorities.Priorities` does otherwise in 27 and 20 operations.

Sums are of double precision and in a fixed order, another than torch's: where they are rounded, a draw at the border of two
sequences may take the other one. Where they are exact, draws are the same.

Shapes: R runs, B draws of each, n indices of each, priorities in blocks [R, blocks, size of a block].
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_INFINITY = tl.constexpr(float("inf"))
_OWN = 8  # draws, or changed priorities, of a program
_OTHERS = 256  # priorities at a time that a changed one is compared to
_SUMS = 8192  # blocks at a time that are added up: all of 1,000,000 sequences


def sample(uniforms: Tensor, priorities: Tensor, sums: Tensor, cumulative: Tensor) -> Tensor:
    """One draw from each of B equal shares of a run's total priority.

    Args:
        uniforms: [R, B] float64.
        priorities: [R, blocks, size] float32, contiguous.
        sums: of the blocks, [R, blocks] float64, contiguous.
        cumulative: sums of these from the first one on, [R, blocks] float64, contiguous; never below the one before, and equal
            to it at a block without priority.

    Returns:
        indices into all priorities of a run, [R, B] int64.
    """
    (runs, draws), (blocks, size) = uniforms.shape, priorities.shape[1:]
    found = torch.empty(runs, draws, dtype=torch.int64, device=uniforms.device)
    _sample[triton.cdiv(draws, _OWN), runs](
        uniforms.contiguous(), priorities, sums, cumulative, found, draws, blocks,
        STEPS=(blocks - 1).bit_length(), OWN=_OWN, SIZE=size, enable_fp_fusion=False,  # torch rounds a product, too
    )  # fmt: skip
    return found


def change(indices: Tensor, values: Tensor, priorities: Tensor, sums: Tensor, cumulative: Tensor) -> None:
    """Sets the priorities at `indices` [R, n] int64 to `values` [R, n], and the sums, in place; the others are as in `sample`.

    A run with a value that is not finite keeps all of its own; a sequence that is there twice takes the smaller value.
    """
    (runs, count), (blocks, size) = indices.shape, priorities.shape[1:]
    indices, grid = indices.contiguous(), (triton.cdiv(count, _OWN), runs)
    _set[grid](
        indices, values.contiguous(), priorities, count, blocks * size,
        TURNS=triton.cdiv(count, _OTHERS), OWN=_OWN, OTHERS=_OTHERS,
    )  # fmt: skip
    _add[grid](indices, priorities, sums, count, blocks, OWN=_OWN, SIZE=size)
    at_once = min(_SUMS, triton.next_power_of_2(blocks))
    _accumulate[runs,](
        sums, cumulative, blocks,
        TURNS=triton.cdiv(blocks, at_once), SUMS=at_once, num_warps=max(1, at_once // 512),  # 16 sums of a thread
    )  # fmt: skip


@triton.jit
def _sample(
    uniforms, priorities, sums, cumulative, found, draws, blocks,
    STEPS: tl.constexpr, OWN: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Some draws of a run: a binary search among the sums of blocks, then one inside a block's own sums."""
    run = tl.program_id(1).to(tl.int64)  # 64 bits: of many runs there may be more than 2^31 priorities
    draw, place = tl.program_id(0) * OWN + tl.arange(0, OWN), tl.arange(0, SIZE)[None, :]
    priorities, sums, cumulative = priorities + run * blocks * SIZE, sums + run * blocks, cumulative + run * blocks
    total = tl.load(cumulative + blocks - 1)
    wanted = (draw + tl.load(uniforms + run * draws + draw, mask=draw < draws, other=0.0)) / draws * total
    # The first that goes beyond what is wanted or, since rounding can point past the end, the first that reaches the total: both
    # rise there, so that the block has a positive priority.
    first, block = draw * 0, draw * 0 + blocks - 1
    for _ in range(STEPS):
        middle = (first + block) // 2
        until = tl.load(cumulative + middle)
        reached = (until > wanted) | (until == total)
        first, block = tl.where(reached, first, middle + 1), tl.where(reached, middle, block)
    rest = tl.maximum(wanted - (tl.load(cumulative + block) - tl.load(sums + block)), 0.0)
    own = tl.load(priorities + block.to(tl.int64)[:, None] * SIZE + place).to(tl.float64)
    inside = tl.where(own > 0.0, tl.cumsum(own, axis=1), 0.0)  # in the order of this sum it may fall by a rounding
    reached = (inside > rest[:, None]) | (inside == tl.max(inside, axis=1)[:, None])
    index = block.to(tl.int64) * SIZE + tl.min(tl.where(reached, place, SIZE), axis=1)
    tl.store(found + run * draws + draw, index, mask=draw < draws)


@triton.jit
def _set(indices, values, priorities, count, numbers, TURNS: tl.constexpr, OWN: tl.constexpr, OTHERS: tl.constexpr):
    """Some priorities of a run, each compared to all of the run: it is the smallest of its sequence, whoever writes last."""
    run = tl.program_id(1).to(tl.int64)
    own, other = tl.program_id(0) * OWN + tl.arange(0, OWN), tl.arange(0, OTHERS)
    indices, values = indices + run * count, values + run * count
    index = tl.load(indices + own, mask=own < count, other=0)
    least, largest = tl.full((OWN,), _INFINITY, tl.float32), tl.zeros((OTHERS,), tl.float32)
    for turn in range(TURNS):
        start = turn * OTHERS
        there = other < count - start
        value = tl.load(values + start + other, mask=there, other=0.0).to(tl.float32)
        value = tl.where(tl.abs(value) < _INFINITY, value, _INFINITY)  # NaN, too
        largest = tl.maximum(largest, value)
        same = index[:, None] == tl.load(indices + start + other, mask=there, other=-1)[None, :]
        least = tl.minimum(least, tl.min(tl.where(same, value[None, :], _INFINITY), axis=1))
    sound = tl.max(largest, axis=0, keep_dims=True) < _INFINITY
    tl.store(priorities + run * numbers + index, least, mask=(own < count) & sound)


@triton.jit
def _add(indices, priorities, sums, count, blocks, OWN: tl.constexpr, SIZE: tl.constexpr):
    """The sums of the blocks of some indices of a run, anew: no drift."""
    run = tl.program_id(1).to(tl.int64)
    own = tl.program_id(0) * OWN + tl.arange(0, OWN)
    block = run * blocks + tl.load(indices + run * count + own, mask=own < count, other=0) // SIZE
    values = tl.load(priorities + block[:, None] * SIZE + tl.arange(0, SIZE)[None, :]).to(tl.float64)
    tl.store(sums + block, tl.sum(values, axis=1), mask=own < count)


@triton.jit
def _accumulate(sums, cumulative, blocks, TURNS: tl.constexpr, SUMS: tl.constexpr):
    """The cumulative sums of a run's blocks."""
    run, lane = tl.program_id(0).to(tl.int64), tl.arange(0, SUMS)
    sums, cumulative = sums + run * blocks, cumulative + run * blocks
    before = tl.full((), 0.0, tl.float64)
    for turn in range(TURNS):
        start = turn * SUMS
        own = tl.load(sums + start + lane, mask=lane < blocks - start, other=0.0)
        until = tl.where(own > 0.0, before + tl.cumsum(own, axis=0), before)
        until = tl.associative_scan(until, 0, _larger)  # a sum in this order may fall by a rounding
        tl.store(cumulative + start + lane, until, mask=lane < blocks - start)
        before = tl.max(until, axis=0)


@triton.jit
def _larger(one, other):
    return tl.maximum(one, other)
