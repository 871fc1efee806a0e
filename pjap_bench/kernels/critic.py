"""Twin critics on the chip: `values` is what `networks.critic_values` computes, with its gradients.

A program takes some rows of one critic through all layers. The second hidden layer is written once, for the gradient, and read
twice; the first, of few inputs, is made again where it is needed. Separate operations would go through both about 20 times. Sums
over rows are made in a fixed order: the same bits every time.

Shapes: R runs, rows of a run (points x joint actions), I inputs, W width; a critic is one twin of one run.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import padded

_TILES = 16  # of rows that a program takes one after the other where it sums over rows: as many times fewer sums to add up


class _Cut(NamedTuple):
    """How a program's work is cut: rows of a tile, columns of a hidden layer at a time, and the warps that do it."""

    rows: int
    columns: int
    warps: int

    def options(self, width: int) -> dict[str, int]:
        return {"BLOCK": self.rows, "COLUMNS": min(self.columns, width), "num_warps": self.warps, "num_stages": 2}


# Of critics of 128 and less, and of 256.
_FORWARD = _BACKWARD = _Cut(64, 32, 4), _Cut(64, 32, 8)
_SECOND = _Cut(64, 64, 8), _Cut(64, 64, 8)


def values(inputs: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
    """relu(relu(inputs first) second + second_bias) out, of every twin.

    Args:
        inputs: [R, rows, I], what both twins see.
        first: [R, twins, I, W].
        second: [R, twins, W, W].
        second_bias: [R, twins, 1, W].
        out: [R, twins, W, 1].

    `inputs` are contiguous; so are the others but for the run axis (`networks.Layout.unflatten` gives such views).

    Returns:
        [R, twins, rows].
    """
    return _Values.apply(inputs, first, second, second_bias, out)


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
        (runs, rows, features), (twins, width) = inputs.shape, second.shape[1:3]
        # A product's right factor is read along its columns.
        first, transposed = first.mT.contiguous(), second.mT.contiguous()  # [R, twins, W, I], [R, twins, W, W]
        found = inputs.new_empty(runs, twins, rows)
        keep = any(ctx.needs_input_grad)
        hidden = inputs.new_empty((runs, twins, rows, width) if keep else 0)
        cut = _FORWARD[width > 128]
        _forward[triton.cdiv(rows, cut.rows), runs * twins](
            inputs, first, transposed, second_bias, out, hidden, found, rows, second_bias.stride(0), out.stride(0),
            FEATURES=features, PADDED=padded(features), WIDTH=width, TWINS=twins, KEEP=keep, **cut.options(width),
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(inputs, first, second, out, hidden)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, first, second, out, hidden = ctx.saved_tensors
        (runs, rows, features), (twins, width) = inputs.shape, second.shape[1:3]
        gradient = gradient.contiguous()
        of_inputs, of_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:])
        cut = _BACKWARD[width > 128]
        parts = triton.cdiv(rows, cut.rows * _TILES)
        inputs_gradient = inputs.new_empty((runs, twins, rows, features) if of_inputs else 0)
        first_sums = inputs.new_empty((runs, twins, parts, width, features) if of_weights else 0)
        given = {"FEATURES": features, "PADDED": padded(features), "WIDTH": width, "TWINS": twins, "TILES": _TILES}
        _backward[parts, runs * twins](
            inputs, first, second, out, hidden, gradient, inputs_gradient, first_sums, rows, second.stride(0), out.stride(0),
            **given, **cut.options(width), OF_INPUTS=of_inputs, OF_WEIGHTS=of_weights,
        )  # fmt: skip
        found = [inputs_gradient.sum(dim=1) if of_inputs else None]
        if not of_weights:
            return *found, None, None, None, None
        cut = _SECOND[width > 128]
        parts = triton.cdiv(rows, cut.rows * _TILES)
        second_sums = inputs.new_empty(runs, twins, parts, width, width)
        bias_sums, out_sums = inputs.new_empty(2, runs, twins, parts, width)
        _second[parts, triton.cdiv(width, cut.columns), runs * twins](
            inputs, first, out, hidden, gradient, second_sums, bias_sums, out_sums, rows, out.stride(0),
            **given, **cut.options(width),
        )  # fmt: skip
        sums = [each.sum(dim=2) for each in (first_sums, second_sums, bias_sums, out_sums)]
        return *found, sums[0].mT, sums[1], sums[2][:, :, None], sums[3][..., None]


@triton.jit
def _forward(
    inputs, first, second, second_bias, out, hidden_2, found, rows, bias_stride, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Values of one tile of rows; `KEEP` writes the second hidden layer. `first` and `second` are transposed."""
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
        part = _relu(tl.dot(x, weights))
        weights = tl.load(second + critic * WIDTH * WIDTH + left + unit[None, :] * WIDTH + column[:, None])
        hidden = tl.dot(part, weights, hidden)
    hidden = _relu(hidden + tl.load(second_bias + run.to(tl.int64) * bias_stride + twin * WIDTH + unit)[None, :])
    if KEEP:
        tl.store(hidden_2 + at * WIDTH + row[:, None] * WIDTH + unit[None, :], hidden, mask=there)
    weights = tl.load(out + run.to(tl.int64) * out_stride + twin * WIDTH + unit)
    tl.store(found + at + row, tl.sum(hidden * weights[None, :], axis=1), mask=row < rows - start)


@triton.jit
def _backward(
    inputs, first, second, out, hidden_2, gradient, inputs_gradient, first_sums, rows, second_stride, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, TILES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, OF_INPUTS: tl.constexpr, OF_WEIGHTS: tl.constexpr,
):  # fmt: skip
    """From the gradient of the values to that of the inputs, and to sums over rows of that of `first`, which is transposed."""
    part, critic = tl.program_id(0), tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    used = feature < FEATURES
    first += critic * WIDTH * FEATURES
    second += run.to(tl.int64) * second_stride + twin * WIDTH * WIDTH
    out += run.to(tl.int64) * out_stride + twin * WIDTH
    first_sum = tl.zeros((WIDTH, PADDED), tl.float32)
    for index in range(TILES):
        start = (part * TILES + index) * BLOCK  # of the last program's tiles some may lie beyond all rows: nothing is there
        there = (row < rows - start)[:, None]
        at = critic.to(tl.int64) * rows + start
        of_values = tl.load(gradient + at + row, mask=row < rows - start, other=0.0)[:, None]
        of_hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
        for left in range(0, WIDTH, COLUMNS):
            place = hidden_2 + at * WIDTH + left + row[:, None] * WIDTH + column[None, :]
            hidden = tl.load(place, mask=there, other=0.0)
            before_relu = tl.where(hidden > 0.0, of_values * tl.load(out + left + column)[None, :], 0.0)
            weights = tl.load(second + left + unit[None, :] * WIDTH + column[:, None])
            of_hidden = tl.dot(before_relu, weights, of_hidden)
        inputs_at = inputs + (run.to(tl.int64) * rows + start) * FEATURES
        x = tl.load(inputs_at + row[:, None] * FEATURES + feature[None, :], mask=there & used[None, :], other=0.0)
        weights = tl.load(first + unit[None, :] * FEATURES + feature[:, None], mask=used[:, None], other=0.0)
        of_hidden = tl.where(tl.dot(x, weights) > 0.0, of_hidden, 0.0)
        if OF_WEIGHTS:
            first_sum = tl.dot(tl.trans(of_hidden), x, first_sum)
        if OF_INPUTS:
            weights = tl.load(first + unit[:, None] * FEATURES + feature[None, :], mask=used[None, :], other=0.0)
            to = inputs_gradient + at * FEATURES + row[:, None] * FEATURES + feature[None, :]
            tl.store(to, tl.dot(of_hidden, weights), mask=there & used[None, :])
    if OF_WEIGHTS:
        to = first_sums + (critic * tl.num_programs(0) + part) * WIDTH * FEATURES + unit[:, None] * FEATURES + feature[None, :]
        tl.store(to, first_sum, mask=used[None, :])


@triton.jit
def _second(
    inputs, first, out, hidden_2, gradient, second_sums, bias_sums, out_sums, rows, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, TILES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sums over rows of the gradients of the second layer, its bias and the last layer, some columns. `first` is transposed."""
    part, left, critic = tl.program_id(0), tl.program_id(1) * COLUMNS, tl.program_id(2)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    used = feature < FEATURES
    first_at = first + critic * WIDTH * FEATURES + unit[:, None] * FEATURES + feature[None, :]
    first_weights = tl.load(first_at, mask=used[None, :], other=0.0)
    out_weights = tl.load(out + run.to(tl.int64) * out_stride + twin * WIDTH + left + column)[None, :]
    second_sum = tl.zeros((WIDTH, COLUMNS), tl.float32)
    bias_sum, out_sum = tl.zeros((COLUMNS,), tl.float32), tl.zeros((COLUMNS,), tl.float32)
    for index in range(TILES):
        start = (part * TILES + index) * BLOCK
        there = row < rows - start
        at = critic.to(tl.int64) * rows + start
        of_values = tl.load(gradient + at + row, mask=there, other=0.0)[:, None]
        place = hidden_2 + at * WIDTH + left + row[:, None] * WIDTH + column[None, :]
        hidden = tl.load(place, mask=there[:, None], other=0.0)
        before_relu = tl.where(hidden > 0.0, of_values * out_weights, 0.0)
        bias_sum += tl.sum(before_relu, axis=0)
        out_sum += tl.sum(of_values * hidden, axis=0)
        inputs_at = inputs + (run.to(tl.int64) * rows + start) * FEATURES
        x = tl.load(inputs_at + row[None, :] * FEATURES + feature[:, None], mask=there[None, :] & used[:, None], other=0.0)
        second_sum = tl.dot(_relu(tl.dot(first_weights, x)), before_relu, second_sum)
    to = critic * tl.num_programs(0) + part
    tl.store(bias_sums + to * WIDTH + left + column, bias_sum)
    tl.store(out_sums + to * WIDTH + left + column, out_sum)
    tl.store(second_sums + to.to(tl.int64) * WIDTH * WIDTH + left + unit[:, None] * WIDTH + column[None, :], second_sum)


@triton.jit
def _relu(x):
    return tl.where(x < 0.0, 0.0, x)  # NaN stays
