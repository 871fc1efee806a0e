"""A dataset in training form: one time line, from which batches of consecutive steps are cut.

Shapes: L steps in all, R runs, T steps of a sequence, B sequences, N agents, O observation, A action, S state.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pjap_bench.datasets.hdf5 import Dataset
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError


class Batch(NamedTuple):
    """Sequences of every run."""

    observations: Tensor  # [R, T, B, N, O]
    states: Tensor  # [R, T, B, S]
    actions: Tensor  # [R, T, B, N, A]
    rewards: Tensor  # [R, T, B], shared by the agents, scaled
    terminals: Tensor  # [R, T, B], 1 where no value follows
    weights: Tensor  # [R, T, B], 0 where a step has no target
    keep: Tensor  # [R, T, B], 0 where a step follows the end of an episode


class Normaliser(NamedTuple):
    """What is subtracted from an observation, and what it is then divided by: [N, O] each."""

    offset: Tensor
    scale: Tensor

    def __call__(self, observations: Tensor) -> Tensor:
        return (observations - self.offset) / self.scale


class SequenceData:
    """Observations, states, actions, rewards and episode ends of a whole dataset.

    Settings: `sequence` (T); `standardise` (observations and state per feature; the paper does not); `reward_scale`;
    `clip_actions`; `time_limit`: "terminal" cuts the bootstrap at the last step of an episode, as the paper's wrapper and
    critic do, "masked" leaves that step without a target.

    Raises:
        BenchError: the dataset is shorter than a sequence.
    """

    def __init__(self, dataset: Dataset, settings: dict):
        environment = get_environment(dataset.attributes["environment"])
        self.environment = environment
        self.agents, self.observation_size = environment.agents, environment.observation_size
        self.action_size, self.state_size = environment.action_size, environment.state_size
        episodes, horizon = dataset.rewards.shape
        length = episodes * horizon
        self._steps = torch.arange(settings["sequence"])[:, None]
        #: any step of the time line but the last few; sequences may cross an episode's end
        self.starts = length - settings["sequence"] + 1
        if self.starts < 1:
            raise BenchError(
                f"{length} steps are fewer than one sequence of {settings['sequence']}", where=dataset.attributes["dataset"]
            )

        physics = dataset.physics[:, :-1].reshape(length, -1)  # the final state has no action
        observations = torch.as_tensor(environment.observations(physics))
        states = torch.as_tensor(environment.state(physics))
        self.normaliser = Normaliser(torch.zeros(observations.shape[1:]), torch.ones(observations.shape[1:]))
        if settings["standardise"]:
            self.normaliser = Normaliser(*_moments(observations))
            offset, scale = _moments(states)
            states = (states - offset) / scale
        ends = torch.zeros(episodes, horizon)
        ends[:, -1] = 1.0
        actions = torch.as_tensor(dataset.actions).reshape(length, self.agents, self.action_size)
        if settings["clip_actions"]:
            actions = actions.clamp(-1.0, 1.0)
        self._observations = self.normaliser(observations)
        self._states = states
        self._actions = actions
        self._rewards = torch.as_tensor(dataset.rewards).reshape(length) * settings["reward_scale"]
        self._ends = ends.reshape(length)
        self._time_limit_masked = settings["time_limit"] == "masked"
        #: which behaviour policy acted at each step, [L]
        self.policy_of_step = np.repeat(dataset.policy, horizon)
        self.policy_names: list[str] = dataset.attributes["policies"]

    def batch(self, starts: Tensor) -> Batch:
        """The sequences that begin at `starts`, [R, B]."""
        index = starts[:, None] + self._steps  # [R, T, B]
        ends = self._ends[index]
        keep = torch.ones_like(ends)
        keep[:, 1:] -= ends[:, :-1]
        terminals, weights = (torch.zeros_like(ends), 1.0 - ends) if self._time_limit_masked else (ends, torch.ones_like(ends))
        return Batch(
            self._observations[index], self._states[index], self._actions[index], self._rewards[index], terminals, weights, keep
        )


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the first axis; a feature that never changes is only centred."""
    sd, mean = torch.std_mean(values.double(), dim=0)
    return mean.float(), torch.where(sd > 1e-6, sd, 1.0).float()
