"""The recurrent policy on the chip: `unroll` is what `networks.policy_unroll` computes, with the parameters' gradients.

A program takes some rows of one run through all steps, the hidden state and all weights on the chip: one kernel, where separate
operations are some hundred, each waiting for the one before.

Shapes: R runs, T steps, rows of a step (sequences x agents), I inputs, W width, A action numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import padded

_FORWARD, _BACKWARD = (64, 4), (16, 4)  # rows of a program, and its warps


def unroll(parameters: dict[str, Tensor], inputs: Tensor, keep: Tensor) -> Tensor:
    """Actions along sequences, from a zero hidden state.

    Args:
        parameters: the views of `networks.policy_layout`, [R, *shape] by name.
        inputs: [R, T, rows, I], agent ids and observations.
        keep: [R, T, rows], 0 where the hidden state starts anew, else 1.

    `inputs` and `keep` are contiguous.

    Returns:
        [R, T, rows, A] in [-1, 1].
    """
    return _Unroll.apply(inputs, keep, *parameters.values())


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs: Tensor, keep: Tensor, *parameters: Tensor) -> Tensor:
        (runs, steps, rows, features), (width, actions) = inputs.shape, parameters[5].shape[1:]
        kept = any(ctx.needs_input_grad)
        found = inputs.new_empty(runs, steps, rows, actions)
        states = inputs.new_empty((runs, steps, rows, 4 * width) if kept else 0)
        block, warps = _FORWARD
        _forward[triton.cdiv(rows, block), runs](
            inputs, keep, *parameters, found, states, rows, parameters[0].stride(0),
            STEPS=steps, FEATURES=features, PADDED=padded(features), WIDTH=width, ACTIONS=actions, PADDED_ACTIONS=padded(actions),
            BLOCK=block, KEEP=kept, num_warps=warps, num_stages=1,
        )  # fmt: skip
        if kept:
            ctx.save_for_backward(inputs, keep, *parameters, found, states)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, keep, *parameters, found, states = ctx.saved_tensors
        embed_w, embed_b, input_w, recurrent_w, _, out_w, _ = parameters
        (runs, steps, rows, _), width = inputs.shape, out_w.shape[1]
        inputs = inputs.flatten(1, 2)  # all steps together
        hidden, update, reset, candidate = states.flatten(1, 2).chunk(4, dim=-1)
        of_out = (gradient * (1 - found.square())).flatten(1, 2)  # before the tanh
        after = hidden.lerp(candidate, update)
        of_after = torch.bmm(of_out, out_w.mT) * (after > 0)
        of_gates = inputs.new_empty(runs, steps * rows, 3 * width)  # before their sigmoids and tanh
        block, warps = _BACKWARD
        _backward[triton.cdiv(rows, block), runs](
            of_after, keep, recurrent_w, states, of_gates, rows, recurrent_w.stride(0),
            STEPS=steps, WIDTH=width, BLOCK=block, num_warps=warps, num_stages=1,
        )  # fmt: skip
        embedded = torch.baddbmm(embed_b[:, None], inputs, embed_w).relu_()
        of_embedded = torch.bmm(of_gates, input_w.mT) * (embedded > 0)
        of_recurrent = [
            torch.bmm(hidden.mT, of_gates[..., : 2 * width]),
            torch.bmm((reset * hidden).mT, of_gates[..., 2 * width :]),
        ]
        return (
            None,
            None,
            torch.bmm(inputs.mT, of_embedded),
            of_embedded.sum(dim=1),
            torch.bmm(embedded.mT, of_gates),
            torch.cat(of_recurrent, dim=2),
            of_gates.sum(dim=1),
            torch.bmm(after.relu().mT, of_out),
            of_out.sum(dim=1),
        )


@triton.jit
def _forward(
    inputs, keep, embed_w, embed_b, input_w, recurrent_w, gate_b, out_w, out_b, found, states, rows, stride,
    STEPS: tl.constexpr, FEATURES: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, ACTIONS: tl.constexpr,
    PADDED_ACTIONS: tl.constexpr, BLOCK: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """All steps of some rows of a run; `stride` lies between the parameters of two runs.

    `KEEP` writes into a row of `states` the hidden state that a step began with, both gates and the candidate.
    """
    run, start = tl.program_id(1), tl.program_id(0) * BLOCK
    mine = run.to(tl.int64) * stride
    row, feature, action = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, PADDED_ACTIONS)
    unit, above = tl.arange(0, WIDTH), tl.arange(0, WIDTH)
    there, used, acting = (row < rows - start)[:, None], feature < FEATURES, action < ACTIONS
    square = above[:, None] * (3 * WIDTH) + unit[None, :]  # of one gate
    embed = tl.load(embed_w + mine + feature[:, None] * WIDTH + unit[None, :], mask=used[:, None], other=0.0)
    input_update = tl.load(input_w + mine + square)
    input_reset = tl.load(input_w + mine + WIDTH + square)
    input_candidate = tl.load(input_w + mine + 2 * WIDTH + square)
    recurrent_update = tl.load(recurrent_w + mine + square)
    recurrent_reset = tl.load(recurrent_w + mine + WIDTH + square)
    recurrent_candidate = tl.load(recurrent_w + mine + 2 * WIDTH + square)
    out = tl.load(out_w + mine + above[:, None] * ACTIONS + action[None, :], mask=acting[None, :], other=0.0)
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    for step in range(STEPS):
        at = (run.to(tl.int64) * STEPS + step) * rows + start
        x = tl.load(inputs + at * FEATURES + (row[:, None] * FEATURES + feature[None, :]), mask=there & used[None, :], other=0.0)
        hidden *= tl.load(keep + at + row, mask=row < rows - start, other=0.0)[:, None]
        # Biases are loaded again in every step: they would take a third of the registers.
        x = tl.dot(x, embed) + tl.load(embed_b + mine + unit)[None, :]
        x = tl.where(x < 0.0, 0.0, x)  # NaN stays
        bias = gate_b + mine + unit
        reset = tl.dot(hidden, recurrent_reset, tl.dot(x, input_reset))
        reset = tl.sigmoid(reset + tl.load(bias + WIDTH)[None, :])
        candidate = tl.dot(reset * hidden, recurrent_candidate, tl.dot(x, input_candidate))
        candidate = _tanh(candidate + tl.load(bias + 2 * WIDTH)[None, :])
        update = tl.dot(hidden, recurrent_update, tl.dot(x, input_update))
        update = tl.sigmoid(update + tl.load(bias)[None, :])
        if KEEP:
            to = states + at * (4 * WIDTH) + (row[:, None] * (4 * WIDTH) + unit[None, :])
            tl.store(to, hidden, mask=there)
            tl.store(to + WIDTH, update, mask=there)
            tl.store(to + 2 * WIDTH, reset, mask=there)
            tl.store(to + 3 * WIDTH, candidate, mask=there)
        hidden += update * (candidate - hidden)
        y = tl.dot(tl.where(hidden < 0.0, 0.0, hidden), out)
        y = _tanh(y + tl.load(out_b + mine + action, mask=acting, other=0.0)[None, :])
        tl.store(found + at * ACTIONS + (row[:, None] * ACTIONS + action[None, :]), y, mask=there & acting[None, :])


@triton.jit
def _backward(
    of_after, keep, recurrent_w, states, of_gates, rows, stride,
    STEPS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From the gradient of every step's new hidden state, by its action alone, to that of all gates; from the last step on."""
    run, start = tl.program_id(1), tl.program_id(0) * BLOCK
    row, unit, below = tl.arange(0, BLOCK), tl.arange(0, WIDTH), tl.arange(0, WIDTH)
    there = (row < rows - start)[:, None]
    transposed = recurrent_w + run.to(tl.int64) * stride + below[:, None] + unit[None, :] * (3 * WIDTH)
    recurrent_update, recurrent_reset = tl.load(transposed), tl.load(transposed + WIDTH)
    recurrent_candidate = tl.load(transposed + 2 * WIDTH)
    gradient = tl.zeros((BLOCK, WIDTH), tl.float32)  # of the hidden state after the step
    for back in range(STEPS):
        at = (run.to(tl.int64) * STEPS + STEPS - 1 - back) * rows + start
        place = states + at * (4 * WIDTH) + (row[:, None] * (4 * WIDTH) + unit[None, :])
        hidden, update = tl.load(place, mask=there, other=0.0), tl.load(place + WIDTH, mask=there, other=0.0)
        reset, candidate = tl.load(place + 2 * WIDTH, mask=there, other=0.0), tl.load(place + 3 * WIDTH, mask=there, other=0.0)
        gradient += tl.load(of_after + at * WIDTH + (row[:, None] * WIDTH + unit[None, :]), mask=there, other=0.0)
        of_candidate = gradient * update * (1 - candidate * candidate)
        of_update = gradient * (candidate - hidden) * update * (1 - update)
        of_product = tl.dot(of_candidate, recurrent_candidate)  # of the reset gate times the hidden state
        of_reset = of_product * hidden * reset * (1 - reset)
        gradient = gradient * (1 - update) + of_product * reset
        gradient = tl.dot(of_reset, recurrent_reset, tl.dot(of_update, recurrent_update, gradient))
        gradient *= tl.load(keep + at + row, mask=row < rows - start, other=0.0)[:, None]
        to = of_gates + at * (3 * WIDTH) + (row[:, None] * (3 * WIDTH) + unit[None, :])
        tl.store(to, of_update, mask=there)
        tl.store(to + WIDTH, of_reset, mask=there)
        tl.store(to + 2 * WIDTH, of_candidate, mask=there)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1
