"""The update of MADDPG+CQL written straight from the equations: float64, one run, loops over what the fast one stacks.

Slow and plain on purpose. It shares no code with pjap_bench but the names of the parameters.
"""

import math

import torch
from torch import Tensor


def policy(p: dict[str, Tensor], observations: Tensor, ended_before: Tensor) -> Tensor:
    """[T, B, N, O], [T, B] (1 where the step before ended an episode) -> [T, B, N, A]."""
    steps, sequences, agents, _ = observations.shape
    width = p["embed_w"].shape[1]
    actions = torch.zeros(steps, sequences, agents, p["out_w"].shape[1], dtype=torch.float64)
    for b in range(sequences):
        for i in range(agents):
            hidden = torch.zeros(width, dtype=torch.float64)
            for t in range(steps):
                if t > 0 and ended_before[t, b] == 1:
                    hidden = torch.zeros(width, dtype=torch.float64)
                identity = torch.zeros(agents, dtype=torch.float64)
                identity[i] = 1.0
                x = torch.relu(torch.cat([identity, observations[t, b, i]]) @ p["embed_w"] + p["embed_b"])
                w, u, bias = p["gru_wi"].split(width, 1), p["gru_wh"].split(width, 1), p["gru_b"].split(width)
                z = torch.sigmoid(x @ w[0] + hidden @ u[0] + bias[0])
                r = torch.sigmoid(x @ w[1] + hidden @ u[1] + bias[1])
                candidate = torch.tanh(x @ w[2] + (r * hidden) @ u[2] + bias[2])
                hidden = (1 - z) * hidden + z * candidate
                actions[t, b, i] = torch.tanh(torch.relu(hidden) @ p["out_w"] + p["out_b"])
    return actions


def critic(p: dict[str, Tensor], twin: int, state: Tensor, joint_action: Tensor) -> Tensor:
    """Value of one twin, [S], [N * A] -> scalar."""
    weights = p["first_w"][twin]
    first = torch.relu(torch.cat([state, joint_action]) @ weights + p["first_b"][twin, 0])
    second = torch.relu(first @ p["second_w"][twin] + p["second_b"][twin, 0])
    return (second @ p["out_w"][twin])[0] + p["out_b"][twin, 0, 0]


def losses(
    networks: dict[str, dict[str, Tensor]],
    batch: dict[str, Tensor],
    draws: dict[str, Tensor],
    settings: dict,
    independent: bool = False,
) -> dict[str, Tensor]:
    """Critic loss, policy loss and the distances and temporal-difference losses [B] of one batch.

    batch: observations [T, B, N, O], states [T, B, S], actions [T, B, N, A], rewards, terminals, weights, ended_before [T, B].
    draws: uniform, noise_now, noise_next [(T - 1), B, n, N, A].
    independent: a critic sees state, agent's id and the agent's own action, instead of state and joint action.
    """
    steps, sequences, agents, size = batch["actions"].shape
    online = policy(networks["policy"], batch["observations"], batch["ended_before"])
    target = policy(networks["target_policy"], batch["observations"], batch["ended_before"])
    sigma, count = settings["cql_sigma"], settings["ood_actions"]
    frozen = {name: value.detach() for name, value in networks["critic"].items()}
    groups = [[i] for i in range(agents)] if independent else [list(range(agents))]

    def q(parameters: dict[str, Tensor], twin: int, t: int, b: int, group: list[int], actions: Tensor) -> Tensor:
        """The value of the group's actions, out of all agents' [N, A]."""
        state = batch["states"][t, b]
        if independent:
            state = torch.cat([torch.eye(agents, dtype=torch.float64)[group[0]], state])
        return critic(parameters, twin, state, actions[group].flatten())

    td, cql = [[] for _ in range(sequences)], []
    for t in range(steps - 1):
        for b in range(sequences):
            for group in groups:
                following = min(q(networks["target_critic"], twin, t + 1, b, group, target[t + 1, b]) for twin in range(2))
                goal = batch["rewards"][t, b] + settings["discount"] * (1 - batch["terminals"][t, b]) * following.detach()
                for twin in range(2):
                    value = q(networks["critic"], twin, t, b, group, batch["actions"][t, b])
                    td[b].append(0.5 * (batch["weights"][t, b] * (value - goal)) ** 2)  # 0 where a step has no target
                    for i in group:  # the group's value is the same, its density is the agent's own
                        corrected = []
                        for k in range(count):
                            uniform = draws["uniform"][t, b, k]
                            corrected.append(q(networks["critic"], twin, t, b, group, uniform) - math.log(0.5**size))
                            for centre, noise in ((online[t, b], draws["noise_now"]), (online[t + 1, b], draws["noise_next"])):
                                disturbance = sigma * noise[t, b, k]
                                joint = (centre.detach() + disturbance).clamp(-1, 1)
                                density = torch.distributions.Normal(0.0, sigma).log_prob(disturbance[i]).sum()
                                corrected.append(q(networks["critic"], twin, t, b, group, joint) - density)
                        cql.append(torch.logsumexp(torch.stack(corrected), 0) - value)
    errors = torch.stack([torch.stack(of_sequence).mean() for of_sequence in td])
    critic_loss = errors.mean() + settings["cql_weight"] * torch.stack(cql).mean()

    climbed = []
    for t in range(steps):
        for b in range(sequences):
            for group in groups:
                for i in group:
                    others = batch["actions"][t, b] if settings["other_agents"] == "data" else online[t, b].detach()
                    joint = torch.stack([online[t, b, j] if j == i else others[j] for j in range(agents)])
                    climbed.append(torch.minimum(*(q(frozen, twin, t, b, group, joint) for twin in range(2))))
    policy_loss = -torch.stack(climbed).mean() + settings["action_penalty"] * (online**2).mean()

    distance = [(target[:, b] - batch["actions"][:, b]).abs().mean() for b in range(sequences)]
    measures = {"distance": torch.stack(distance).detach(), "td_error": errors.detach()}
    return {"critic": critic_loss, "policy": policy_loss} | measures


def rmsprop(value: Tensor, gradient: Tensor, mean_square: Tensor, rate: float, settings: dict) -> tuple[Tensor, Tensor]:
    """Decay 0.9, epsilon inside the root."""
    mean_square = settings["rmsprop_decay"] * mean_square + (1 - settings["rmsprop_decay"]) * gradient**2
    return value - rate * gradient / torch.sqrt(mean_square + settings["rmsprop_epsilon"]), mean_square
