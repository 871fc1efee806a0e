"""Twin critics on the chip: `values` is what `networks.critic_values` computes, with its gradients.

A program takes some rows of one critic through all layers: a hidden layer is written once and read once, for the gradient, where
separate operations would go through it eight times. Sums over rows are made in a fixed order: the same bits every time.

Shapes: R runs, rows of a run (points x joint actions), I inputs, W width; a critic is one twin of one run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pjap_bench.kernels import padded

_TILES = 16  # of rows that a program of the backward pass takes one after the other: as many times fewer sums to add up


def values(inputs: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
    """relu(relu(inputs first) second + second_bias) out, of every twin.

    Args:
        inputs: [R, rows, I], what both twins see.
        first: [R, twins, I, W].
        second: [R, twins, W, W].
        second_bias: [R, twins, 1, W].
        out: [R, twins, W, 1].

    Returns:
        [R, twins, rows].
    """
    return _Values.apply(inputs, first, second, second_bias, out)


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
        (runs, rows, features), (twins, width) = inputs.shape, second.shape[1:3]
        inputs = inputs.contiguous()
        # A product's right factor is read along its columns.
        first, transposed = first.mT.contiguous(), second.mT.contiguous()  # [R, twins, W, I], [R, twins, W, W]
        found = inputs.new_empty(runs, twins, rows)
        keep = any(ctx.needs_input_grad)
        layers = inputs.new_empty((2, runs, twins, rows, width) if keep else (2, 0))
        block, columns, warps, stages = _shape(width)
        _forward[triton.cdiv(rows, block), runs * twins](
            inputs, first, transposed, second_bias, out, *layers, found, rows, second_bias.stride(0), out.stride(0),
            FEATURES=features, PADDED=padded(features), WIDTH=width, TWINS=twins, BLOCK=block, COLUMNS=columns, KEEP=keep,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(inputs, first, second, out, layers)
        return found

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, first, second, out, layers = ctx.saved_tensors
        (runs, rows, features), (twins, width) = inputs.shape, second.shape[1:3]
        of_inputs, of_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:])
        block, columns, warps, stages = _shape(width)
        tiles = triton.cdiv(rows, block)
        parts = triton.cdiv(tiles, _TILES)
        inputs_gradient = inputs.new_empty((runs, twins, rows, features) if of_inputs else 0)
        first_sums = inputs.new_empty((runs, twins, parts, width, features) if of_weights else 0)
        sums = inputs.new_empty((2, runs, twins, tiles, width) if of_weights else (2, 0))
        _backward[parts, runs * twins](
            inputs, first, second, out, *layers, gradient.contiguous(), inputs_gradient, first_sums, *sums,
            rows, tiles, second.stride(0), out.stride(0),
            FEATURES=features, PADDED=padded(features), WIDTH=width, TWINS=twins, BLOCK=block, COLUMNS=columns, TILES=_TILES,
            OF_INPUTS=of_inputs, OF_WEIGHTS=of_weights, num_warps=warps, num_stages=stages,
        )  # fmt: skip
        found = [inputs_gradient.sum(dim=1) if of_inputs else None]
        if not of_weights:
            return *found, None, None, None, None
        hidden, before_relu = layers.flatten(1, 2)  # [R twins, rows, W]: the first layer, the gradient before the second relu
        second_gradient = torch.bmm(hidden.mT, before_relu).view_as(second)
        bias_gradient, out_gradient = sums.sum(dim=3)  # [R, twins, W]
        return *found, first_sums.sum(dim=2).mT, second_gradient, bias_gradient[:, :, None], out_gradient[..., None]


def _shape(width: int) -> tuple[int, int, int, int]:
    """Rows of a tile, columns of a hidden layer that are taken at a time, warps, and stages of loading."""
    return (64, 32, 8, 2) if width == 256 else (128, min(32, width), 8, 2)


@triton.jit
def _forward(
    inputs, first, second, second_bias, out, hidden_1, hidden_2, found, rows, bias_stride, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Values of one tile of rows; `KEEP` writes both hidden layers. `first` and `second` are transposed."""
    start, critic = tl.program_id(0) * BLOCK, tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    there, used = (row < rows - start)[:, None], feature < FEATURES
    at = critic.to(tl.int64) * rows + start  # 64 bits: a layer of many runs has more than 2^31 numbers
    inputs += (run.to(tl.int64) * rows + start) * FEATURES
    x = tl.load(inputs + row[:, None] * FEATURES + feature[None, :], mask=there & used[None, :], other=0.0)
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    # The first layer is made, used and forgotten some columns at a time.
    for left in range(0, WIDTH, COLUMNS):
        first_at = first + (critic * WIDTH + left) * FEATURES
        weights = tl.load(first_at + column[None, :] * FEATURES + feature[:, None], mask=used[:, None], other=0.0)
        part = tl.dot(x, weights)
        part = tl.where(part < 0.0, 0.0, part)  # NaN stays
        if KEEP:
            tl.store(hidden_1 + at * WIDTH + left + row[:, None] * WIDTH + column[None, :], part, mask=there)
        weights = tl.load(second + critic * WIDTH * WIDTH + left + unit[None, :] * WIDTH + column[:, None])
        hidden = tl.dot(part, weights, hidden)
    hidden += tl.load(second_bias + run.to(tl.int64) * bias_stride + twin * WIDTH + unit)[None, :]
    hidden = tl.where(hidden < 0.0, 0.0, hidden)
    if KEEP:
        tl.store(hidden_2 + at * WIDTH + row[:, None] * WIDTH + unit[None, :], hidden, mask=there)
    weights = tl.load(out + run.to(tl.int64) * out_stride + twin * WIDTH + unit)
    tl.store(found + at + row, tl.sum(hidden * weights[None, :], axis=1), mask=row < rows - start)


@triton.jit
def _backward(
    inputs, first, second, out, hidden_1, hidden_2, gradient, inputs_gradient, first_sums, bias_sums, out_sums,
    rows, tiles, second_stride, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr, OF_INPUTS: tl.constexpr, OF_WEIGHTS: tl.constexpr,
):  # fmt: skip
    """From the gradient of the values to that of the inputs, and to sums that make those of the weights.

    With `OF_WEIGHTS` the gradient before the second relu takes the place of `hidden_2`: with `hidden_1` it makes the gradient
    of the second layer, by a product of a library. `first` is transposed.
    """
    part, critic = tl.program_id(0), tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    used = (feature < FEATURES)[None, :]
    second += run.to(tl.int64) * second_stride + twin * WIDTH * WIDTH
    out += run.to(tl.int64) * out_stride + twin * WIDTH
    first_sum = tl.zeros((WIDTH, PADDED), tl.float32)
    for index in range(TILES):
        tile = part * TILES + index  # the last program's last ones may lie beyond all rows: then nothing is there
        start = tile * BLOCK
        there = (row < rows - start)[:, None]
        at = critic.to(tl.int64) * rows + start
        of_values = tl.load(gradient + at + row, mask=row < rows - start, other=0.0)[:, None]
        of_hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
        for left in range(0, WIDTH, COLUMNS):
            place = hidden_2 + at * WIDTH + left + row[:, None] * WIDTH + column[None, :]
            hidden = tl.load(place, mask=there, other=0.0)
            before_relu = tl.where(hidden > 0.0, of_values * tl.load(out + left + column)[None, :], 0.0)
            if OF_WEIGHTS:
                tl.store(place, before_relu, mask=there)
                sums_at = (critic * tiles + tile) * WIDTH + left + column
                tl.store(bias_sums + sums_at, tl.sum(before_relu, axis=0), mask=tile < tiles)
                tl.store(out_sums + sums_at, tl.sum(of_values * hidden, axis=0), mask=tile < tiles)
            weights = tl.load(second + left + unit[None, :] * WIDTH + column[:, None])
            of_hidden = tl.dot(before_relu, weights, of_hidden)
        hidden = tl.load(hidden_1 + at * WIDTH + row[:, None] * WIDTH + unit[None, :], mask=there, other=0.0)
        of_hidden = tl.where(hidden > 0.0, of_hidden, 0.0)
        if OF_WEIGHTS:
            inputs_at = inputs + (run.to(tl.int64) * rows + start) * FEATURES
            x = tl.load(inputs_at + row[:, None] * FEATURES + feature[None, :], mask=there & used, other=0.0)
            first_sum = tl.dot(tl.trans(of_hidden), x, first_sum)
        if OF_INPUTS:
            first_at = first + critic * WIDTH * FEATURES + unit[:, None] * FEATURES + feature[None, :]
            weights = tl.load(first_at, mask=used, other=0.0)
            to = inputs_gradient + at * FEATURES + row[:, None] * FEATURES + feature[None, :]
            tl.store(to, tl.dot(of_hidden, weights), mask=there & used)
    if OF_WEIGHTS:
        to = first_sums + (critic * tl.num_programs(0) + part) * WIDTH * FEATURES + unit[:, None] * FEATURES + feature[None, :]
        tl.store(to, first_sum, mask=used)
