"""Learning in polynomial games: plain gradient ascent along BRUD, offline and online, all runs as one computation.

Axes: [run, item, 2] for data, [run, step, 2] for trajectories; the last axis is (agent x, agent y). Games, starts, learning
rates and the sampler's numbers may differ between runs: arrays whose first axis is the run.

Random numbers come from generators in the arguments and are drawn run by run, so that a batch of runs consumes a generator
exactly as the same runs one after another do, and gives the same results.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from pjap_bench.errors import BenchError
from pjap_bench.games.kernels import l1
from pjap_bench.games.polynomial import PolynomialGame, field_at
from pjap_bench.games.sampling import make_sampler, priorities

# Which items get a new priority before each batch; see `learn_offline`.
REFRESH_RULES = ("sampled", "proportional", "uniform", "all")

# Runs that go through mini-batch learning together: their data and priorities then stay in the processor's cache.
_TOGETHER = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectories:
    """What learning leaves.

    Attributes:
        policies: [run, step + 1, 2], the joint policy before each update and after the last.
        distances: [run, step], mean |data action - own action| over both agents and the batch of each update, at the policy
            before it: half the L1 norm of Eq. 7, the paper's third column of Figure 5.
    """

    policies: np.ndarray
    distances: np.ndarray

    @property
    def diverged(self) -> np.ndarray:
        """[run], whether the policy left the finite numbers."""
        return ~np.isfinite(self.policies[:, -1]).all(axis=-1)


def learn_full_batch(
    game: PolynomialGame,
    data: np.ndarray,
    start: np.ndarray,
    *,
    learning_rate: float | np.ndarray,
    steps: int,
    keep: bool = True,
    sampler: dict | None = None,
) -> np.ndarray:
    """Offline BRUD with the whole dataset in each batch: exactly what mini-batches follow on average.

    Without a sampler, or a uniform one, the data's raw moments are all that is needed. With PJAP, each item counts by its
    priority at the current policy (as if all were refreshed at each step), so that the moments change with the policy.

    Args:
        data: [..., item, 2], or one dataset [item, 2] for all runs.
        start: [..., 2], broadcast against the data's run axes.
        learning_rate: a number, or an array that broadcasts with the run axes [...].
        keep: whether every policy is kept or only the last.
        sampler: see `sampling.make_sampler`; its numbers may be arrays that broadcast with the run axes.

    Returns:
        policies [..., step + 1, 2] with `keep`, else the last ones [..., 2]. A run that diverges holds values that are not
        finite; the others are not affected.

    Raises:
        BenchError: no data, a learning rate or number of steps that is not positive, impossible options of the sampler.
    """
    _check(data, learning_rate, steps)
    options = _priority_options(sampler)
    rate = np.asarray(learning_rate, dtype=np.float64)[..., None]
    shapes = [np.shape(start), (*data.shape[:-2], 2), (*game.coefficients.shape[:-2], 2), (*rate.shape[:-1], 2)]
    shapes += [(*np.shape(value)[:-1], 2) for value in options.values() if np.ndim(value)]
    policy = np.broadcast_to(np.asarray(start, dtype=np.float64), np.broadcast_shapes(*shapes))
    trail = np.empty((steps + 1, *policy.shape)) if keep else None
    with np.errstate(over="ignore", invalid="ignore"):
        field = None if options else game.brud_field(game.moments(data))
        for step in range(steps):
            if keep:
                trail[step] = policy
            if options:
                field = game.brud_field(game.moments(data, priorities(data, policy, **options)))
            policy = policy + rate * field_at(field, policy)
    if not keep:
        return policy
    trail[steps] = policy
    return np.ascontiguousarray(np.moveaxis(trail, 0, -2))


def learn_offline(
    game: PolynomialGame,
    data: np.ndarray,
    start: np.ndarray,
    *,
    learning_rate: float | np.ndarray,
    epochs: int,
    batch: int,
    sampler: dict,
    rounds: int = 1,
    refresh: str = "sampled",
    sampling: np.random.Generator,
) -> Trajectories:
    """Offline BRUD from mini-batches that a sampler picks, one update an epoch (section 4.1).

    An epoch: some items get new priorities at the policy so far (Eq. 6 sets rho_{k+1} from mu_k), a batch is picked, and the
    policy steps along its BRUD gradient. Which items is the rule of refreshing:

    - `sampled`: the batch's own. With more than one round, `rounds` batches are picked and refreshed one after another and the
      last makes the update: 6 rounds of 32 refresh about as many items an epoch as the paper's picture suggests. The
      authors' loop is not known;
    - `proportional`: `rounds` * `batch` items that are picked by the priorities themselves, before the batch is;
    - `uniform`: as many, picked uniformly;
    - `all`: the whole dataset.

    Args:
        data: [run, item, 2].
        start: [run, 2] or [2].
        learning_rate: a number or [run].
        sampler: see `sampling.make_sampler`; its numbers may be arrays [run].
        sampling: uniform numbers; the same amount for every sampler, so that paired arms share them.

    Raises:
        BenchError: no data; a learning rate or number that is not positive; an unknown rule or sampler or impossible option.
    """
    _check(data, learning_rate, epochs)
    _check_batches(batch, rounds, refresh)
    runs, items, _ = data.shape
    start = np.broadcast_to(np.asarray(start, dtype=np.float64), (runs, 2))
    policies, distances = np.empty((runs, epochs + 1, 2)), np.empty((runs, epochs))
    picks = _picks(rounds, refresh)
    for part in _parts(runs):
        own = data[part]
        chosen = make_sampler(_of_runs(sampler, part), len(own), items)
        uniforms = sampling.random((len(own), epochs, picks, batch))
        policy, rate, played = start[part], _column(learning_rate, part), _of_game(game, part)
        policies[part, 0] = policy
        with np.errstate(over="ignore", invalid="ignore"):
            for epoch in range(epochs):
                picked = _next_batch(chosen, own, policy, uniforms[:, epoch], refresh)
                distances[part, epoch] = l1(picked, policy).mean(axis=1) / 2
                policy = policy + rate * played.brud_gradient(policy, picked)
                policies[part, epoch + 1] = policy
    return Trajectories(policies, distances)


@dataclasses.dataclass(frozen=True, eq=False)
class OnlineTrajectories(Trajectories):
    """Online learning leaves its experience too.

    Attributes:
        experience: [run, buffer_size + step, 2], every joint action ever in the buffer, the prefilled ones first.
        buffer_size: after update t (from 1) the buffer holds `experience[:, t : t + buffer_size]`.
    """

    experience: np.ndarray
    buffer_size: int

    def buffer_after(self, run: int, step: int) -> np.ndarray:
        """The buffer [buffer_size, 2] from which update `step` (from 1) of `run` drew."""
        return self.experience[run, step : step + self.buffer_size]


def learn_online(
    game: PolynomialGame,
    start: np.ndarray,
    *,
    runs: int,
    learning_rate: float | np.ndarray,
    steps: int,
    batch: int | None,
    buffer_size: int,
    exploration_sigma: float,
    sampler: dict | None = None,
    rounds: int = 1,
    refresh: str = "sampled",
    exploration: np.random.Generator,
    sampling: np.random.Generator,
) -> OnlineTrajectories:
    """Online BRUD with a first-in first-out replay buffer, one environment step an update (section 3.1, Figure 2).

    The buffer is filled beforehand by the initial policy. A step acts with Gaussian exploration, stores the joint action in
    place of the oldest, and updates from a batch of the buffer.

    Args:
        start: [2] or [run, 2].
        learning_rate: a number or [run].
        batch: items of a batch, drawn with replacement; None for the whole buffer once, without a sampler.
        sampler: see `sampling.make_sampler`; uniform where None. A new joint action has the initial priority.
        rounds, refresh: as in `learn_offline`.
        exploration: normal numbers, (buffer_size + steps) * 2 a run.
        sampling: uniform numbers, as in `learn_offline`.

    Raises:
        BenchError: a buffer smaller than the batch, a negative sigma, a number that is not positive, or impossible options.
    """
    if runs < 1 or buffer_size < 1:
        raise BenchError(f"runs is {runs} and the buffer {buffer_size}", where="online learning", do="give whole numbers from 1")
    if batch is not None:
        _check_batches(batch, rounds, refresh)
        if buffer_size < batch:
            what = f"a buffer of {buffer_size} cannot fill a batch of {batch}"
            raise BenchError(what, where="online learning", do="use a larger buffer")
    elif (sampler or {}).get("name", "uniform") != "uniform":
        raise BenchError("a sampler has no choice in a full batch", where="online learning", do="give the size of a batch")
    if not (exploration_sigma >= 0 and np.isfinite(exploration_sigma)):
        raise BenchError(f"sigma is {exploration_sigma}", where="online learning", do="give a number of at least 0")
    policy = np.broadcast_to(np.asarray(start, dtype=np.float64), (runs, 2))
    # The noise first; each policy is added when it acts.
    experience = exploration_sigma * exploration.standard_normal((runs, buffer_size + steps, 2))
    _check(experience, learning_rate, steps)
    experience[:, :buffer_size] += policy[:, None]
    buffer, rate = experience[:, :buffer_size].copy(), _column(learning_rate, slice(None))
    chosen = make_sampler(sampler or {"name": "uniform"}, runs, buffer_size)
    policies, distances = np.empty((runs, steps + 1, 2)), np.empty((runs, steps))
    policies[:, 0] = policy
    uniforms = None if batch is None else sampling.random((runs, steps, _picks(rounds, refresh), batch))
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            experience[:, buffer_size + step] += policy
            oldest = step % buffer_size
            buffer[:, oldest] = experience[:, buffer_size + step]
            chosen.renew(oldest)
            picked = buffer if batch is None else _next_batch(chosen, buffer, policy, uniforms[:, step], refresh)
            distances[:, step] = l1(picked, policy).mean(axis=1) / 2
            policy = policy + rate * game.brud_gradient(policy, picked)
            policies[:, step + 1] = policy
    return OnlineTrajectories(policies, distances, experience, buffer_size)


def _next_batch(chosen, data: np.ndarray, policy: np.ndarray, uniforms: np.ndarray, refresh: str) -> np.ndarray:
    """Refreshes priorities by the rule and picks a batch: [run, batch, 2] from data [run, item, 2].

    `uniforms` are [run, pick, batch], with as many picks as `_picks` says.
    """
    if refresh == "all":
        everything = np.broadcast_to(np.arange(data.shape[1]), data.shape[:2])
        chosen.refresh(everything, data, policy)
    for turn in range(uniforms.shape[1]):
        last = turn == uniforms.shape[1] - 1
        if refresh == "uniform" and not last:
            indices = np.minimum((uniforms[:, turn] * data.shape[1]).astype(np.intp), data.shape[1] - 1)
        else:
            indices = chosen.pick(uniforms[:, turn])
        picked = _items(data, indices)
        if refresh == "sampled" or (refresh != "all" and not last):
            chosen.refresh(indices, picked, policy)
    return picked


def _picks(rounds: int, refresh: str) -> int:
    """Picks an epoch: under `sampled` the batch is the last of the refreshed ones, else it comes after them."""
    return {"sampled": rounds, "all": 1}.get(refresh, rounds + 1)


def _parts(runs: int) -> Iterator[slice]:
    for first in range(0, runs, _TOGETHER):
        yield slice(first, min(first + _TOGETHER, runs))


def _of_runs(sampler: dict, part: slice) -> dict:
    return {key: value[part] if np.ndim(value) == 1 and len(value) > 1 else value for key, value in sampler.items()}


def _of_game(game: PolynomialGame, part: slice) -> PolynomialGame:
    return game if game.coefficients.ndim == 2 else PolynomialGame(game.coefficients[part], game.name)


def _column(learning_rate: float | np.ndarray, part: slice) -> float | np.ndarray:
    return learning_rate if np.ndim(learning_rate) == 0 else np.asarray(learning_rate)[part, None]


def _priority_options(sampler: dict | None) -> dict:
    """What `sampling.priorities` needs for this sampler, numbers as [..., 1] against [..., item]; empty for uniform sampling."""
    options = dict(sampler or {"name": "uniform"})
    make_sampler(options, 1, 1)  # says what is wrong with them
    name = options.pop("name")
    if name not in ("uniform", "pjap"):
        raise BenchError(f"sampler '{name}' has no full-batch form", where="learning", do="use uniform or pjap")
    return {key: value if isinstance(value, str) else np.asarray(value, dtype=float)[..., None] for key, value in options.items()}


def _check(data: np.ndarray, learning_rate: float | np.ndarray, steps: int) -> None:
    if data.ndim < 2 or data.shape[-1] != 2 or 0 in data.shape:
        raise BenchError(f"a dataset of shape {data.shape}", where="learning", do="give joint actions [..., item, 2]")
    if not np.isfinite(data).all():
        raise BenchError("the dataset holds values that are not finite", where="learning", do="remove them")
    if not (np.all(np.greater(learning_rate, 0)) and np.all(np.isfinite(learning_rate))) or steps < 1:
        raise BenchError(f"learning rate {learning_rate}, steps {steps}", where="learning", do="give positive numbers")


def _check_batches(batch: int, rounds: int, refresh: str) -> None:
    if batch < 1 or rounds < 1:
        raise BenchError(f"batch is {batch} and rounds is {rounds}", where="learning", do="give whole numbers from 1")
    if refresh not in REFRESH_RULES:
        raise BenchError(f"unknown rule of refreshing '{refresh}'", do=f"choose one of {', '.join(REFRESH_RULES)}")


def _items(data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    # data [run, item, 2], indices [run, pick] -> [run, pick, 2]; `take` is the fastest way to gather.
    runs, items, _ = data.shape
    return data.reshape(-1, 2).take(indices + items * np.arange(runs)[:, None], axis=0)
