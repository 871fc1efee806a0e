"""The recurrent policy on the chip: `unrolls` is what `networks.policy_unrolls` computes, with the parameters' gradients.

A program takes some rows of one run through all steps, the hidden state and all weights on the chip: one kernel, where separate
operations are some hundred, each waiting for the one before.

Shapes: R runs, T steps, B sequences, N agents, rows of a step (B N), I inputs (agent id and observation), W width, A action
numbers.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pjap_bench.kernels import padded
from pjap_bench.kernels.elementwise import relu, rounded, sigmoid, tanh

# Rows of a program, and its warps: the fastest on an H200 (`python -m tests.kernels.cuts`).
_FORWARD, _BACKWARD = (64, 4), (32, 4)
_LAYERS = 7  # that are kept for the gradient, each as wide as the network


def unrolls(
    unflatten: Callable[[Tensor], dict[str, Tensor]], policies: list[Tensor], observations: Tensor, keep: Tensor
) -> tuple[Tensor, ...]:
    """Actions of one or two policies of every run along the same sequences, from a zero hidden state, all at once.

    Args:
        unflatten: gives the named views of `networks.policy_layout`.
        policies: all parameters of each, [R, numbers of a run]; of the second no gradient is to be had.
        observations: [R, T, B, N, O]; nor of them.
        keep: [R, T, B], 0 where the hidden state starts anew, else 1.

    Returns:
        of each policy [R, T, B, N, A] in [-1, 1].
    """
    second = policies[1].detach() if len(policies) == 2 else None
    return _Unrolls.apply(unflatten, observations.contiguous(), keep.contiguous(), policies[0], second)


class _Unrolls(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, unflatten: Callable, observations: Tensor, keep: Tensor, policy: Tensor, second: Tensor | None
    ) -> tuple[Tensor, ...]:
        named, (runs, steps, sequences, agents, size) = unflatten(policy), observations.shape
        width, actions = named["out_w"].shape[1:]
        rows, kept, policies = sequences * agents, any(ctx.needs_input_grad), 1 if second is None else 2
        found = observations.new_empty(policies, runs, steps, sequences, agents, actions)
        layers = observations.new_empty((runs, steps * rows, _LAYERS * width) if kept else 0)
        # A run's second policy lies as many numbers further on.
        further = 0 if second is None else (second.data_ptr() - policy.data_ptr()) // policy.element_size()
        block, warps = _FORWARD
        _forward[triton.cdiv(rows, block), runs, policies](
            observations, keep, *named.values(), found, layers, rows, policy.stride(0), further,
            STEPS=steps, AGENTS=agents, OBSERVATION=size, PADDED=padded(agents + size), WIDTH=width, ACTIONS=actions,
            PADDED_ACTIONS=padded(actions), BLOCK=block, LAYERS=_LAYERS, KEEP=kept, num_warps=warps, num_stages=1,
        )  # fmt: skip
        first, *others = found.unbind()
        if kept:
            ctx.save_for_backward(observations, keep, policy, first, layers)
            ctx.unflatten = unflatten
        ctx.mark_non_differentiable(*others)
        ctx.set_materialize_grads(False)  # no zeros for them
        return first, *others

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        observations, keep, policy, found, layers = ctx.saved_tensors
        named, (runs, steps, sequences, agents, actions) = ctx.unflatten(policy), found.shape
        rows, width = sequences * agents, named["out_w"].shape[1]
        of_gates = layers.new_empty(runs, steps * rows, 3 * width)  # before their sigmoids and tanh
        of_out = layers.new_empty(runs, steps * rows, actions)  # before the tanh
        block, warps = _BACKWARD
        _backward[triton.cdiv(rows, block), runs](
            gradient.contiguous(), found, keep, named["gru_wh"], named["out_w"], layers, of_gates, of_out, rows, policy.stride(0),
            STEPS=steps, AGENTS=agents, WIDTH=width, LAYERS=_LAYERS, ACTIONS=actions, PADDED_ACTIONS=padded(actions),
            BLOCK=block, num_warps=warps, num_stages=1,
        )  # fmt: skip
        hidden, embedded, _, reset_hidden, _, _, after = layers.chunk(_LAYERS, dim=-1)
        # relu's gradient
        of_embedded = torch.ops.aten.threshold_backward(torch.bmm(of_gates, named["gru_wi"].mT), embedded, 0.0)
        of_agents = of_embedded.unflatten(1, (-1, agents)).sum(dim=1)
        of_recurrent = torch.bmm(hidden.mT, of_gates[..., : 2 * width]), torch.bmm(reset_hidden.mT, of_gates[..., 2 * width :])
        pieces = (
            of_agents,  # of "embed_w" the first rows
            torch.bmm(observations.flatten(1, 3).mT, of_embedded),
            of_agents.sum(dim=1),
            torch.bmm(embedded.mT, of_gates),
            torch.cat(of_recurrent, dim=2),
            of_gates.sum(dim=1),
            torch.bmm(after.mT, of_out),
            of_out.sum(dim=1),
        )
        unused = policy.new_zeros(runs, policy.shape[1] - sum(each[0].numel() for each in pieces))
        return None, None, None, torch.cat([*(each.flatten(1) for each in pieces), unused], dim=1), None


@triton.jit
def _forward(
    observations, keep, embed_w, embed_b, input_w, recurrent_w, gate_b, out_w, out_b, found, layers, rows, stride, further,
    STEPS: tl.constexpr, AGENTS: tl.constexpr, OBSERVATION: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr,
    ACTIONS: tl.constexpr, PADDED_ACTIONS: tl.constexpr, BLOCK: tl.constexpr, LAYERS: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """All steps of some rows of a run; `stride` lies between the parameters of two runs, `further` between two policies'.

    `KEEP` writes what the first policy's gradient takes into a row of `layers`: the hidden state that the step began with, the
    embedded input, the reset gate, that times the hidden state, the candidate, the update gate, relu of the new hidden state.
    Each is written as soon as it is there, since registers are scarce.
    """
    policy, run, start = tl.program_id(2), tl.program_id(1), tl.program_id(0) * BLOCK
    mine = run.to(tl.int64) * stride + policy * further
    found += policy.to(tl.int64) * tl.num_programs(1) * STEPS * rows * ACTIONS
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
        kept = layers + at * (LAYERS * WIDTH) + (row[:, None] * (LAYERS * WIDTH) + unit[None, :])
        keeping = there & (policy == 0)
        # Biases are loaded again in every step: they would take a third of the registers.
        x = tl.dot(x, embed) + tl.load(embed_b + mine + unit)[None, :]
        x = rounded(relu(x))
        bias, factor = gate_b + mine + unit, rounded(hidden)
        if KEEP:
            tl.store(kept, hidden, mask=keeping)
            tl.store(kept + WIDTH, x, mask=keeping)
        reset = tl.dot(factor, recurrent_reset, tl.dot(x, input_reset))
        reset = sigmoid(reset + tl.load(bias + WIDTH)[None, :])
        reset_hidden = reset * hidden
        if KEEP:
            tl.store(kept + 2 * WIDTH, reset, mask=keeping)
            tl.store(kept + 3 * WIDTH, reset_hidden, mask=keeping)
        candidate = tl.dot(rounded(reset_hidden), recurrent_candidate, tl.dot(x, input_candidate))
        candidate = tanh(candidate + tl.load(bias + 2 * WIDTH)[None, :])
        if KEEP:
            tl.store(kept + 4 * WIDTH, candidate, mask=keeping)
        update = tl.dot(factor, recurrent_update, tl.dot(x, input_update))
        update = sigmoid(update + tl.load(bias)[None, :])
        after = hidden + update * (candidate - hidden)
        y = relu(after)
        if KEEP:
            tl.store(kept + 5 * WIDTH, update, mask=keeping)
            tl.store(kept + 6 * WIDTH, y, mask=keeping)
        hidden = after
        y = tl.dot(rounded(y), out)
        y = tanh(y + tl.load(out_b + mine + action, mask=acting, other=0.0)[None, :])
        tl.store(found + at * ACTIONS + (row[:, None] * ACTIONS + action[None, :]), y, mask=there & acting[None, :])


@triton.jit
def _backward(
    of_actions, found, keep, recurrent_w, out_w, layers, of_gates, of_out, rows, stride,
    STEPS: tl.constexpr, AGENTS: tl.constexpr, WIDTH: tl.constexpr, LAYERS: tl.constexpr, ACTIONS: tl.constexpr,
    PADDED_ACTIONS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From the gradient of the actions to that of the last layer and of all gates, before their tanh and sigmoids; from the last
    step on."""
    run, start = tl.program_id(1), tl.program_id(0) * BLOCK
    mine = run.to(tl.int64) * stride
    row, unit, below, action = tl.arange(0, BLOCK), tl.arange(0, WIDTH), tl.arange(0, WIDTH), tl.arange(0, PADDED_ACTIONS)
    there, acting = (row < rows - start)[:, None], action < ACTIONS
    transposed = recurrent_w + mine + below[:, None] + unit[None, :] * (3 * WIDTH)
    recurrent_update, recurrent_reset = rounded(tl.load(transposed)), rounded(tl.load(transposed + WIDTH))
    recurrent_candidate = rounded(tl.load(transposed + 2 * WIDTH))
    out = rounded(tl.load(out_w + mine + unit[None, :] * ACTIONS + action[:, None], mask=acting[:, None], other=0.0))
    gradient = tl.zeros((BLOCK, WIDTH), tl.float32)  # of the hidden state after the step
    for back in range(STEPS):
        at = (run.to(tl.int64) * STEPS + STEPS - 1 - back) * rows + start
        place, taken = at * ACTIONS + (row[:, None] * ACTIONS + action[None, :]), there & acting[None, :]
        y = tl.load(found + place, mask=taken, other=0.0)
        of_y = tl.load(of_actions + place, mask=taken, other=0.0) * (1 - y * y)
        tl.store(of_out + place, of_y, mask=taken)
        place = layers + at * (LAYERS * WIDTH) + (row[:, None] * (LAYERS * WIDTH) + unit[None, :])
        hidden, reset = tl.load(place, mask=there, other=0.0), tl.load(place + 2 * WIDTH, mask=there, other=0.0)
        candidate, update = tl.load(place + 4 * WIDTH, mask=there, other=0.0), tl.load(place + 5 * WIDTH, mask=there, other=0.0)
        after = tl.load(place + 6 * WIDTH, mask=there, other=0.0)
        gradient += tl.where(after > 0.0, tl.dot(rounded(of_y), out), 0.0)
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
