"""Twin critics on the chip: `values` is what `networks.critic_values` computes, with its gradients.

A program takes some rows of one critic through all layers. For the gradient the inputs and the second hidden layer are written
once, and read twice; the first, of few inputs, is made again where it is needed. Separate operations would go through both about
20 times. Sums over rows are made in a fixed order: the same bits every time.

Shapes: R runs, M points, K joint actions of a point, rows of a run (M K), I inputs (state, joint action, and a 1 for the bias),
W width; a critic is one twin of one run.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import padded
from pjap_bench.kernels.elementwise import relu, rounded, rounded_copy

_TILES = 16  # of rows that a program takes one after the other where it sums over rows: as many times fewer sums to add up


class _Cut(NamedTuple):
    """How a program's work is cut: rows of a tile, columns of a hidden layer at a time, the warps that do it, and how many
    turns of a loop are under way at once."""

    rows: int
    columns: int
    warps: int
    stages: int

    def options(self, width: int, inputs: int) -> dict[str, int]:
        """For a kernel's launch; of more than 32 inputs there is less room on the chip."""
        stages = self.stages if inputs <= 32 else min(self.stages, 2)
        return {"BLOCK": self.rows, "COLUMNS": min(self.columns, width), "num_warps": self.warps, "num_stages": stages}


# Of critics of 128 and less, and of 256: the fastest on an H200 (`python -m tests.kernels.cuts`) that an A100 has room for.
_FORWARD = _Cut(64, 32, 4, 2), _Cut(64, 32, 4, 2)
_BACKWARD = _Cut(64, 32, 4, 3), _Cut(64, 32, 8, 3)
_SECOND = _Cut(64, 64, 4, 3), _Cut(64, 64, 4, 3)


def values(states: Tensor, actions: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
    """relu(relu((state, joint action, 1) first) second + second_bias) out, of every twin.

    Args:
        states: [R, M, S], what both twins see; no gradient of theirs is to be had.
        actions: joint actions, [R, M, K, I - S - 1].
        first: [R, twins, I, W].
        second: [R, twins, W, W].
        second_bias: [R, twins, 1, W].
        out: [R, twins, W, 1].

    The last two are contiguous but for the run axis (`networks.Layout.unflatten` gives such views).

    Returns:
        [R, twins, M, K].
    """
    return _Values.apply(states.contiguous(), actions.contiguous(), first, second, second_bias, out)


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states: Tensor, actions: Tensor, first: Tensor, second: Tensor, second_bias: Tensor, out: Tensor) -> Tensor:
        (runs, points, choices, _), (twins, features, width) = actions.shape, first.shape[1:]
        rows, keep, columns = points * choices, any(ctx.needs_input_grad), padded(features)
        # A product's right factor is read along its columns.
        first, transposed = rounded_copy(first.mT), rounded_copy(second.mT)  # [R, twins, W, I], [R, twins, W, W]
        found = actions.new_empty(runs, twins, points, choices)
        inputs = actions.new_empty((runs, rows, columns) if keep else 0)
        hidden = actions.new_empty((runs, twins, rows, width) if keep else 0)
        cut = _FORWARD[width > 128]
        _forward[triton.cdiv(rows, cut.rows), runs * twins](
            states, actions, first, transposed, second_bias, out, inputs, hidden, found, rows,
            second_bias.stride(0), out.stride(0), CHOICES=choices, STATE=states.shape[2], ACTION=actions.shape[3],
            PADDED=columns, WIDTH=width, TWINS=twins, KEEP=keep, **cut.options(width, features),
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(first, second, out, inputs, hidden)
            ctx.actions = actions.shape
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        first, second, out, inputs, hidden = ctx.saved_tensors
        (runs, twins, width, features), rows = first.shape, inputs.shape[1]
        gradient = gradient.contiguous()
        of_actions, of_weights = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:])
        given = {"FEATURES": features, "PADDED": inputs.shape[2], "WIDTH": width, "TWINS": twins, "TILES": _TILES}
        cut = _BACKWARD[width > 128]
        parts = triton.cdiv(rows, cut.rows * _TILES)
        of_twins = inputs.new_empty((runs, twins, *ctx.actions[1:]) if of_actions else 0)
        first_sums = inputs.new_empty((runs, twins, parts, width, features) if of_weights else 0)
        _backward[parts, runs * twins](
            first, rounded_copy(second), out, inputs, hidden, gradient, of_twins, first_sums, rows, out.stride(0),
            **given, ACTION=ctx.actions[3], OF_ACTIONS=of_actions, OF_WEIGHTS=of_weights, **cut.options(width, features),
        )  # fmt: skip
        found = [None, of_twins.sum(dim=1) if of_actions else None]
        if not of_weights:
            return *found, None, None, None, None
        cut = _SECOND[width > 128]
        parts = triton.cdiv(rows, cut.rows * _TILES)
        second_sums = inputs.new_empty(runs, twins, parts, width, width)
        bias_sums, out_sums = inputs.new_empty(2, runs, twins, parts, width)
        _second[parts, triton.cdiv(width, cut.columns), runs * twins](
            first, out, inputs, hidden, gradient, second_sums, bias_sums, out_sums, rows, out.stride(0),
            **given, **cut.options(width, features),
        )  # fmt: skip
        sums = [each.sum(dim=2) for each in (first_sums, second_sums, bias_sums, out_sums)]
        return *found, sums[0].mT, sums[1], sums[2][:, :, None], sums[3][..., None]


@triton.jit
def _forward(
    states, actions, first, second, second_bias, out, inputs, hidden_2, found, rows, bias_stride, out_stride,
    CHOICES: tl.constexpr, STATE: tl.constexpr, ACTION: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr,
    TWINS: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Values of one tile of rows; `KEEP` writes inputs and second hidden layer. `first` and `second` are transposed."""
    start, critic = tl.program_id(0) * BLOCK, tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    FEATURES: tl.constexpr = STATE + ACTION + 1
    there, used = (row < rows - start)[:, None], feature < FEATURES
    at = critic.to(tl.int64) * rows + start  # 64 bits: a layer of many runs has more than 2^31 numbers
    x = _inputs(states, actions, run, rows, start + row, feature, CHOICES, STATE, ACTION)
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    # The first layer is made, used and forgotten some columns at a time.
    for left in range(0, WIDTH, COLUMNS):
        first_at = first + (critic * WIDTH + left) * FEATURES
        weights = tl.load(first_at + column[None, :] * FEATURES + feature[:, None], mask=used[:, None], other=0.0)
        part = rounded(relu(tl.dot(x, weights)))
        weights = tl.load(second + critic * WIDTH * WIDTH + left + unit[None, :] * WIDTH + column[:, None])
        hidden = tl.dot(part, weights, hidden)
    hidden = relu(hidden + tl.load(second_bias + run.to(tl.int64) * bias_stride + twin * WIDTH + unit)[None, :])
    if KEEP:
        if twin == 0:
            kept = inputs + (run.to(tl.int64) * rows + start) * PADDED
            tl.store(kept + row[:, None] * PADDED + feature[None, :], x, mask=there)
        tl.store(hidden_2 + at * WIDTH + row[:, None] * WIDTH + unit[None, :], hidden, mask=there)
    weights = tl.load(out + run.to(tl.int64) * out_stride + twin * WIDTH + unit)
    tl.store(found + at + row, tl.sum(hidden * weights[None, :], axis=1), mask=row < rows - start)


@triton.jit
def _backward(
    first, second, out, inputs, hidden_2, gradient, of_twins, first_sums, rows, out_stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, TILES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, ACTION: tl.constexpr, OF_ACTIONS: tl.constexpr, OF_WEIGHTS: tl.constexpr,
):  # fmt: skip
    """From the gradient of the values to that of the actions, and to sums over rows of that of `first`, which is transposed."""
    part, critic = tl.program_id(0), tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    used = feature < FEATURES
    first += critic * WIDTH * FEATURES
    second += critic * WIDTH * WIDTH
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
            before_relu = rounded(tl.where(hidden > 0.0, of_values * tl.load(out + left + column)[None, :], 0.0))
            weights = tl.load(second + left + unit[None, :] * WIDTH + column[:, None])
            of_hidden = tl.dot(before_relu, weights, of_hidden)
        inputs_at = inputs + (run.to(tl.int64) * rows + start) * PADDED
        x = tl.load(inputs_at + row[:, None] * PADDED + feature[None, :], mask=there, other=0.0)
        weights = tl.load(first + unit[None, :] * FEATURES + feature[:, None], mask=used[:, None], other=0.0)
        of_hidden = rounded(tl.where(tl.dot(x, weights) > 0.0, of_hidden, 0.0))
        if OF_WEIGHTS:
            first_sum = tl.dot(tl.trans(of_hidden), x, first_sum)
        if OF_ACTIONS:
            weights = tl.load(first + unit[:, None] * FEATURES + feature[None, :], mask=used[None, :], other=0.0)
            action = feature - (FEATURES - 1 - ACTION)
            to = of_twins + at * ACTION + row[:, None] * ACTION + action[None, :]
            acting = (action >= 0) & (action < ACTION)
            tl.store(to, tl.dot(of_hidden, weights), mask=there & acting[None, :])
    if OF_WEIGHTS:
        to = first_sums + (critic * tl.num_programs(0) + part) * WIDTH * FEATURES + unit[:, None] * FEATURES + feature[None, :]
        tl.store(to, first_sum, mask=used[None, :])


@triton.jit
def _second(
    first, out, inputs, hidden_2, gradient, second_sums, bias_sums, out_sums, rows, out_stride,
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
        inputs_at = inputs + (run.to(tl.int64) * rows + start) * PADDED
        x = tl.load(inputs_at + row[None, :] * PADDED + feature[:, None], mask=there[None, :], other=0.0)
        hidden = rounded(relu(tl.dot(first_weights, x)))
        second_sum = tl.dot(hidden, rounded(before_relu), second_sum)
    to = critic * tl.num_programs(0) + part
    tl.store(bias_sums + to * WIDTH + left + column, bias_sum)
    tl.store(out_sums + to * WIDTH + left + column, out_sum)
    tl.store(second_sums + to.to(tl.int64) * WIDTH * WIDTH + left + unit[:, None] * WIDTH + column[None, :], second_sum)


@triton.jit
def _inputs(states, actions, run, rows, row, feature, CHOICES: tl.constexpr, STATE: tl.constexpr, ACTION: tl.constexpr):
    """State, joint action and 1 of some rows of a run, rounded; 0 elsewhere."""
    row, feature = row[:, None], feature[None, :]
    states += run.to(tl.int64) * (rows // CHOICES) * STATE
    actions += run.to(tl.int64) * rows * ACTION
    there, acting = row < rows, (feature >= STATE) & (feature < STATE + ACTION)
    of_state = tl.load(states + row // CHOICES * STATE + feature, mask=there & (feature < STATE), other=0.0)
    of_action = tl.load(actions + row * ACTION + feature - STATE, mask=there & acting, other=0.0)
    one = tl.where(there & (feature == STATE + ACTION), 1.0, 0.0)
    return rounded(of_state + of_action + one)
