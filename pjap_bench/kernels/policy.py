"""The recurrent policy on the chip: `unroll` is what `networks.policy_unroll` computes, with the parameters' gradients.

A program takes some rows of one run through all steps, the hidden state and all weights on the chip: one kernel, where separate
operations are some hundred, each waiting for the one before.

Shapes: R runs, T steps, B sequences, N agents, rows of a step (B N), I inputs (agent id and observation), W width, A action
numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import padded
from pjap_bench.kernels.elementwise import relu, rounded, sigmoid, tanh

# Rows of a program, and its warps: the fastest on an H200 (`python -m tests.kernels.cuts`).
_FORWARD, _BACKWARD = (64, 4), (32, 4)


def unroll(parameters: dict[str, Tensor], observations: Tensor, keep: Tensor) -> Tensor:
    """Actions along sequences, from a zero hidden state.

    Args:
        parameters: the views of `networks.policy_layout`, [R, *shape] by name.
        observations: [R, T, B, N, O]; no gradient of theirs is to be had.
        keep: [R, T, B], 0 where the hidden state starts anew, else 1.

    Returns:
        [R, T, B, N, A] in [-1, 1].
    """
    return _Unroll.apply(observations.contiguous(), keep.contiguous(), *parameters.values())


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, observations: Tensor, keep: Tensor, *parameters: Tensor) -> Tensor:
        (runs, steps, sequences, agents, size), (width, actions) = observations.shape, parameters[5].shape[1:]
        rows, kept = sequences * agents, any(ctx.needs_input_grad)
        found = observations.new_empty(runs, steps, sequences, agents, actions)
        states = observations.new_empty((runs, steps, rows, 4 * width) if kept else 0)
        block, warps = _FORWARD
        _forward[triton.cdiv(rows, block), runs](
            observations, keep, *parameters, found, states, rows, parameters[0].stride(0),
            STEPS=steps, AGENTS=agents, OBSERVATION=size, PADDED=padded(agents + size), WIDTH=width, ACTIONS=actions,
            PADDED_ACTIONS=padded(actions), BLOCK=block, KEEP=kept, num_warps=warps, num_stages=1,
        )  # fmt: skip
        if kept:
            ctx.save_for_backward(observations, keep, *parameters, found, states)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        observations, keep, *parameters, found, states = ctx.saved_tensors
        embed_w, embed_b, input_w, recurrent_w, _, out_w, _ = parameters
        (runs, steps, rows, _), agents, width = states.shape, observations.shape[3], out_w.shape[1]
        observations = observations.flatten(1, 3)  # all steps together
        hidden, update, reset, candidate = states.flatten(1, 2).chunk(4, dim=-1)
        of_out = (gradient * (1 - found.square())).flatten(1, 3)  # before the tanh
        after = hidden.lerp(candidate, update)
        of_after = torch.bmm(of_out, out_w.mT) * (after > 0)
        of_gates = states.new_empty(runs, steps * rows, 3 * width)  # before their sigmoids and tanh
        block, warps = _BACKWARD
        _backward[triton.cdiv(rows, block), runs](
            of_after, keep, recurrent_w, states, of_gates, rows, recurrent_w.stride(0),
            STEPS=steps, AGENTS=agents, WIDTH=width, BLOCK=block, num_warps=warps, num_stages=1,
        )  # fmt: skip
        of_agent, of_observation = embed_w[:, :agents], embed_w[:, agents:]
        embedded = torch.bmm(observations, of_observation).unflatten(1, (-1, agents)).add_((of_agent + embed_b[:, None])[:, None])
        embedded = embedded.relu_().flatten(1, 2)
        of_embedded = torch.bmm(of_gates, input_w.mT) * (embedded > 0)
        of_agents = of_embedded.unflatten(1, (-1, agents)).sum(dim=1)
        of_recurrent = [
            torch.bmm(hidden.mT, of_gates[..., : 2 * width]),
            torch.bmm((reset * hidden).mT, of_gates[..., 2 * width :]),
        ]
        return (
            None,
            None,
            torch.cat([of_agents, torch.bmm(observations.mT, of_embedded)], dim=1),
            of_agents.sum(dim=1),
            torch.bmm(embedded.mT, of_gates),
            torch.cat(of_recurrent, dim=2),
            of_gates.sum(dim=1),
            torch.bmm(after.relu().mT, of_out),
            of_out.sum(dim=1),
        )


@triton.jit
def _forward(
    observations, keep, embed_w, embed_b, input_w, recurrent_w, gate_b, out_w, out_b, found, states, rows, stride,
    STEPS: tl.constexpr, AGENTS: tl.constexpr, OBSERVATION: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr,
    ACTIONS: tl.constexpr, PADDED_ACTIONS: tl.constexpr, BLOCK: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """All steps of some rows of a run; `stride` lies between the parameters of two runs.

    `KEEP` writes into a row of `states` the hidden state that a step began with, both gates and the candidate.
    """
    run, start = tl.program_id(1), tl.program_id(0) * BLOCK
    mine = run.to(tl.int64) * stride
    row, feature, action = tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, PADDED_ACTIONS)
    unit, above = tl.arange(0, WIDTH), tl.arange(0, WIDTH)
    there, acting = (row < rows - start)[:, None], action < ACTIONS
    used, seen = feature < AGENTS + OBSERVATION, (feature >= AGENTS) & (feature < AGENTS + OBSERVATION)
    is_agent = tl.where((start + row)[:, None] % AGENTS == feature[None, :], 1.0, 0.0)  # all inputs but the observation
    square = above[:, None] * (3 * WIDTH) + unit[None, :]  # of one gate
    embed = rounded(tl.load(embed_w + mine + feature[:, None] * WIDTH + unit[None, :], mask=used[:, None], other=0.0))
    input_update = rounded(tl.load(input_w + mine + square))
    input_reset = rounded(tl.load(input_w + mine + WIDTH + square))
    input_candidate = rounded(tl.load(input_w + mine + 2 * WIDTH + square))
    recurrent_update = rounded(tl.load(recurrent_w + mine + square))
    recurrent_reset = rounded(tl.load(recurrent_w + mine + WIDTH + square))
    recurrent_candidate = rounded(tl.load(recurrent_w + mine + 2 * WIDTH + square))
    out = rounded(tl.load(out_w + mine + above[:, None] * ACTIONS + action[None, :], mask=acting[None, :], other=0.0))
    hidden = tl.zeros((BLOCK, WIDTH), tl.float32)
    for step in range(STEPS):
        at = (run.to(tl.int64) * STEPS + step) * rows + start
        x_at = observations + at * OBSERVATION + (row[:, None] * OBSERVATION + (feature - AGENTS)[None, :])
        x = rounded(is_agent + tl.load(x_at, mask=there & seen[None, :], other=0.0))
        hidden *= tl.load(keep + (at + row) // AGENTS, mask=row < rows - start, other=0.0)[:, None]
        # Biases are loaded again in every step: they would take a third of the registers.
        x = tl.dot(x, embed) + tl.load(embed_b + mine + unit)[None, :]
        x = rounded(relu(x))
        bias, factor = gate_b + mine + unit, rounded(hidden)
        reset = tl.dot(factor, recurrent_reset, tl.dot(x, input_reset))
        reset = sigmoid(reset + tl.load(bias + WIDTH)[None, :])
        candidate = tl.dot(rounded(reset * hidden), recurrent_candidate, tl.dot(x, input_candidate))
        candidate = tanh(candidate + tl.load(bias + 2 * WIDTH)[None, :])
        update = tl.dot(factor, recurrent_update, tl.dot(x, input_update))
        update = sigmoid(update + tl.load(bias)[None, :])
        if KEEP:
            to = states + at * (4 * WIDTH) + (row[:, None] * (4 * WIDTH) + unit[None, :])
            tl.store(to, hidden, mask=there)
            tl.store(to + WIDTH, update, mask=there)
            tl.store(to + 2 * WIDTH, reset, mask=there)
            tl.store(to + 3 * WIDTH, candidate, mask=there)
        hidden += update * (candidate - hidden)
        y = tl.dot(rounded(relu(hidden)), out)
        y = tanh(y + tl.load(out_b + mine + action, mask=acting, other=0.0)[None, :])
        tl.store(found + at * ACTIONS + (row[:, None] * ACTIONS + action[None, :]), y, mask=there & acting[None, :])


@triton.jit
def _backward(
    of_after, keep, recurrent_w, states, of_gates, rows, stride,
    STEPS: tl.constexpr, AGENTS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From the gradient of every step's new hidden state, by its action alone, to that of all gates; from the last step on."""
    run, start = tl.program_id(1), tl.program_id(0) * BLOCK
    row, unit, below = tl.arange(0, BLOCK), tl.arange(0, WIDTH), tl.arange(0, WIDTH)
    there = (row < rows - start)[:, None]
    transposed = recurrent_w + run.to(tl.int64) * stride + below[:, None] + unit[None, :] * (3 * WIDTH)
    recurrent_update, recurrent_reset = rounded(tl.load(transposed)), rounded(tl.load(transposed + WIDTH))
    recurrent_candidate = rounded(tl.load(transposed + 2 * WIDTH))
    gradient = tl.zeros((BLOCK, WIDTH), tl.float32)  # of the hidden state after the step
    for back in range(STEPS):
        at = (run.to(tl.int64) * STEPS + STEPS - 1 - back) * rows + start
        place = states + at * (4 * WIDTH) + (row[:, None] * (4 * WIDTH) + unit[None, :])
        hidden, update = tl.load(place, mask=there, other=0.0), tl.load(place + WIDTH, mask=there, other=0.0)
        reset, candidate = tl.load(place + 2 * WIDTH, mask=there, other=0.0), tl.load(place + 3 * WIDTH, mask=there, other=0.0)
        gradient += tl.load(of_after + at * WIDTH + (row[:, None] * WIDTH + unit[None, :]), mask=there, other=0.0)
        of_candidate = gradient * update * (1 - candidate * candidate)
        of_update = gradient * (candidate - hidden) * update * (1 - update)
        of_product = tl.dot(rounded(of_candidate), recurrent_candidate)  # of the reset gate times the hidden state
        of_reset = of_product * hidden * reset * (1 - reset)
        gradient = gradient * (1 - update) + of_product * reset
        gradient = tl.dot(rounded(of_update), recurrent_update, gradient)
        gradient = tl.dot(rounded(of_reset), recurrent_reset, gradient)
        gradient *= tl.load(keep + (at + row) // AGENTS, mask=row < rows - start, other=0.0)[:, None]
        to = of_gates + at * (3 * WIDTH) + (row[:, None] * (3 * WIDTH) + unit[None, :])
        tl.store(to, of_update, mask=there)
        tl.store(to + WIDTH, of_reset, mask=there)
        tl.store(to + 2 * WIDTH, of_candidate, mask=there)
