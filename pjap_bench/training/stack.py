"""Runs side by side: arms of one algorithm, some seeds of each, and one update of all of them.

Every run has its own random streams (initialisation, sampling, out-of-distribution actions, evaluation, the fixed uniform
sample), so that arms of one seed start alike and differ in what they are meant to differ. No product, sum or draw mixes
two runs: a run's numbers do not depend on its neighbours, bit for bit with the same number of runs beside it on the same
device, else to rounding, since a library may multiply stacks of another size in another order.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pjap_bench import algorithms, draws, products, samplers
from pjap_bench.datasets.hdf5 import Dataset
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.errors import BenchError
from pjap_bench.samplers import pjap
from pjap_bench.stacks import shared
from pjap_bench.training.graph import captured

STREAMS = ("initialisation", "sampling", "ood_actions", "evaluation", "uniform_sample")


class Stack:
    """The training state of R runs, arm after arm: all that an update reads and changes, on one device, changed in place.

    Nothing here waits for the device but `policy`: a GPU is handed work, and what it records stays there (see `on_host`).

    Raises:
        BenchError: arms that differ in more than their sampler, a sampler that needs what the algorithm does not measure, or (in
            an update) one that gives a batch of another shape.
    """

    def __init__(self, dataset: Dataset, settings: dict[str, dict], seeds: list[int], device: torch.device):
        self.runs = [(arm, seed) for arm in settings for seed in seeds]
        self.settings = _common(settings)
        self.data = SequenceData(dataset, self.settings, device)
        self.algorithm = algorithms.make(self.settings["algorithm"], self.data, self.settings)
        self._own = list(settings.values())
        self._rows = [slice(index * len(seeds), (index + 1) * len(seeds)) for index in range(len(settings))]
        self._samplers = [samplers.make(own["sampler"], len(seeds), self.data.starts, own, device) for own in self._own]
        for arm, sampler in zip(settings, self._samplers, strict=True):
            if sampler.measure not in (None, *self.algorithm.measures):
                raise BenchError(
                    f"the sampler '{settings[arm]['sampler']}' needs a {sampler.measure} of every sequence, "
                    f"which {self.settings['algorithm']} does not measure",
                    where=f"arm {arm}",
                    do=f"use a sampler that needs one of: {', '.join(self.algorithm.measures)}",
                )
        generators = [torch.Generator().manual_seed(seed_of(seed, "initialisation")) for _, seed in self.runs]
        initial = self.algorithm.initialise(generators)
        self._state = {name: value.to(device) for name, value in initial.items()}
        self._sampling, self._noise = (
            draws.make([seed_of(seed, name) for _, seed in self.runs], device) for name in ("sampling", "ood_actions")
        )
        size = self.settings["uniform_sequences"]
        uniform = [
            np.random.default_rng(stream(seed, "uniform_sample")).integers(self.data.starts, size=size) for _, seed in self.runs
        ]
        self._uniform_sample = self.data.played(torch.as_tensor(np.stack(uniform)).to(device))
        self.updates = 0  # that were asked for; the next line is what the device has made of them
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self._recorded = (*self.algorithm.metrics, "distance_sampled")
        shape = (self.settings["log_every"], len(self._recorded), len(self.runs))
        self._window = torch.zeros(shape, device=device)
        self._seen = torch.zeros(len(self.runs), len(self.data.policy_names), dtype=torch.int64, device=device)
        self._step = captured(self._update, self.tensors(), self.generators(), device)

    def advance(self, updates: int) -> dict[str, Tensor]:
        """So many updates of every run, at most `log_every`, and none across a multiple of it.

        Returns:
            every metric of every update, [updates, R] on the device.
        """
        first = self.updates % self.settings["log_every"]
        for _ in range(updates):
            self._step()
            self.updates += 1
        values = self._window[first : first + updates].clone()
        return dict(zip(self._recorded, values.unbind(dim=1), strict=True))

    def _update(self) -> None:
        """One update: sample, learn, refresh, record."""
        row = (self._updates % self.settings["log_every"])[None]
        self._updates += 1
        sampled = self._sample()
        state, metrics, measures = self.algorithm.update(self._state, self.data.batch(sampled), self._noise)
        for name, value in state.items():
            self._state[name].copy_(value)
        self._refresh(sampled, measures)
        recorded = metrics | {"distance_sampled": measures["distance"].mean(dim=1)}
        recorded = torch.stack([recorded[name].to(self._window.dtype) for name in self._recorded])
        self._window.index_copy_(0, row, recorded[None])
        self._seen.scatter_add_(1, self.data.policy_of_step[sampled], torch.ones_like(sampled))

    def _sample(self) -> Tensor:
        """The start indices of every run's batch, [R, B]."""
        batches, size = [], self.settings["batch"]
        for own, (sampler, rows, draw) in zip(self._own, self._groups(), strict=True):
            found, wanted = sampler.sample(size, draw), (rows.stop - rows.start, size)
            if found.shape != wanted:  # smaller batches of all arms would train in silence
                raise BenchError(
                    f"the sampler '{own['sampler']}' gave start indices of shape {list(found.shape)} instead of {list(wanted)}",
                    where=f"arm {self.runs[rows.start][0]}",
                    do="let its sample(size, draw) return [runs, size]",
                )
            batches.append(found)
        return torch.cat(batches)

    def _refresh(self, sampled: Tensor, measures: dict[str, Tensor]) -> None:
        """Hands every sampler the measures it asks for: those of the batch, or distances of extra sequences."""
        for sampler, rows, draw in self._groups():
            own = sampled[rows]
            wanted = sampler.to_refresh(own, draw)
            if wanted is None:
                continue
            if wanted is own:
                measured = measures[sampler.measure][rows]
            else:
                measured = self._distances(wanted, rows)
            sampler.refresh(wanted, measured, self._updates)

    def _distances(self, starts: Tensor, rows: slice) -> Tensor:
        """The current distances of any sequences of some rows' runs, [R, n], taken in parts that fit a processor's cache."""
        state = {name: value[rows] for name, value in self._state.items()}
        runs, count = starts.shape
        gates = runs * self.settings["sequence"] * self.data.agents * 3 * self.settings["policy_width"]  # numbers, by sequence
        parts = products.parts(count, gates, starts.device)
        with products.large():
            return torch.cat([self.algorithm.distances(state, self.data.played(starts[:, part])) for part in parts], dim=1)

    def _groups(self) -> Iterator[tuple[samplers.Sampler, slice, samplers.Draw]]:
        """Every arm's sampler, its rows of the stack and its runs' draws."""
        for sampler, rows in zip(self._samplers, self._rows, strict=True):
            yield sampler, rows, functools.partial(self._sampling.of(rows).uniform, dtype=torch.float64)

    def measured_now(self) -> dict[str, Tensor]:
        """Numbers of now, [R] each on the device: the distance on the fixed uniform sample, as it is and weighted by PJAP's
        formula (what selection alone makes of it, whatever the run's own sampler); the effective sample size; and each
        behaviour policy's share of what was sampled since the last call."""
        distances = self.algorithm.distances(self._state, self._uniform_sample).double()  # [R, uniform_sequences]
        weights = torch.cat([pjap.priorities_of(distances[rows], own) for own, rows in zip(self._own, self._rows, strict=True)])
        found = {
            "distance_uniform": distances.mean(dim=1),
            "distance_selected": (weights * distances).sum(dim=1) / weights.sum(dim=1),
            "effective_sample_size": torch.cat([sampler.effective_sample_size() for sampler in self._samplers]),
        }
        for index, name in enumerate(self.data.policy_names):
            found[f"share:{name}"] = self._seen[:, index].double() / self._seen.sum(dim=1)
        self._seen.zero_()
        return found

    def sound(self) -> Tensor:
        """Which runs have finite parameters only, [R] bool on the device."""
        return torch.stack([value.flatten(1).isfinite().all(dim=1) for value in self._state.values()]).all(dim=0)

    def idle(self) -> bool:
        """Whether the device has done all that was asked of it."""
        return not self._updates.is_cuda or torch.cuda.current_stream(self._updates.device).query()

    @property
    def policy(self) -> Tensor:
        """The policies' parameters, a copy on the host, [R, layout.size]."""
        return self._state["policy"].detach().cpu().clone()

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors that the future of the stack depends on."""
        live = {f"state.{name}": value for name, value in self._state.items()}
        for index, sampler in enumerate(self._samplers):
            live |= {f"sampler.{index}.{name}": value for name, value in sampler.state().items()}
        for use, own in (("sampling", self._sampling), ("noise", self._noise)):
            live |= {f"random.{use}.{name}": value for name, value in own.tensors().items()}
        return live | {"updates": self._updates, "seen": self._seen}

    def generators(self) -> dict[str, torch.Generator]:
        """The random streams that go on from update to update and are no tensors."""
        streams = {f"sampling.{run}": each for run, each in enumerate(self._sampling.generators())}
        return streams | {f"noise.{run}": each for run, each in enumerate(self._noise.generators())}


def stream(seed: int, name: str, *more: int) -> np.random.SeedSequence:
    """The named random stream of a seed."""
    return np.random.SeedSequence([seed, STREAMS.index(name), *more])


def seed_of(seed: int, name: str) -> int:
    """The same as a number below 2^63, for torch's generators and `draws`."""
    return int(stream(seed, name).generate_state(1, np.uint64)[0] >> 1)


def on_host(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The numbers in float64, when the device has come so far."""
    return {name: value.double().cpu().numpy() for name, value in tensors.items()}


def _common(settings: dict[str, dict]) -> dict:
    """The settings that arms of a stack share: all but their samplers'."""
    (first, one), *others = settings.items()
    expected = shared(one)
    for arm, own in others:
        found = shared(own)
        differing = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        if differing:
            raise BenchError(
                f"arms {first} and {arm} differ in {', '.join(differing)}: only samplers may differ inside a stack",
                where="settings",
                do="train them in stacks of their own",
            )
    return one
