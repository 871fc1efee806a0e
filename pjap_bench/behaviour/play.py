"""Playing behaviour policies in an environment: what collection and the trainer's own evaluation share."""

from typing import NamedTuple

import numpy as np

from pjap_bench.behaviour.policy import BehaviourPolicy
from pjap_bench.environments import MujocoTask


class Episodes(NamedTuple):
    """Whole episodes as stored, one after the other: E episodes of `lengths` steps, L steps in all; values are float32."""

    physics: np.ndarray  # [L + E, physics], each episode's final state included
    actions: np.ndarray  # [L, agents * action]
    rewards: np.ndarray  # [L]
    lengths: np.ndarray  # [E] int64
    terminated: np.ndarray  # [E] bool: ended by the task; else cut by the time limit

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, [E], summed in float64."""
        pieces = np.split(self.rewards, np.cumsum(self.lengths)[:-1])
        return np.array([piece.sum(dtype=np.float64) for piece in pieces])


def play(policy: BehaviourPolicy, environment: MujocoTask, seeds: list[int], noise: float) -> Episodes:
    """Plays one episode per seed side by side, with Gaussian action noise of standard deviation `noise`, clipped to [-1, 1].

    An episode depends on its own seed only: start state and noise come from two streams of it. It stops at its terminal,
    or after the environment's `horizon` steps.
    """
    episodes, horizon, width = len(seeds), environment.horizon, environment.agents * environment.action_size
    physics = np.empty((episodes, horizon + 1, environment.physics_size), dtype=np.float32)
    actions = np.empty((episodes, horizon, width), dtype=np.float32)
    rewards = np.empty((episodes, horizon), dtype=np.float32)
    lengths = np.zeros(episodes, dtype=np.int64)
    terminated = np.zeros(episodes, dtype=bool)
    streams = [np.random.SeedSequence(seed).spawn(2) for seed in seeds]
    disturbances = np.stack([np.random.default_rng(stream[1]).standard_normal((horizon, width)) for stream in streams])
    now = environment.reset([int(stream[0].generate_state(1)[0]) for stream in streams])
    physics[:, 0] = now
    for step in range(horizon):
        running = ~terminated
        if not running.any():
            break
        chosen = policy(environment.observations(now)) + noise * disturbances[:, step]
        actions[:, step] = np.clip(chosen, -1.0, 1.0)
        now, rewards[:, step], ended = environment.step(actions[:, step], running)
        physics[:, step + 1] = now
        lengths += running
        terminated |= ended
    played = np.arange(horizon + 1) <= lengths[:, None]  # [E, horizon + 1]: the states up to the final one
    taken = played[:, 1:]
    return Episodes(physics[played], actions[taken], rewards[taken], lengths, terminated)
