"""Learning in polynomial games: plain gradient ascent along BRUD, offline and online, all runs as one computation.

Axes: [run, item, 2] for data, [run, step, 2] for trajectories; the last axis is (agent x, agent y).

Random numbers come from generators in the arguments and are drawn run by run, so that a batch of runs consumes a generator
exactly as the same runs one after another do, and gives the same results.
"""

import dataclasses

import numpy as np

from pjap_bench.errors import BenchError
from pjap_bench.games.polynomial import PolynomialGame, field_at
from pjap_bench.games.sampling import make_sampler


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
    game: PolynomialGame, data: np.ndarray, start: np.ndarray, *, learning_rate: float, steps: int, keep: bool = True
) -> np.ndarray:
    """Offline BRUD with the whole dataset in each batch, exactly, through the data's raw moments.

    Args:
        data: [..., item, 2], or one dataset [item, 2] for all runs.
        start: [..., 2], broadcast against the data's run axes.
        keep: whether every policy is kept or only the last.

    Returns:
        policies [..., step + 1, 2] with `keep`, else the last ones [..., 2]. A run that diverges holds values that are not
        finite; the others are not affected.

    Raises:
        BenchError: no data, or a learning rate or number of steps that is not positive.
    """
    _check(data, learning_rate, steps)
    field = game.brud_field(game.moments(data))
    policy = np.broadcast_to(np.asarray(start, dtype=np.float64), np.broadcast_shapes(np.shape(start), (*data.shape[:-2], 2)))
    trail = [policy]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            policy = policy + learning_rate * field_at(field, policy)
            if keep:
                trail.append(policy)
    return np.stack(trail, axis=-2) if keep else policy


def learn_offline(
    game: PolynomialGame,
    data: np.ndarray,
    start: np.ndarray,
    *,
    learning_rate: float,
    epochs: int,
    batch: int,
    sampler: dict,
    rounds: int = 1,
    sampling: np.random.Generator,
) -> Trajectories:
    """Offline BRUD from mini-batches that a sampler picks, one update an epoch (section 4.1).

    An epoch: `rounds` times a batch is picked and, at the policy so far, its priorities are refreshed (Eq. 6 sets rho_{k+1}
    from mu_k); then the policy steps along BRUD of the last batch. The authors' loop is not known: 6 rounds of 32 refresh
    about as many items an epoch as their picture suggests. Samplers that ignore the policy do not mind the rounds.

    Args:
        data: [run, item, 2].
        start: [run, 2] or [2].
        sampler: see `sampling.make_sampler`.
        sampling: uniform numbers, epochs * rounds * batch of them a run.

    Raises:
        BenchError: no data; a learning rate or number that is not positive; an unknown sampler or impossible option of it.
    """
    _check(data, learning_rate, epochs)
    if batch < 1 or rounds < 1:
        raise BenchError(f"batch is {batch} and rounds is {rounds}", where="offline learning", do="give whole numbers from 1")
    runs, items, _ = data.shape
    chosen = make_sampler(sampler, runs, items)
    uniforms = sampling.random((runs, epochs, rounds, batch))
    policy = np.broadcast_to(np.asarray(start, dtype=np.float64), (runs, 2))
    policies, distances = np.empty((runs, epochs + 1, 2)), np.empty((runs, epochs))
    policies[:, 0] = policy
    with np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(epochs):
            for turn in range(rounds):
                indices = chosen.pick(uniforms[:, epoch, turn])
                picked = _items(data, indices)
                distance = _l1(picked, policy)
                chosen.refresh(indices, distance)
            distances[:, epoch] = distance.mean(axis=1) / 2
            policy = policy + learning_rate * game.brud_gradient(policy, picked)
            policies[:, epoch + 1] = policy
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
    learning_rate: float,
    steps: int,
    batch: int,
    buffer_size: int,
    exploration_sigma: float,
    exploration: np.random.Generator,
    sampling: np.random.Generator,
) -> OnlineTrajectories:
    """Online BRUD with a first-in first-out replay buffer, one environment step an update (section 3.1, Figure 2).

    The buffer is filled beforehand by the initial policy. A step acts with Gaussian exploration, stores the joint action in
    place of the oldest, and updates from a batch drawn uniformly with replacement.

    Args:
        start: [2] or [run, 2].
        exploration: normal numbers, (buffer_size + steps) * 2 a run.
        sampling: uniform numbers, steps * batch a run.

    Raises:
        BenchError: a buffer smaller than the batch, a negative sigma, or a number that is not positive.
    """
    if batch < 1 or buffer_size < batch:
        raise BenchError(
            f"a buffer of {buffer_size} cannot fill a batch of {batch}", where="online learning", do="use a larger buffer"
        )
    if not exploration_sigma >= 0:
        raise BenchError(f"sigma is {exploration_sigma}", where="online learning", do="give a number of at least 0")
    policy = np.broadcast_to(np.asarray(start, dtype=np.float64), (runs, 2))
    # The noise first; each policy is added when it acts.
    experience = exploration_sigma * exploration.standard_normal((runs, buffer_size + steps, 2))
    _check(experience, learning_rate, steps)
    experience[:, :buffer_size] += policy[:, None]
    offsets = (sampling.random((runs, steps, batch)) * buffer_size).astype(np.intp)
    policies, distances = np.empty((runs, steps + 1, 2)), np.empty((runs, steps))
    policies[:, 0] = policy
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            experience[:, buffer_size + step] += policy
            # The buffer is the last `buffer_size` joint actions: a window that slides over the experience.
            picked = _items(experience, step + 1 + offsets[:, step])
            distances[:, step] = _l1(picked, policy).mean(axis=1) / 2
            policy = policy + learning_rate * game.brud_gradient(policy, picked)
            policies[:, step + 1] = policy
    return OnlineTrajectories(policies, distances, experience, buffer_size)


def _check(data: np.ndarray, learning_rate: float, steps: int) -> None:
    if data.ndim < 2 or data.shape[-1] != 2 or data.shape[-2] == 0:
        raise BenchError(f"a dataset of shape {data.shape}", where="learning", do="give joint actions [..., item, 2]")
    if not np.isfinite(data).all():
        raise BenchError("the dataset holds values that are not finite", where="learning", do="remove them")
    if not (learning_rate > 0 and np.isfinite(learning_rate)) or steps < 1:
        raise BenchError(f"learning rate {learning_rate}, steps {steps}", where="learning", do="give positive numbers")


def _items(data: np.ndarray, indices: np.ndarray) -> np.ndarray:
    # data [run, item, 2], indices [run, pick] -> [run, pick, 2]
    return data[np.arange(len(data))[:, None], indices]


def _l1(actions: np.ndarray, policy: np.ndarray) -> np.ndarray:
    # actions [run, pick, 2], policy [run, 2] -> [run, pick]
    return np.abs(actions - policy[:, None]).sum(axis=-1)
