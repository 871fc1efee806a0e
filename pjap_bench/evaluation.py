"""Plays learned policies in any environment: undiscounted returns of whole episodes, up to their terminal or time limit."""

import numpy as np
import torch
from torch import Tensor

from pjap_bench.datasets.sequences import Normaliser
from pjap_bench.environments import MujocoTask
from pjap_bench.networks import Layout, policy_step, with_agent_id


@torch.no_grad()
def evaluate(
    environment_class: type[MujocoTask], layout: Layout, policy: Tensor, normaliser: Normaliser, seeds: list[list[int]]
) -> np.ndarray:
    """Returns of the deterministic policies.

    Args:
        policy: stacked parameters, [R, layout.size].
        normaliser: as in training.
        seeds: for each run, the seeds of its episodes' start states; as many for every run.

    Returns:
        [R, episodes] float64.
    """
    runs, episodes = len(seeds), len(seeds[0])
    environment = environment_class(runs * episodes)
    parameters = layout.unflatten(policy.cpu())
    hidden = torch.zeros(runs, episodes * environment.agents, parameters["gru_wh"].shape[1])
    returns = np.zeros(runs * episodes)
    running = np.ones(runs * episodes, dtype=bool)
    physics = environment.reset([seed for run in seeds for seed in run])
    for _ in range(environment.horizon):
        observations = normaliser(torch.as_tensor(environment.observations(physics), dtype=torch.float32))
        inputs = with_agent_id(observations).reshape(runs, episodes * environment.agents, -1)
        actions, hidden = policy_step(parameters, inputs, hidden)
        physics, rewards, ended = environment.step(actions.reshape(runs * episodes, -1).numpy(), running)
        returns += rewards
        running &= ~ended
        if not running.any():
            break
    return returns.reshape(runs, episodes)
