"""Playing behaviour policies in an environment: what collection and the trainer's own evaluation share."""

from typing import NamedTuple

import numpy as np

from pjap_bench.behaviour.policy import BehaviourPolicy
from pjap_bench.environments import TwoAgentHalfCheetah


class Episodes(NamedTuple):
    """Whole episodes as stored: float32."""

    physics: np.ndarray  # [episodes, horizon + 1, physics]
    actions: np.ndarray  # [episodes, horizon, agents * action]
    rewards: np.ndarray  # [episodes, horizon]

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, summed in float64."""
        return self.rewards.sum(axis=1, dtype=np.float64)


def play(policy: BehaviourPolicy, environment: TwoAgentHalfCheetah, seeds: list[int], noise: float) -> Episodes:
    """Plays one episode per seed side by side, with Gaussian action noise of standard deviation `noise`, clipped to [-1, 1].

    An episode depends on its own seed only: start state and noise come from two streams of it.
    """
    physics = np.empty((len(seeds), environment.horizon + 1, environment.physics_size), dtype=np.float32)
    actions = np.empty((len(seeds), environment.horizon, environment.agents * environment.action_size), dtype=np.float32)
    rewards = np.empty((len(seeds), environment.horizon), dtype=np.float32)
    streams = [np.random.SeedSequence(seed).spawn(2) for seed in seeds]
    disturbances = np.stack(
        [np.random.default_rng(stream[1]).standard_normal((environment.horizon, actions.shape[-1])) for stream in streams]
    )
    now = environment.reset([int(stream[0].generate_state(1)[0]) for stream in streams])
    physics[:, 0] = now
    for step in range(environment.horizon):
        chosen = policy(environment.observations(now)) + noise * disturbances[:, step]
        actions[:, step] = np.clip(chosen, -1.0, 1.0)
        now, rewards[:, step] = environment.step(actions[:, step])
        physics[:, step + 1] = now
    return Episodes(physics, actions, rewards)
