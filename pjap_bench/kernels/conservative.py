"""The critics' loss on the chip: what `algorithms.maddpg_cql` defines by some fifty operations, each through all joint actions.

Shapes: R runs, T steps, B sequences, N agents, A action numbers, M = (T - 1) B points, n draws of each of three kinds,
K = 1 + 3 n joint actions of a point.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from pjap_bench.kernels import by_run

_BLOCK = 1024  # numbers of a tensor that a program has at hand


@torch.no_grad()
def joint_actions(data: Tensor, actions: Tensor, uniform: Tensor, noise: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The joint actions that critics compare at every point, and the log-densities of all but the data's.

    Args:
        data, actions: the data's and the policy's, [R, T, B, N, A].
        uniform: [R, M, n, N, A] in [0, 1).
        noise: [R, 2, M, n, N, A] of standard deviation 1: around the policy's actions at t, and at t + 1.

    Returns:
        [R, M, K, N * A] and [R, M, N, 3 n], without a gradient.
    """
    (runs, points, count, agents, size), ahead = uniform.shape, data[0, 0].numel()
    joint = data.new_empty(runs, points, 1 + 3 * count, agents * size)
    log_density = data.new_empty(runs, points, agents, 3 * count)
    draws = points * count * agents
    _joint_actions[triton.cdiv(draws, _BLOCK // 4), runs](
        data.contiguous(), actions.contiguous(), uniform, noise, joint, log_density, draws, ahead, sigma,
        size * math.log(0.5), -size * math.log(sigma * math.sqrt(2 * math.pi)),
        COUNT=count, AGENTS=agents, SIZE=size, BLOCK=_BLOCK // 4,
    )  # fmt: skip
    return joint, log_density


@torch.no_grad()
def losses(
    values: Tensor, log_density: Tensor, targets: Tensor, weights: Tensor, cql_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Both losses of every twin at every point, and the gradient of their sum's mean over twins and points.

    Args:
        values: of the critics, [R, twins, M, K], the data's joint action first.
        log_density: of the others, [R, M, N, 3 n].
        targets, weights: [R, M]; a weight is 0 where there is no target, else 1.

    Returns:
        temporal-difference and conservative losses [R, twins, M], and for a run's mean of the one plus `cql_weight` times the
        other its gradient to the values, [R, twins, M, K].
    """
    runs, twins, points, choices = values.shape
    targets, weights = by_run(targets), by_run(weights)
    temporal, conservative = values.new_empty(2, runs, twins, points)
    gradient, columns = values.new_empty(values.shape), triton.next_power_of_2(choices)
    block = max(1, _BLOCK // columns)
    _losses[triton.cdiv(points, block), twins, runs](
        values, log_density, targets, weights, temporal, conservative, gradient, points, targets.stride(0), weights.stride(0),
        cql_weight, 1 / (twins * points), CHOICES=choices, AGENTS=log_density.shape[2], COLUMNS=columns, BLOCK=block,
    )  # fmt: skip
    return temporal, conservative, gradient


@triton.jit
def _joint_actions(
    data, actions, uniform, noise, joint, log_density, draws, ahead, sigma, of_uniform, of_normal,
    COUNT: tl.constexpr, AGENTS: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Every number of a block is an agent's draw at a point; the point's first one copies the data's action too.

    `ahead` numbers lie between an agent's actions at t and at t + 1; `of_uniform` and `of_normal` are log-densities at 0.
    """
    run, draw = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    agent, index, point = draw % AGENTS, draw // AGENTS % COUNT, draw // (AGENTS * COUNT)
    there, points = draw < draws, draws // (AGENTS * COUNT)
    JOINT: tl.constexpr = AGENTS * SIZE
    seen = run * (points * JOINT + ahead) + (point * AGENTS + agent) * SIZE  # the action at t
    to = joint + (run * points + point) * ((1 + 3 * COUNT) * JOINT) + agent * SIZE
    to_density = log_density + ((run * points + point) * AGENTS + agent) * (3 * COUNT) + index
    for number in range(SIZE):
        tl.store(to + number, tl.load(data + seen + number, mask=there), mask=there & (index == 0))
        value = tl.load(uniform + (run * draws + draw) * SIZE + number, mask=there)
        tl.store(to + (1 + index) * JOINT + number, value * 2 - 1, mask=there)
    tl.store(to_density, of_uniform, mask=there)
    for kind in tl.static_range(2):
        squares = tl.zeros((BLOCK,), tl.float32)
        for number in range(SIZE):
            value = tl.load(noise + ((run * 2 + kind) * draws + draw) * SIZE + number, mask=there)
            squares += value * value
            value = tl.load(actions + seen + kind * ahead + number, mask=there) + sigma * value
            value = tl.clamp(value, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
            tl.store(to + (1 + (1 + kind) * COUNT + index) * JOINT + number, value, mask=there)
        tl.store(to_density + (1 + kind) * COUNT, of_normal - 0.5 * squares, mask=there)


@triton.jit
def _losses(
    values, log_density, targets, weights, temporal, conservative, gradient, points, of_target, of_weight, cql_weight, share,
    CHOICES: tl.constexpr, AGENTS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Some points of one twin; what is not finite stays so: exp(inf - inf) is NaN.

    `of_target` and `of_weight` numbers lie between two runs; `share` is what a point's loss counts.
    """
    run, twin = tl.program_id(2).to(tl.int64), tl.program_id(1)
    point, choice = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, COLUMNS)[None, :]
    there = point < points
    all_there, other = there[:, None] & (choice < CHOICES), (choice > 0) & (choice < CHOICES)
    at = (run * tl.num_programs(1) + twin) * points + point
    value = tl.load(values + at[:, None] * CHOICES + choice, mask=all_there, other=0.0)
    log_sum, others = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK, COLUMNS), tl.float32)
    for agent in range(AGENTS):
        density = ((run * points + point) * AGENTS + agent)[:, None] * (CHOICES - 1) + choice - 1
        corrected = value - tl.load(log_density + density, mask=there[:, None] & other, other=0.0)
        corrected = tl.where(other, corrected, -float("inf"))
        largest = tl.max(corrected, axis=1)
        powers = tl.exp(corrected - largest[:, None])
        total = tl.sum(powers, axis=1)
        log_sum += largest + tl.log(total)
        others += powers / total[:, None]
    of_data = tl.sum(tl.where(choice == 0, value, 0.0), axis=1)
    error = of_data - tl.load(targets + run * of_target + point, mask=there, other=0.0)
    error *= tl.load(weights + run * of_weight + point, mask=there, other=0.0)
    tl.store(temporal + at, 0.5 * error * error, mask=there)
    tl.store(conservative + at, log_sum / AGENTS - of_data, mask=there)
    of_values = tl.where(choice == 0, (error - cql_weight)[:, None], others * (cql_weight / AGENTS)) * share
    tl.store(gradient + at[:, None] * CHOICES + choice, of_values, mask=all_there)
