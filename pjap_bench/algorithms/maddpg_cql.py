"""MADDPG+CQL (Lowe et al., 2017; Kumar et al., 2020; OG-MARL's version), the paper's learner: section 4.2, Eqs. 1-3.

One functional update of R runs side by side; no product mixes two runs. Shapes: R runs, T steps, B sequences, N agents,
A action numbers of one agent, M = (T - 1) B points of a batch.
The phases of an update: target actions, losses, both gradients at the parameters before the update, steps, soft update.
"""

import math

import torch
from torch import Tensor

from pjap_bench import kernels, products
from pjap_bench.algorithms.update import State, Updated, mean_distance, rmsprop
from pjap_bench.datasets.sequences import Batch, Played, SequenceData
from pjap_bench.draws import Draws
from pjap_bench.networks import critic_layout, critic_values, policy_layout, policy_unroll, policy_unrolls


class MaddpgCql:
    """Shared recurrent policy, shared twin critics of state and joint action, conservative regularisation of the critics.

    `other_agents` says which actions the other agents take in an agent's policy loss: "data" is the best response under
    data (BRUD, Eq. 2), "current" their current policies (the alternative of section 2.2).
    """

    metrics = ("td_loss", "cql_loss", "q_value", "policy_loss")
    measures = ("distance", "td_error")

    def __init__(self, data: SequenceData, settings: dict):
        self._settings = settings
        self.policy = policy_layout(data.agents, data.observation_size, data.action_size, settings["policy_width"])
        self.critic = critic_layout(data.state_size, data.agents * data.action_size, settings["critic_width"])

    def initialise(self, generators: list[torch.Generator]) -> State:
        """Online and target networks of every run; targets equal their online networks unless `equal_targets` is off.

        The released code's targets start from draws of their own, because it copies before the weights exist.
        """
        state = {}
        for name, layout in (("policy", self.policy), ("critic", self.critic)):
            state[name] = torch.stack([layout.initialise(generator) for generator in generators])
            own = torch.stack([layout.initialise(generator) for generator in generators])
            state[f"target_{name}"] = state[name].clone() if self._settings["equal_targets"] else own
            state[f"{name}_mean_square"] = torch.zeros_like(state[name])
        return state

    def update(self, state: State, batch: Batch, draws: Draws) -> Updated:
        """One update of every run (see `Algorithm.update`): both gradients, the steps, the soft update of the targets."""
        settings = self._settings
        gradients, metrics, measures = self.gradients(state, batch, draws)
        new = {}
        with torch.no_grad():
            for name, gradient in gradients.items():
                mean_square, rate = state[f"{name}_mean_square"], settings[f"{name}_learning_rate"]
                new[name], new[f"{name}_mean_square"] = rmsprop(state[name], gradient, mean_square, rate, settings)
                new[f"target_{name}"] = state[f"target_{name}"].lerp(new[name], settings["target_rate"])
        return Updated(new, metrics, measures)

    def gradients(
        self, state: State, batch: Batch, draws: Draws
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """The gradients of both losses at the parameters before the update, [R, parameters] each, metrics and measures."""
        policy, critic = state["policy"].detach().requires_grad_(), state["critic"].detach().requires_grad_()
        actions, target_actions = policy_unrolls(self.policy, policy, state["target_policy"], batch.observations, batch.keep)
        # The critics' part ends at the actions, whose gradient then goes through the policy: two kinds of products.
        chosen = actions.detach().requires_grad_()
        joint, seen = self._grouped(chosen), self._seen_by_critics(batch)
        with products.large():
            targets = self._targets(state["target_critic"], seen, self._grouped(target_actions))
            critic_gradient, metrics, td_error = self._critic_gradient(critic, seen, targets, joint.detach(), draws)
            policy_loss = self._policy_loss(critic.detach(), seen, joint)
            # Losses are [R]; their sum over runs keeps every run's gradient its own.
            (action_gradient,) = torch.autograd.grad(policy_loss.sum(), chosen)
        (policy_gradient,) = torch.autograd.grad(actions, policy, action_gradient)
        metrics["policy_loss"] = policy_loss.detach()
        td_error = td_error.unflatten(1, (batch.rewards.shape[2], -1)).mean(dim=2)  # of a sequence's groups
        measures = {"distance": mean_distance(target_actions, batch.actions), "td_error": td_error}
        return {"policy": policy_gradient, "critic": critic_gradient}, metrics, measures

    @torch.no_grad()
    def distances(self, state: State, played: Played) -> Tensor:
        """Mean |target policy - data| per sequence, [R, B]: what priorities are made of."""
        target_actions = policy_unroll(self.policy, state["target_policy"], played.observations, played.keep)
        return mean_distance(target_actions, played.actions)

    def _seen_by_critics(self, batch: Batch) -> Batch:
        """The batch as the critics see it: here state and joint action. Agents that are evaluated together are a group."""
        return batch

    def _grouped(self, actions: Tensor) -> Tensor:
        """Actions [R, T, B, N, A] in groups of agents that are evaluated together: [R, T, B groups, N of a group, A]."""
        return actions

    @torch.no_grad()
    def _targets(self, target_critic: Tensor, batch: Batch, target_actions: Tensor) -> Tensor:
        """r_t + discount (1 - terminal_t) min over the target twins at t + 1: [R, M]."""
        joint = target_actions[:, 1:].flatten(3).flatten(1, 2)[:, :, None]  # [R, M, 1, N * A]
        next_states = batch.states[:, 1:].flatten(1, 2)
        following = critic_values(self.critic, target_critic, next_states, joint).amin(dim=1)[..., 0]
        rewards, terminals = batch.rewards[:, :-1].flatten(1), batch.terminals[:, :-1].flatten(1)
        return rewards + self._settings["discount"] * (1.0 - terminals) * following

    def _critic_gradient(
        self, critic: Tensor, batch: Batch, targets: Tensor, actions: Tensor, draws: Draws
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Gradient of the temporal-difference loss plus `cql_weight` times the conservative one, averaged over the twins.

        Returns:
            the gradient [R, parameters], the metrics, and every sequence's temporal-difference loss [R, B], which samplers
            may learn from.
        """
        joint, log_density = self._compared(batch.actions, actions, draws)  # one evaluation serves all
        states, weights = batch.states[:, :-1].flatten(1, 2), batch.weights[:, :-1].flatten(1)
        if kernels.fit(joint):
            from pjap_bench.kernels import conservative

            values = critic_values(self.critic, critic, states, joint)  # [R, 2, M, 1 + 3 n]
            weight = self._settings["cql_weight"]
            td_losses, cql_losses, of_values = conservative.losses(values, log_density, targets, weights, weight)
            (gradient,), values = torch.autograd.grad(values, critic, of_values), values.detach()[..., 0]
        else:
            gradient, td_losses, cql_losses, values = self._in_parts(critic, states, joint, log_density, targets, weights)
        td_error = td_losses.unflatten(2, (-1, batch.rewards.shape[2])).mean(dim=(1, 2))  # over twins and steps
        means = {"cql_loss": cql_losses.mean(dim=(1, 2)), "q_value": values.mean(dim=(1, 2))}
        return gradient, {"td_loss": td_error.mean(dim=1)} | means, td_error

    def _in_parts(self, critic: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The same gradient, and what `_critic_losses` makes of these inputs.

        Losses are means over points, so the gradient is summed over parts of them that fit a processor's cache.
        """
        runs, points, choices, _ = inputs[1].shape
        gradient, parts = torch.zeros_like(critic), []
        numbers = 2 * runs * choices * self._settings["critic_width"]  # of a layer, by point
        for part in products.parts(points, numbers, critic.device):
            td_losses, cql_losses, values = self._critic_losses(critic, *(each[:, part] for each in inputs))
            loss = (td_losses + self._settings["cql_weight"] * cql_losses).sum() / (2 * points)
            gradient += torch.autograd.grad(loss, critic)[0]
            parts.append((td_losses.detach(), cql_losses.detach(), values.detach()))
        return gradient, *(torch.cat(each, dim=2) for each in zip(*parts, strict=True))

    def _critic_losses(
        self, critic: Tensor, states: Tensor, joint: Tensor, log_density: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Temporal-difference and conservative losses, and values of the data's joint actions (joint[:, :, 0]): [R, 2, M]."""
        values = critic_values(self.critic, critic, states, joint)  # [R, 2, M, 1 + 3 n]
        data_values, other_values = values[..., 0], values[..., 1:]
        # The joint actions are the same for all agents, their densities are not: [R, 2, M, N, 3 n].
        corrected = other_values[..., None, :] - log_density[:, None]
        conservative = torch.logsumexp(corrected, dim=-1).mean(dim=-1) - data_values
        errors = (data_values - targets[:, None]) * weights[:, None]  # a weight is 0 or 1
        return 0.5 * errors.square(), conservative, data_values

    def _compared(self, data: Tensor, actions: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """The data's joint action at every t < T - 1, n of each of three other kinds, and the others' log-densities per agent.

        Uniform in [-1, 1]; the online policy's action at t plus noise; its action at t + 1 plus noise. Noisy ones are
        clipped, but the density is the unclipped noise's.

        Returns:
            [R, M, 1 + 3 n, N * A] and [R, M, N, 3 n].
        """
        runs, steps, sequences, agents, size = actions.shape
        count, sigma = self._settings["ood_actions"], self._settings["cql_sigma"]
        shape = ((steps - 1) * sequences, count, agents, size)
        uniform, noise = draws.uniform(*shape), draws.normal(2, *shape)
        if kernels.fit(actions):
            from pjap_bench.kernels import conservative

            return conservative.joint_actions(data, actions, uniform, noise, sigma)
        centres = torch.stack([actions[:, :-1].flatten(1, 2), actions[:, 1:].flatten(1, 2)], dim=1)  # [R, 2, M, N, A]
        noisy = (centres[:, :, :, None] + sigma * noise).clamp(-1.0, 1.0)
        kinds = data[:, :-1].flatten(1, 2)[:, :, None], uniform * 2 - 1, noisy[:, 0], noisy[:, 1]  # [R, M, 1 or n, N, A]
        flat = torch.full((runs, shape[0], count, agents), size * math.log(0.5), device=actions.device)
        gaussian = -0.5 * noise.square().sum(dim=-1) - size * math.log(sigma * math.sqrt(2 * math.pi))  # [R, 2, M, n, N]
        log_density = torch.cat([flat, gaussian[:, 0], gaussian[:, 1]], dim=2)  # [R, M, 3 n, N]
        return torch.cat(kinds, dim=2).flatten(3), log_density.transpose(2, 3)

    def _policy_loss(self, critic: Tensor, batch: Batch, actions: Tensor) -> Tensor:
        """Eq. 3: each agent climbs the critic with its own action, given the others'; [R]."""
        others = batch.actions if self._settings["other_agents"] == "data" else actions.detach()
        own = torch.eye(actions.shape[3], dtype=torch.bool, device=actions.device)[:, :, None]  # [N, N, 1]
        joint = torch.where(own, actions[..., None, :, :], others[..., None, :, :])  # [R, T, B, N, N, A]
        joint = joint.flatten(4).flatten(1, 2)  # [R, T * B, N, N * A]
        values = critic_values(self.critic, critic, batch.states.flatten(1, 2), joint).amin(dim=1)  # [R, T * B, N]
        return -values.mean(dim=(1, 2)) + self._settings["action_penalty"] * actions.square().mean(dim=(1, 2, 3, 4))
