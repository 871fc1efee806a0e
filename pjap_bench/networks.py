"""The networks of MADDPG+CQL as functions of stacked parameters.

Runs (of any seed) lie side by side on the first axis. All parameters of a network are one tensor [run, parameters];
`Layout.unflatten` gives the named views. A step of the optimiser or of a target network is then one line of algebra,
and no product mixes two runs.

With the precision `tf32_fused` the critics and the unrolled policy go through `kernels`, which compute the same.

Shapes below: R runs, T steps, B sequences, N agents, O observation, A action of one agent, S state.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pjap_bench import kernels


class Layout(NamedTuple):
    """Names, shapes (without the run axis) and initialisers of a network's parameters."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def sizes(self) -> list[int]:
        """Numbers of every tensor, and last of what is not used, so that all runs begin where a GPU reads several at once."""
        used = [torch.Size(shape).numel() for shape in self.shapes.values()]
        return [*used, -sum(used) % 16]

    @property
    def size(self) -> int:
        """Numbers of one run."""
        return sum(self.sizes)

    def unflatten(self, parameters: Tensor) -> dict[str, Tensor]:
        """[R, parameters] -> views [R, *shape] by name."""
        pieces = parameters.split(self.sizes, dim=1)[:-1]
        return {name: piece.view(-1, *shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def initialise(self, generator: torch.Generator) -> Tensor:
        """Fresh parameters of one run, [parameters]: Sonnet's defaults.

        Linear weights: normal of sd 1/sqrt(fan in), truncated at two sd. GRU weights: Glorot uniform. Biases: zero.
        """
        drawn = []
        for name, shape in self.shapes.items():
            value = torch.zeros(shape)
            if name.startswith("gru_w"):
                limit = (6.0 / (shape[-2] + shape[-1])) ** 0.5
                value.uniform_(-limit, limit, generator=generator)
            elif name.endswith("_w"):
                sd = shape[-2] ** -0.5
                torch.nn.init.trunc_normal_(value, std=sd, a=-2 * sd, b=2 * sd, generator=generator)
            drawn.append(value.flatten())
        return torch.cat([*drawn, torch.zeros(self.sizes[-1])])


def policy_layout(agents: int, observation: int, action: int, width: int) -> Layout:
    """The policy that all agents share: agent id and observation, Linear, relu, GRU, relu, Linear, tanh."""
    return Layout(
        {
            "embed_w": (agents + observation, width),
            "embed_b": (width,),
            "gru_wi": (width, 3 * width),
            "gru_wh": (width, 3 * width),
            "gru_b": (3 * width,),
            "out_w": (width, action),
            "out_b": (action,),
        }
    )


def critic_layout(state: int, joint_action: int, width: int, twins: int = 2) -> Layout:
    """Twin critics: (state, joint action), Linear, relu, Linear, relu, Linear 1."""
    return Layout(
        {
            "first_w": (twins, state + joint_action, width),
            "first_b": (twins, 1, width),
            "second_w": (twins, width, width),
            "second_b": (twins, 1, width),
            "out_w": (twins, width, 1),
            "out_b": (twins, 1, 1),
        }
    )


def with_agent_id(observations: Tensor) -> Tensor:
    """Puts the one-hot agent id before the observation: [..., N, O] -> [..., N, N + O]."""
    agents = observations.shape[-2]
    identity = torch.eye(agents, dtype=observations.dtype, device=observations.device)
    return torch.cat([identity.expand(*observations.shape[:-1], agents), observations], dim=-1)


def policy_step(parameters: dict[str, Tensor], inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """One step of acting: inputs [R, rows, N + O], hidden [R, rows, width] -> actions [R, rows, A], new hidden."""
    hidden = _gru_step(*_by_gate(_gru_inputs(parameters, inputs)), hidden, *_by_gate(parameters["gru_wh"]))
    return _policy_head(parameters, hidden), hidden


def policy_unroll(layout: Layout, flat: Tensor, observations: Tensor, keep: Tensor) -> Tensor:
    """The policy along sequences, from a zero hidden state.

    Args:
        layout: of `policy_layout`.
        flat: all parameters, [R, parameters].
        observations: [R, T, B, N, O].
        keep: [R, T, B], 0 where a step follows the end of an episode (the hidden state starts anew), else 1.

    Returns:
        actions [R, T, B, N, A] in [-1, 1].
    """
    parameters = layout.unflatten(flat)
    if kernels.fit_policy(parameters["embed_w"], parameters["out_w"], observations):
        from pjap_bench.kernels import policy

        return policy.unrolls(layout.unflatten, [flat], observations, keep)[0]
    runs, steps, sequences, agents, _ = observations.shape
    rows = sequences * agents
    inputs = with_agent_id(observations).reshape(runs, steps * rows, -1)
    keep = keep.repeat_interleave(agents, dim=2)  # [R, T, B * N]
    # Everything that does not depend on the hidden state is one product over all steps.
    # Taken apart at once: the gradient of single steps would be a tensor of all steps for each of them.
    shares = _by_gate(_gru_inputs(parameters, inputs).view(runs, steps, rows, -1))
    gates, candidates = (share.unbind(dim=1) for share in shares)
    recurrent = [weights.contiguous() for weights in _by_gate(parameters["gru_wh"])]  # oneDNN would copy them in every step
    keep = keep[..., None]
    hidden = observations.new_zeros(runs, rows, parameters["gru_wh"].shape[1])
    hiddens = []
    for step in range(steps):
        hidden = _gru_step(gates[step], candidates[step], hidden if step == 0 else hidden * keep[:, step], *recurrent)
        hiddens.append(hidden)
    stacked = torch.stack(hiddens, dim=1).view(runs, steps * rows, -1)
    return _policy_head(parameters, stacked).view(runs, steps, sequences, agents, -1)


def policy_unrolls(layout: Layout, online: Tensor, target: Tensor, observations: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """`policy_unroll` of the online policies and, without a gradient, of their targets along the same sequences."""
    parameters = layout.unflatten(online)
    if kernels.fit_policy(parameters["embed_w"], parameters["out_w"], observations):
        from pjap_bench.kernels import policy

        return policy.unrolls(layout.unflatten, [online, target], observations, keep)
    with torch.no_grad():
        target_actions = policy_unroll(layout, target, observations, keep)
    return policy_unroll(layout, online, observations, keep), target_actions


def critic_values(layout: Layout, flat: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """Twin values of several joint actions in each state.

    Args:
        layout: of `critic_layout`.
        flat: all parameters, [R, parameters].
        states: [R, M, S].
        actions: joint actions, [R, M, K, N * A].

    Returns:
        [R, twins, M, K].
    """
    parameters, (runs, points, choices, _) = layout.unflatten(flat), actions.shape
    if kernels.fit_critic(parameters["first_w"], states):
        from pjap_bench.kernels import critic

        return critic.values(layout.unflatten, flat, states, actions)
    twins = parameters["first_w"].shape[1]
    # The first bias is the weight of an input of 1: adding it, and summing its gradient, would go through a whole layer again.
    first = torch.cat([parameters["first_w"], parameters["first_b"]], dim=2)  # [R, twins, S + N * A + 1, width]
    one = actions.new_ones(1, 1, 1, 1).expand(runs, points, choices, 1)
    inputs = torch.cat([states[:, :, None].expand(-1, -1, choices, -1), actions, one], dim=-1).flatten(1, 2)
    stack = {name: value.flatten(0, 1) for name, value in parameters.items()}  # [R * twins, in, out]
    inputs = inputs[:, None].expand(-1, twins, -1, -1).flatten(0, 1)  # [R * twins, M * K, S + N * A + 1]
    # In place: the largest tensors are what an update waits for.
    hidden = torch.bmm(inputs, first.flatten(0, 1)).relu_()  # [R * twins, M * K, width]
    hidden = torch.bmm(hidden, stack["second_w"]).add_(stack["second_b"]).relu_()
    return torch.baddbmm(stack["out_b"], hidden, stack["out_w"]).view(runs, twins, points, choices)


def _gru_inputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """The embedded input's share of the three gates: [R, rows, N + O] -> [R, rows, 3 * width]."""
    embedded = _linear(inputs, parameters["embed_w"], parameters["embed_b"]).relu_()
    return _linear(embedded, parameters["gru_wi"], parameters["gru_b"])


def _by_gate(values: Tensor) -> tuple[Tensor, Tensor]:
    """[..., 3 * width] -> of update and reset together [..., 2 * width], and of the candidate [..., width]: views."""
    width = values.shape[-1] // 3
    return values.split([2 * width, width], dim=-1)


def _gru_step(gates: Tensor, candidate: Tensor, hidden: Tensor, to_gates: Tensor, to_candidate: Tensor) -> Tensor:
    """Sonnet's GRU: the reset gate acts before the recurrent product, one bias (cuDNN's differs in both).

    Args:
        gates, candidate: the input's share of each, [R, rows, 2 * width] and [R, rows, width].
        hidden: [R, rows, width].
        to_gates, to_candidate: the hidden state's weights in each, [R, width, 2 * width] and [R, width, width].
    """
    update, reset = torch.bmm(hidden, to_gates).add_(gates).sigmoid_().chunk(2, dim=-1)
    # tanh(x) = 2 sigmoid(2 x) - 1, in float32 to 2e-7: torch's tanh takes a CPU two to five times as long.
    doubled = torch.bmm(reset * hidden, to_candidate).add_(candidate).mul_(2.0)
    return torch.lerp(hidden, doubled.sigmoid_().mul(2.0).sub_(1.0), update)


def _policy_head(parameters: dict[str, Tensor], hidden: Tensor) -> Tensor:
    return _linear(hidden.relu(), parameters["out_w"], parameters["out_b"]).tanh_()


def _linear(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    # Not baddbmm, which would copy the bias to every row first, and add to that.
    return torch.bmm(inputs, weights).add_(bias[:, None])
