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
    weights = torch.cat([p["state_w"][twin], p["action_w"][twin]])
    first = torch.relu(torch.cat([state, joint_action]) @ weights + p["first_b"][twin, 0])
    second = torch.relu(first @ p["second_w"][twin] + p["second_b"][twin, 0])
    return (second @ p["out_w"][twin])[0] + p["out_b"][twin, 0, 0]


def losses(
    networks: dict[str, dict[str, Tensor]], batch: dict[str, Tensor], draws: dict[str, Tensor], settings: dict
) -> dict[str, Tensor]:
    """Critic loss, policy loss and the distances [B] of one batch.

    batch: observations [T, B, N, O], states [T, B, S], actions [T, B, N, A], rewards, terminals, ended_before [T, B].
    draws: uniform, noise_now, noise_next [(T - 1), B, n, N, A].
    """
    steps, sequences, agents, size = batch["actions"].shape
    online = policy(networks["policy"], batch["observations"], batch["ended_before"])
    target = policy(networks["target_policy"], batch["observations"], batch["ended_before"])
    sigma, count = settings["cql_sigma"], settings["ood_actions"]

    td, cql = [], []
    for t in range(steps - 1):
        for b in range(sequences):
            following = min(
                critic(networks["target_critic"], twin, batch["states"][t + 1, b], target[t + 1, b].flatten())
                for twin in range(2)
            )
            goal = batch["rewards"][t, b] + settings["discount"] * (1 - batch["terminals"][t, b]) * following.detach()
            for twin in range(2):
                value = critic(networks["critic"], twin, batch["states"][t, b], batch["actions"][t, b].flatten())
                td.append(0.5 * (value - goal) ** 2)
                for i in range(agents):  # the joint action's value is the same, its density is the agent's own
                    corrected = []
                    for k in range(count):
                        uniform = draws["uniform"][t, b, k]
                        corrected.append(
                            critic(networks["critic"], twin, batch["states"][t, b], uniform.flatten()) - math.log(0.5**size)
                        )
                        for centre, noise in ((online[t, b], draws["noise_now"]), (online[t + 1, b], draws["noise_next"])):
                            disturbance = sigma * noise[t, b, k]
                            joint = (centre.detach() + disturbance).clamp(-1, 1)
                            density = torch.distributions.Normal(0.0, sigma).log_prob(disturbance[i]).sum()
                            corrected.append(critic(networks["critic"], twin, batch["states"][t, b], joint.flatten()) - density)
                    cql.append(torch.logsumexp(torch.stack(corrected), 0) - value)
    critic_loss = torch.stack(td).mean() + settings["cql_weight"] * torch.stack(cql).mean()

    climbed = []
    for t in range(steps):
        for b in range(sequences):
            for i in range(agents):
                joint = batch["actions"][t, b].clone() if settings["other_agents"] == "data" else online[t, b].detach().clone()
                joint = torch.stack([online[t, b, j] if j == i else joint[j] for j in range(agents)])
                values = [
                    critic({k: v.detach() for k, v in networks["critic"].items()}, twin, batch["states"][t, b], joint.flatten())
                    for twin in range(2)
                ]
                climbed.append(torch.minimum(*values))
    policy_loss = -torch.stack(climbed).mean() + settings["action_penalty"] * (online**2).mean()

    distance = [(target[:, b] - batch["actions"][:, b]).abs().mean() for b in range(sequences)]
    return {"critic": critic_loss, "policy": policy_loss, "distances": torch.stack(distance).detach()}


def rmsprop(value: Tensor, gradient: Tensor, mean_square: Tensor, rate: float, settings: dict) -> tuple[Tensor, Tensor]:
    """Decay 0.9, epsilon inside the root."""
    mean_square = settings["rmsprop_decay"] * mean_square + (1 - settings["rmsprop_decay"]) * gradient**2
    return value - rate * gradient / torch.sqrt(mean_square + settings["rmsprop_epsilon"]), mean_square
