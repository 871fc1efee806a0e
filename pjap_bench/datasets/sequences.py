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

_ROWS = 65_536  # of the moments' parts
_CPU = torch.device("cpu")


class Batch(NamedTuple):
    """Sequences of every run."""

    observations: Tensor  # [R, T, B, N, O]
    states: Tensor  # [R, T, B, S]
    actions: Tensor  # [R, T, B, N, A]
    rewards: Tensor  # [R, T, B], shared by the agents, scaled
    terminals: Tensor  # [R, T, B], 1 where no value follows
    weights: Tensor  # [R, T, B], 0 where a step has no target
    keep: Tensor  # [R, T, B], 0 where a step follows the end of an episode: there, and at step 0, the hidden state is new


class Played(NamedTuple):
    """What policies see of sequences, and what the data's did there: as much of a batch as distances take."""

    observations: Tensor  # [R, T, B, N, O]
    actions: Tensor  # [R, T, B, N, A]
    keep: Tensor  # [R, T, B]


class Normaliser(NamedTuple):
    """What is subtracted from an observation, and what it is then divided by: [N, O] each."""

    offset: Tensor
    scale: Tensor

    def __call__(self, observations: Tensor) -> Tensor:
        return (observations - self.offset) / self.scale


class SequenceData:
    """Observations, states, actions, rewards and episode ends of a whole dataset, episode after episode, on one device.

    Settings: `sequence` (T); `standardise` (observations and state per feature; the paper does not); `mask_unbounded`
    (observations that grow without bound, as the absolute x, are 0; the paper's are not); `reward_scale`; `clip_actions`;
    `time_limit`, of episodes that time ended: "terminal" cuts the bootstrap at their last step, as the paper's wrapper and
    critic do, "masked" leaves that step without a target. Where the task itself ended an episode, no value follows.

    Raises:
        BenchError: the dataset is shorter than a sequence.
    """

    def __init__(self, dataset: Dataset, settings: dict, device: torch.device = _CPU):
        environment = get_environment(dataset.attributes["environment"])
        self.environment = environment
        self.agents, self.observation_size = environment.agents, environment.observation_size
        self.action_size, self.state_size = environment.action_size, environment.state_size
        length = dataset.transitions
        self._steps = torch.arange(settings["sequence"], device=device)[:, None]
        #: any step of the time line but the last few; sequences may cross an episode's end
        self.starts = length - settings["sequence"] + 1
        if self.starts < 1:
            raise BenchError(
                f"{length} steps are fewer than one sequence of {settings['sequence']}", where=dataset.attributes["dataset"]
            )

        observations, states = (torch.from_numpy(values).to(torch.get_default_dtype()) for values in dataset.observed())
        self.normaliser = Normaliser(torch.zeros(observations.shape[1:]), torch.ones(observations.shape[1:]))
        if dataset.layout == "observations" and (settings["standardise"] or settings["mask_unbounded"]):
            observations, states = observations.clone(), states.clone()  # else the dataset itself would change below
        if settings["standardise"]:
            # In place: no second copy of the largest arrays.
            self.normaliser = Normaliser(*_moments(observations))
            offset, scale = _moments(states)
            observations.sub_(self.normaliser.offset).div_(self.normaliser.scale)
            states.sub_(offset).div_(scale)
        if settings["mask_unbounded"]:
            hidden = list(environment.unbounded_observations)
            observations[:, :, hidden] = 0.0
            self.normaliser.scale[:, hidden] = torch.inf  # in evaluation too
        actions = torch.from_numpy(dataset.actions)
        last = torch.from_numpy(dataset.offsets[1:] - 1)
        ends, limits = torch.zeros(length), torch.zeros(length)
        ends[last] = 1.0
        limits[last] = torch.tensor(dataset.terminated == 0, dtype=limits.dtype)
        masked = settings["time_limit"] == "masked"
        self._observations = observations.to(device)
        self._states = states.to(device)
        self._actions = (actions.clamp(-1.0, 1.0) if settings["clip_actions"] else actions).to(device)
        self._rewards = (torch.from_numpy(dataset.rewards) * settings["reward_scale"]).to(device)
        keep = torch.ones(length)
        keep[1:] -= ends[:-1]
        self._keep = keep.to(device)
        self._terminals = (ends - limits if masked else ends).to(device)
        self._weights = (1.0 - limits if masked else torch.ones(length)).to(device)
        #: which behaviour policy acted at each step, [L] int64
        self.policy_of_step = torch.from_numpy(np.repeat(dataset.policy, dataset.lengths)).long().to(device)
        self.policy_names: list[str] = dataset.attributes["policies"]

    def batch(self, starts: Tensor) -> Batch:
        """The sequences that begin at `starts`, [R, B]."""
        index = self._index(starts)
        observations, actions, keep = self._played(index)
        learnt = (_at(each, index) for each in (self._rewards, self._terminals, self._weights))
        return Batch(observations, _at(self._states, index), actions, *learnt, keep)

    def played(self, starts: Tensor) -> Played:
        """The same sequences without what only learning takes."""
        return self._played(self._index(starts))

    def _index(self, starts: Tensor) -> Tensor:
        """The steps of sequences, [R, T, B]."""
        return starts[:, None] + self._steps

    def _played(self, index: Tensor) -> Played:
        return Played(*(_at(each, index) for each in (self._observations, self._actions, self._keep)))


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values[index]; a CPU copies whole steps, where plain indexing goes number by number and takes 1.6 times as long."""
    return values.index_select(0, index.flatten()).unflatten(0, index.shape)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the first axis, in float64; a feature that never changes is only centred."""
    # Part by part, since a float64 copy of all would be the largest thing in memory.
    parts = values.split(_ROWS)
    mean = sum(part.double().sum(dim=0) for part in parts) / len(values)
    sd = (sum((part.double() - mean).square().sum(dim=0) for part in parts) / (len(values) - 1)).sqrt()
    return mean.float(), torch.where(sd > 1e-6, sd, 1.0).float()
