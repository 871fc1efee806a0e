"""Twin critics on the chip: `values` is what `networks.critic_values` computes, with its gradients.

A program takes some rows of one critic through all layers. For the gradient the inputs and the second hidden layer are written
once, and read twice; the first, of few inputs, is made again where it is needed. Separate operations would go through both about
20 times. Sums over rows are made in a fixed order: the same bits every time.

Shapes: R runs, M points, K joint actions of a point, rows of a run (M K), I inputs (state, joint action, and a 1 for the bias),
W width; a critic is one twin of one run. `layers` are rounded copies of both layers, [R, twins, W, padded I and W]: every unit's
weights of the inputs, and behind them of the first layer's units, since a product's right factor is read along its columns.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import by_run, padded
from pjap_bench.kernels.elementwise import relu, rounded

_ROWS = 1024  # that a program takes, a tile after the other, where it sums over rows: the more, the fewer sums to add up


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


def values(unflatten: Callable[[Tensor], dict[str, Tensor]], parameters: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """relu(relu((state, joint action, 1) first) second + second_b) out_w + out_b, of every twin.

    Args:
        unflatten: gives the named views of `networks.critic_layout`.
        parameters: [R, numbers of a run].
        states: [R, M, S], what both twins see; no gradient of theirs is to be had.
        actions: joint actions, [R, M, K, I - S - 1].

    Returns:
        [R, twins, M, K].
    """
    return _Values.apply(unflatten, parameters, by_run(states), by_run(actions))


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(ctx, unflatten: Callable, parameters: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        named, (runs, points, choices, _) = unflatten(parameters), actions.shape
        twins, features, width = named["first_w"].shape[1:]
        features += 1
        rows, keep, columns = points * choices, any(ctx.needs_input_grad), padded(features)
        layers = actions.new_empty(runs, twins, width, columns + width)
        second = actions.new_empty((runs, twins, width, width) if keep else 0)
        given = {"FEATURES": features, "PADDED": columns, "WIDTH": width, "TWINS": twins}
        _copies[layers.shape[3] // 16, runs * twins](
            named["first_w"], named["first_b"], named["second_w"], layers, second, parameters.stride(0), **given, KEEP=keep
        )
        found = actions.new_empty(runs, twins, points, choices)
        inputs = actions.new_empty((runs, rows, columns) if keep else 0)
        hidden = actions.new_empty((runs, twins, rows, width) if keep else 0)
        cut = _FORWARD[width > 128]
        _forward[triton.cdiv(rows, cut.rows), runs * twins](
            states, actions, layers, named["second_b"], named["out_w"], named["out_b"], inputs, hidden, found, rows,
            states.stride(0), actions.stride(0), parameters.stride(0), CHOICES=choices, ACTION=actions.shape[3],
            KEEP=keep, **given, **cut.options(width, features),
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(parameters, layers, second, inputs, hidden)
            ctx.unflatten, ctx.actions, ctx.given = unflatten, actions.shape, given
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        parameters, layers, second, inputs, hidden = ctx.saved_tensors
        (runs, size), (rows, _), width, twins = parameters.shape, inputs.shape[1:], second.shape[3], second.shape[1]
        _, of_weights, _, of_actions = ctx.needs_input_grad
        gradient, out, stride = gradient.contiguous(), ctx.unflatten(parameters)["out_w"], parameters.stride(0)
        of_twins = inputs.new_empty((runs, twins, *ctx.actions[1:]) if of_actions else 0)
        parts = triton.cdiv(rows, _ROWS)
        sums = inputs.new_empty(runs, parts, size) if of_weights else inputs.new_empty(1, 0, size)
        sum_of = ctx.unflatten(sums.flatten(0, 1))
        cut = _BACKWARD[width > 128]
        _backward[parts, runs * twins](
            layers, second, out, inputs, hidden, gradient, of_twins, sum_of["first_w"], sum_of["first_b"], rows, stride, size,
            **ctx.given, ACTION=ctx.actions[3], TILES=_ROWS // cut.rows, OF_ACTIONS=of_actions, OF_WEIGHTS=of_weights,
            **cut.options(width, ctx.given["FEATURES"]),
        )  # fmt: skip
        if of_weights:
            cut, unused = _SECOND[width > 128], size - sum(each[0].numel() for each in sum_of.values())
            _second[parts, triton.cdiv(width, cut.columns), runs * twins](
                layers, out, inputs, hidden, gradient, sum_of["second_w"], sum_of["second_b"], sum_of["out_w"], sum_of["out_b"],
                rows, stride, size, unused, **ctx.given, TILES=_ROWS // cut.rows, **cut.options(width, ctx.given["FEATURES"]),
            )  # fmt: skip
        return None, sums.sum(dim=1) if of_weights else None, None, of_twins.sum(dim=1) if of_actions else None


@triton.jit
def _copies(
    first, first_bias, second, layers, copy, stride,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """16 rows of a critic's layers, rounded and transposed; of what pads the first one 0. `KEEP` makes a plain `copy` too."""
    row, unit = tl.program_id(0) * 16 + tl.arange(0, 16)[:, None], tl.arange(0, WIDTH)[None, :]
    critic = tl.program_id(1).to(tl.int64)
    mine, twin, inner = critic // TWINS * stride, critic % TWINS, row - PADDED
    value = tl.load(first + mine + (twin * (FEATURES - 1) + row) * WIDTH + unit, mask=row < FEATURES - 1, other=0.0)
    value += tl.load(first_bias + mine + twin * WIDTH + unit + 0 * row, mask=row == FEATURES - 1, other=0.0)
    value += tl.load(second + mine + (twin * WIDTH + inner) * WIDTH + unit, mask=inner >= 0, other=0.0)
    value = rounded(value)
    tl.store(layers + (critic * WIDTH + unit) * (PADDED + WIDTH) + row, value)
    if KEEP:
        tl.store(copy + (critic * WIDTH + inner) * WIDTH + unit, value, mask=inner >= 0)


@triton.jit
def _forward(
    states, actions, layers, second_bias, out, out_bias, inputs, hidden_2, found, rows, of_state, of_action, stride,
    CHOICES: tl.constexpr, ACTION: tl.constexpr, FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr,
    TWINS: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Values of one tile of rows; `KEEP` writes inputs and second hidden layer.

    Between two runs lie `of_state` numbers of the states, `of_action` of the actions and `stride` of the parameters.
    """
    start, critic = tl.program_id(0) * BLOCK, tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    there, mine = (row < rows - start)[:, None], run.to(tl.int64) * stride + twin * WIDTH
    at = critic.to(tl.int64) * rows + start  # 64 bits: a layer of many runs has more than 2^31 numbers
    states += run.to(tl.int64) * of_state
    actions += run.to(tl.int64) * of_action
    x = _inputs(states, actions, rows, start + row, feature, CHOICES, FEATURES - 1 - ACTION, ACTION)
    layers += critic.to(tl.int64) * WIDTH * (PADDED + WIDTH)
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    # The first layer is made, used and forgotten some columns at a time.
    for left in range(0, WIDTH, COLUMNS):
        weights = tl.load(layers + (left + column[None, :]) * (PADDED + WIDTH) + feature[:, None])
        part = rounded(relu(tl.dot(x, weights)))
        weights = tl.load(layers + PADDED + left + unit[None, :] * (PADDED + WIDTH) + column[:, None])
        hidden = tl.dot(part, weights, hidden)
    hidden = relu(hidden + tl.load(second_bias + mine + unit)[None, :])
    if KEEP:
        if twin == 0:
            kept = inputs + (run.to(tl.int64) * rows + start) * PADDED
            tl.store(kept + row[:, None] * PADDED + feature[None, :], x, mask=there)
        tl.store(hidden_2 + at * WIDTH + row[:, None] * WIDTH + unit[None, :], hidden, mask=there)
    value = tl.sum(hidden * tl.load(out + mine + unit)[None, :], axis=1)
    value += tl.load(out_bias + run.to(tl.int64) * stride + twin)
    tl.store(found + at + row, value, mask=row < rows - start)


@triton.jit
def _backward(
    layers, second, out, inputs, hidden_2, gradient, of_twins, first_sums, bias_sums, rows, stride, size,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, TILES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, ACTION: tl.constexpr, OF_ACTIONS: tl.constexpr, OF_WEIGHTS: tl.constexpr,
):  # fmt: skip
    """From the gradient of the values to that of the actions, and to sums over rows of those of the first layer and its bias.

    `second` is rounded and not transposed. Of sums a part of a run has `size` numbers.
    """
    part, critic = tl.program_id(0), tl.program_id(1)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    layers += critic.to(tl.int64) * WIDTH * (PADDED + WIDTH)
    second += critic.to(tl.int64) * WIDTH * WIDTH
    out += run.to(tl.int64) * stride + twin * WIDTH
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
        weights = tl.load(layers + unit[None, :] * (PADDED + WIDTH) + feature[:, None])
        of_hidden = rounded(tl.where(tl.dot(x, weights) > 0.0, of_hidden, 0.0))
        if OF_WEIGHTS:
            first_sum = tl.dot(tl.trans(of_hidden), x, first_sum)
        if OF_ACTIONS:
            weights = tl.load(layers + unit[:, None] * (PADDED + WIDTH) + feature[None, :])
            action = feature - (FEATURES - 1 - ACTION)
            to = of_twins + at * ACTION + row[:, None] * ACTION + action[None, :]
            acting = (action >= 0) & (action < ACTION)
            tl.store(to, tl.dot(of_hidden, weights), mask=there & acting[None, :])
    if OF_WEIGHTS:
        to = (run.to(tl.int64) * tl.num_programs(0) + part) * size + twin * WIDTH + unit[:, None]
        of_input = (twin * (FEATURES - 2) + feature[None, :]) * WIDTH
        tl.store(first_sums + to + of_input, first_sum, mask=feature[None, :] < FEATURES - 1)
        tl.store(bias_sums + to + 0 * of_input, first_sum, mask=feature[None, :] == FEATURES - 1)


@triton.jit
def _second(
    layers, out, inputs, hidden_2, gradient, second_sums, bias_sums, out_sums, last_sums, rows, stride, size, unused,
    FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, TWINS: tl.constexpr, TILES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sums over rows of the gradients of the second layer, its bias and the last layer, some columns.

    Of sums a part of a run has `size` numbers, the last `unused` of which are 0.
    """
    part, left, critic = tl.program_id(0), tl.program_id(1) * COLUMNS, tl.program_id(2)
    run, twin = critic // TWINS, critic % TWINS
    row, feature, unit, column = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    first_weights = tl.load(layers + (critic.to(tl.int64) * WIDTH + unit[:, None]) * (PADDED + WIDTH) + feature[None, :])
    out_weights = tl.load(out + run.to(tl.int64) * stride + twin * WIDTH + left + column)[None, :]
    second_sum = tl.zeros((WIDTH, COLUMNS), tl.float32)
    bias_sum, out_sum = tl.zeros((COLUMNS,), tl.float32), tl.zeros((COLUMNS,), tl.float32)
    value_sum = tl.zeros((BLOCK,), tl.float32)
    for index in range(TILES):
        start = (part * TILES + index) * BLOCK
        there = row < rows - start
        at = critic.to(tl.int64) * rows + start
        of_values = tl.load(gradient + at + row, mask=there, other=0.0)
        value_sum += of_values
        of_values = of_values[:, None]
        place = hidden_2 + at * WIDTH + left + row[:, None] * WIDTH + column[None, :]
        hidden = tl.load(place, mask=there[:, None], other=0.0)
        before_relu = tl.where(hidden > 0.0, of_values * out_weights, 0.0)
        bias_sum += tl.sum(before_relu, axis=0)
        out_sum += tl.sum(of_values * hidden, axis=0)
        inputs_at = inputs + (run.to(tl.int64) * rows + start) * PADDED
        x = tl.load(inputs_at + row[None, :] * PADDED + feature[:, None], mask=there[None, :], other=0.0)
        hidden = rounded(relu(tl.dot(first_weights, x)))
        second_sum = tl.dot(hidden, rounded(before_relu), second_sum)
    to = (run.to(tl.int64) * tl.num_programs(0) + part) * size
    tl.store(bias_sums + to + twin * WIDTH + left + column, bias_sum)
    tl.store(out_sums + to + twin * WIDTH + left + column, out_sum)
    tl.store(second_sums + to + (twin * WIDTH + unit[:, None]) * WIDTH + left + column[None, :], second_sum)
    if left == 0:
        number = tl.arange(0, 16)
        is_last = (number == 0) | ((twin == TWINS - 1) & (number <= unused))
        tl.store(last_sums + to + twin + number, tl.where(number == 0, tl.sum(value_sum), 0.0), mask=is_last)


@triton.jit
def _inputs(states, actions, rows, row, feature, CHOICES: tl.constexpr, STATE: tl.constexpr, ACTION: tl.constexpr):
    """State, joint action and 1 of some rows of a run, rounded; 0 elsewhere."""
    row, feature = row[:, None], feature[None, :]
    there, acting = row < rows, (feature >= STATE) & (feature < STATE + ACTION)
    of_state = tl.load(states + row // CHOICES * STATE + feature, mask=there & (feature < STATE), other=0.0)
    of_action = tl.load(actions + row * ACTION + feature - STATE, mask=there & acting, other=0.0)
    one = tl.where(there & (feature == STATE + ACTION), 1.0, 0.0)
    return rounded(of_state + of_action + one)
