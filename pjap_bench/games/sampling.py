"""Samplers of the games: which items of a dataset or a replay buffer enter a batch. All runs at once, with given uniform
numbers.

A sampler is made for [run, item] and has three methods: `pick(uniforms)` turns uniform numbers into indices,
`refresh(indices, actions, policy)` is shown picked items and the current policy, and `renew(index)` is told that the item at
this index was replaced. A new sampler is a class with these methods and a line in SAMPLERS.
"""

import math

import numpy as np

from pjap_bench.errors import BenchError
from pjap_bench.games.kernels import DISTANCES, KERNELS


def priorities(
    actions: np.ndarray,
    policy: np.ndarray,
    *,
    alpha: float | np.ndarray,
    epsilon: float | np.ndarray,
    exponent: float | np.ndarray = 1.0,
    initial_priority: float | np.ndarray = 1.0,
    kernel: str = "gaussian",
    distance: str = "l1",
) -> np.ndarray:
    """PJAP's priority of each item at `policy`: max(kernel(alpha d^2), epsilon)^exponent (Eq. 6).

    As weights of the data they give the field that PJAP follows when every item is always up to date:
    `game.brud_gradient(policy, data, priorities(data, policy, ...))`.

    Args:
        actions: [..., item, 2].
        policy: [..., 2].
        alpha, epsilon, exponent: numbers, or arrays that broadcast with [..., item].
        initial_priority: of items that were never refreshed; of no consequence here.
        kernel, distance: names in `kernels.KERNELS` and `kernels.DISTANCES`.

    Returns:
        [..., item], above 0 and at most 1 (where epsilon is).

    Raises:
        BenchError: as `check_options`.
    """
    check_options(alpha, epsilon, exponent, initial_priority, kernel, distance)
    return _priorities(actions, policy, alpha, epsilon, exponent, kernel, distance)


def check_options(alpha, epsilon, exponent, initial_priority, kernel: str, distance: str) -> None:
    """
    Raises:
        BenchError: a negative alpha or exponent, an epsilon or initial priority that is not positive, an unknown kernel or
            distance.
    """
    where = "PJAP sampler"
    for key, value in {"alpha": alpha, "epsilon": epsilon, "exponent": exponent, "initial_priority": initial_priority}.items():
        try:
            values = np.asarray(value, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise BenchError(f"{key} is {value!r}, not a number", where=where, do="give a number") from error
        zero_allowed = key in ("alpha", "exponent")
        allowed = np.isfinite(values) & ((values >= 0) if zero_allowed else (values > 0))
        if not allowed.all():
            do = f"give a number {'of at least' if zero_allowed else 'above'} 0"
            raise BenchError(f"{key} is {values[~allowed][0]:g}", where=where, do=do)
    for key, name, known in (("kernel", kernel, KERNELS), ("distance", distance, DISTANCES)):
        if name not in known:
            raise BenchError(f"unknown {key} '{name}'", where=where, do=f"choose one of {', '.join(known)}")


def _priorities(actions, policy, alpha, epsilon, exponent, kernel: str, distance: str) -> np.ndarray:
    found = np.maximum(KERNELS[kernel](alpha * np.square(DISTANCES[distance](actions, policy))), epsilon)
    # Powers are slow, and the exponent is nearly always 1, where they change nothing.
    return found if np.all(exponent == 1) else found**exponent


class UniformSampler:
    """Every item alike, whatever the policy."""

    def __init__(self, runs: int, items: int):
        self.items = items

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Indices [run, pick] from numbers in [0, 1) of the same shape."""
        return np.minimum((uniforms * self.items).astype(np.intp), self.items - 1)

    def refresh(self, indices: np.ndarray, actions: np.ndarray, policy: np.ndarray) -> None:
        """Nothing depends on the policy."""

    def renew(self, index: int) -> None:
        """Nor on an item's age."""


class PjapSampler:
    """Proximal joint-action prioritisation: probability proportional to `priorities` (section 4).

    Priorities start at `initial_priority` and change only for items that are refreshed. Each number of the options is one for
    all runs or an array [run].

    Attributes:
        priorities: [run, item], with the exponent already applied.

    Raises:
        BenchError: as `check_options`.
    """

    def __init__(
        self,
        runs: int,
        items: int,
        *,
        alpha: float | np.ndarray,
        epsilon: float | np.ndarray,
        exponent: float | np.ndarray = 1.0,
        initial_priority: float | np.ndarray = 1.0,
        kernel: str = "gaussian",
        distance: str = "l1",
    ):
        check_options(alpha, epsilon, exponent, initial_priority, kernel, distance)
        numbers = (alpha, epsilon, exponent, initial_priority)
        # Columns, [run, 1] or [1, 1], against [run, item].
        self._alpha, self._epsilon, self._exponent, initial = (np.reshape(value, (-1, 1)).astype(float) for value in numbers)
        self._kernel, self._distance = kernel, distance
        self._initial = initial**self._exponent
        # [block, place, run] in memory, about as many blocks as places in one, the last filled up with zeros: the cumulative
        # sum then adds whole rows of runs, which numpy's own does not.
        self.items, places = items, math.isqrt(items - 1) + 1
        self._blocks = np.zeros((-(-items // places), places, runs))
        # The same memory as [item, run].
        self._by_item = self._blocks.reshape(-1, runs)[:items]
        self._by_item[:] = self._initial.T
        self.priorities = self._by_item.T
        # Beyond the items it stays infinite, up to a power of two: the search needs no check of bounds.
        self._width = 1 << items.bit_length()
        self._sums = np.full((max(self._width, self._blocks.size // runs), runs), np.inf)
        self._cumulative = self._sums[: self._blocks.size // runs].reshape(self._blocks.shape)

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Indices [run, pick] from numbers in [0, 1) of the same shape: a cumulative sum and a search."""
        blocks, cumulative = self._blocks, self._cumulative
        cumulative[:, 0] = blocks[:, 0]
        for place in range(1, blocks.shape[1]):
            np.add(cumulative[:, place - 1], blocks[:, place], out=cumulative[:, place])
        for block in range(1, len(blocks)):
            cumulative[block] += cumulative[block - 1, -1]
        runs, flat = blocks.shape[-1], self._sums.reshape(-1)
        targets = uniforms * cumulative[-1, -1][:, None]
        # The first index whose cumulative sum exceeds the target, by a bisection of all runs together, since
        # numpy.searchsorted takes one run at a time. `before` is the place in `flat` of the last item known not to exceed it.
        before = np.broadcast_to(np.arange(runs)[:, None] - runs, targets.shape).copy()
        step = self._width // 2
        while step:
            before += (step * runs) * (flat.take(before + step * runs) <= targets)
            step //= 2
        # A target may round up to the sum itself.
        return np.minimum(before // runs + 1, self.items - 1)

    def refresh(self, indices: np.ndarray, actions: np.ndarray, policy: np.ndarray) -> None:
        """New priorities of the items `indices` [run, pick], whose actions are [run, pick, 2], at `policy` [run, 2]."""
        options = (self._alpha, self._epsilon, self._exponent, self._kernel, self._distance)
        np.put_along_axis(self.priorities, indices, _priorities(actions, policy, *options), axis=1)

    def renew(self, index: int) -> None:
        """The item `index` of every run was replaced: it has the initial priority again."""
        self._by_item[index] = self._initial.T


SAMPLERS = {"uniform": UniformSampler, "pjap": PjapSampler}


def make_sampler(settings: dict, runs: int, items: int):
    """The sampler that `settings` names: {"name": "uniform"} or {"name": "pjap", "alpha": 10, "epsilon": 1e-5, ...}.

    Raises:
        BenchError: no such sampler, or an option it does not have.
    """
    options = {key: value for key, value in settings.items() if key != "name"}
    name = settings.get("name")
    if name not in SAMPLERS:
        raise BenchError(f"unknown sampler '{name}'", do=f"choose one of {', '.join(SAMPLERS)}")
    try:
        return SAMPLERS[name](runs, items, **options)
    except TypeError as error:
        raise BenchError(str(error), where=f"options of sampler '{name}'", do="correct the options") from error
