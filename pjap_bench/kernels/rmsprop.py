"""A step of RMSProp in one kernel: what `algorithms.update.rmsprop` computes in seven operations, number by number."""

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


def step(
    parameters: Tensor, gradient: Tensor, mean_square: Tensor, rate: float, decay: float, epsilon: float
) -> tuple[Tensor, Tensor]:
    """The new parameters and the new running mean of squared gradients; three tensors of one shape go in and stay as they are."""
    found, new_mean_square = parameters.new_empty(2, *parameters.shape)
    _step[(triton.cdiv(parameters.numel(), _BLOCK),)](
        parameters.contiguous(), gradient.contiguous(), mean_square.contiguous(), found, new_mean_square,
        parameters.numel(), rate, 1.0 - decay, epsilon, BLOCK=_BLOCK,
    )  # fmt: skip
    return found, new_mean_square


@triton.jit
def _step(parameters, gradient, mean_square, found, new_mean_square, numbers, rate, share, epsilon, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < numbers
    slope, before = tl.load(gradient + at, mask=there, other=0.0), tl.load(mean_square + at, mask=there, other=0.0)
    after = before + share * (slope * slope - before)
    tl.store(new_mean_square + at, after, mask=there)
    stepped = tl.load(parameters + at, mask=there, other=0.0) - rate * slope * tl.rsqrt(after + epsilon)
    tl.store(found + at, stepped, mask=there)
