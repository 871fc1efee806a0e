"""MADDPG+CQL as one writes it first in eager PyTorch: what `pjap_bench.algorithms.maddpg_cql` is measured against.

The same losses and steps, one run, modules of torch.nn: the policy is unrolled step by step, and the critics value every
agent's actions and every kind of out-of-distribution actions in calls of their own, with the states repeated. As in the
released code, a critic is asked for every agent, so what is the same for all agents is computed for each of them; `once`
leaves out this repetition alone, and shows what is left of the difference then.

Shapes: T steps, B sequences, N agents, A action numbers of one agent, M = (T - 1) B, n out-of-distribution joint actions.
"""

import math

import torch
from torch import Tensor, nn

from pjap_bench.datasets.sequences import Batch, SequenceData


class Policy(nn.Module):
    """One step of acting: Linear, relu, GRU (Sonnet's variant), relu, Linear, tanh."""

    def __init__(self, inputs: int, width: int, action: int):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.gates = nn.Linear(2 * width, 2 * width)
        self.candidate = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, action)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        embedded = torch.relu(self.embed(inputs))
        update, reset = torch.sigmoid(self.gates(torch.cat([embedded, hidden], dim=-1))).chunk(2, dim=-1)
        candidate = torch.tanh(self.candidate(torch.cat([embedded, reset * hidden], dim=-1)))
        hidden = (1 - update) * hidden + update * candidate
        return torch.tanh(self.out(torch.relu(hidden))), hidden


class Critic(nn.Module):
    """The value of a state and a joint action."""

    def __init__(self, state: int, joint_action: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(state + joint_action, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, states: Tensor, joint_actions: Tensor) -> Tensor:
        return self.layers(torch.cat([states, joint_actions.flatten(-2)], dim=-1)).squeeze(-1)


class EagerMaddpgCql:
    """Networks, running means of squared gradients, and `update`."""

    def __init__(self, data: SequenceData, settings: dict, device: torch.device, once: bool = False):
        self._settings, self._agents, self._once = settings, data.agents, once
        joint = data.agents * data.action_size

        def policy() -> Policy:
            return Policy(data.agents + data.observation_size, settings["policy_width"], data.action_size).to(device)

        def critics() -> nn.ModuleList:
            return nn.ModuleList(Critic(data.state_size, joint, settings["critic_width"]).to(device) for _ in range(2))

        self.policy, self.target_policy = policy(), policy()
        self.critics, self.target_critics = critics(), critics()
        self.target_policy.load_state_dict(self.policy.state_dict())
        self.target_critics.load_state_dict(self.critics.state_dict())
        self._mean_squares = {
            value: torch.zeros_like(value) for network in (self.policy, self.critics) for value in network.parameters()
        }

    def update(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        """One update from the batch of one run, [1, ...]; returns the losses and the mean distance to the data."""
        observations, states, actions, rewards, terminals, weights, keep = (tensor[0] for tensor in batch)
        with torch.no_grad():
            target_actions = self._unroll(self.target_policy, observations, keep)
        policy_actions = self._unroll(self.policy, observations, keep)
        targets = self._targets(states, target_actions, rewards, terminals)
        td_loss, cql_loss = self._critic_losses(states, actions, policy_actions.detach(), targets, weights, generator)
        policy_loss = self._policy_loss(states, actions, policy_actions)
        critic_gradients = torch.autograd.grad(td_loss + self._settings["cql_weight"] * cql_loss, list(self.critics.parameters()))
        policy_gradients = torch.autograd.grad(policy_loss, list(self.policy.parameters()))
        self._step(self.critics, critic_gradients, self._settings["critic_learning_rate"])
        self._step(self.policy, policy_gradients, self._settings["policy_learning_rate"])
        self._follow(self.target_critics, self.critics)
        self._follow(self.target_policy, self.policy)
        distance = (target_actions - actions).abs().mean()
        found = {"td_loss": td_loss, "cql_loss": cql_loss, "policy_loss": policy_loss, "distance": distance}
        return {name: value.item() for name, value in found.items()}

    def _unroll(self, policy: Policy, observations: Tensor, keep: Tensor) -> Tensor:
        """Actions along the sequences, [T, B, N, A]."""
        steps, sequences, agents, _ = observations.shape
        identity = torch.eye(agents, dtype=observations.dtype, device=observations.device).expand(sequences, agents, agents)
        hidden = observations.new_zeros(sequences, agents, self._settings["policy_width"])
        actions = []
        for step in range(steps):
            hidden = hidden * keep[step, :, None, None]
            action, hidden = policy(torch.cat([identity, observations[step]], dim=-1), hidden)
            actions.append(action)
        return torch.stack(actions)

    @torch.no_grad()
    def _targets(self, states: Tensor, target_actions: Tensor, rewards: Tensor, terminals: Tensor) -> Tensor:
        """[T - 1, B]; the same for all agents, who share the reward."""
        following = torch.minimum(*(critic(states[1:], target_actions[1:]) for critic in self.target_critics))
        return rewards[:-1] + self._settings["discount"] * (1 - terminals[:-1]) * following

    def _critic_losses(
        self,
        states: Tensor,
        actions: Tensor,
        policy_actions: Tensor,
        targets: Tensor,
        weights: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Temporal-difference and conservative loss, means over agents and twins."""
        kinds = self._out_of_distribution(policy_actions, generator)
        states = states[:-1].flatten(0, 1)  # [M, S]
        actions = actions[:-1].flatten(0, 1)  # [M, N, A]
        targets, weights = targets.flatten(), weights[:-1].flatten()
        td_losses, cql_losses = [], []
        for critic in self.critics:
            for agent in range(self._agents):
                if agent == 0 or not self._once:
                    values = critic(states, actions)  # [M]
                    others = [critic(states[:, None].expand(-1, joint.shape[1], -1), joint) for joint, _ in kinds]  # [M, n]
                td_losses.append(0.5 * (weights * (values - targets)).square().mean())
                corrected = [other - density[..., agent] for other, (_, density) in zip(others, kinds, strict=True)]
                cql_losses.append((torch.logsumexp(torch.cat(corrected, dim=1), dim=1) - values).mean())
        return torch.stack(td_losses).mean(), torch.stack(cql_losses).mean()

    def _out_of_distribution(self, policy_actions: Tensor, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """Joint actions [M, n, N, A] and their log-densities per agent [M, n, N], of three kinds."""
        count, sigma, size = self._settings["ood_actions"], self._settings["cql_sigma"], policy_actions.shape[3]
        now, following = policy_actions[:-1].flatten(0, 1), policy_actions[1:].flatten(0, 1)  # [M, N, A]
        shape = (len(now), count, *now.shape[1:])
        uniform = 2 * torch.rand(shape, generator=generator, device=now.device) - 1
        kinds = [(uniform, torch.full(shape[:3], size * math.log(0.5), device=now.device))]
        noise = sigma * torch.randn(2, *shape, generator=generator, device=now.device)
        for centre, disturbance in zip((now, following), noise, strict=True):
            log_density = torch.distributions.Normal(0.0, sigma).log_prob(disturbance).sum(dim=-1)
            kinds.append(((centre[:, None] + disturbance).clamp(-1, 1), log_density))
        return kinds

    def _policy_loss(self, states: Tensor, actions: Tensor, policy_actions: Tensor) -> Tensor:
        """Every agent's best response under data."""
        losses = []
        for agent in range(self._agents):
            joint = actions.clone()
            joint[:, :, agent] = policy_actions[:, :, agent]
            losses.append(-torch.minimum(*(critic(states, joint) for critic in self.critics)).mean())
        return torch.stack(losses).mean() + self._settings["action_penalty"] * policy_actions.square().mean()

    @torch.no_grad()
    def _step(self, network: nn.Module, gradients: tuple[Tensor, ...], rate: float) -> None:
        """RMSProp with epsilon inside the root."""
        decay, epsilon = self._settings["rmsprop_decay"], self._settings["rmsprop_epsilon"]
        for value, gradient in zip(network.parameters(), gradients, strict=True):
            mean_square = self._mean_squares[value]
            mean_square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
            value.addcdiv_(gradient, (mean_square + epsilon).sqrt(), value=-rate)

    @torch.no_grad()
    def _follow(self, target: nn.Module, online: nn.Module) -> None:
        """The soft update of a target network."""
        for value, other in zip(target.parameters(), online.parameters(), strict=True):
            value.lerp_(other, self._settings["target_rate"])
