"""Samplers of the games: which items of a dataset enter a batch. All runs at once, with given uniform numbers.

A sampler is made for [run, item] and has `pick(uniforms)`, which turns uniform numbers into indices, and
`refresh(indices, distances)`, which is told how far the picked items are from the current policy. A new sampler is a class
with these two methods and an entry in SAMPLERS.
"""

import numpy as np

from pjap_bench.errors import BenchError


class UniformSampler:
    """Every item alike, whatever the policy."""

    def __init__(self, runs: int, items: int):
        self.items = items

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Indices [run, pick] from numbers in [0, 1) of the same shape."""
        return np.minimum((uniforms * self.items).astype(np.intp), self.items - 1)

    def refresh(self, indices: np.ndarray, distances: np.ndarray) -> None:
        """Nothing depends on the policy."""


class PjapSampler:
    """Proximal joint-action prioritisation: probability proportional to max(exp(-alpha d^2), epsilon)^exponent (Eq. 6).

    Priorities start at `initial_priority` and change only for items that are refreshed. Each option is one number for all runs
    or an array [run]. The distance d is the L1 norm of
    Eq. 7 (there misprinted as ||a, theta||_1 for ||a - theta||_1, erratum 2).

    Attributes:
        priorities: [run, item], with the exponent already applied.

    Raises:
        BenchError: a negative alpha or exponent, or an epsilon or initial priority that is not positive.
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
    ):
        options = {"alpha": alpha, "epsilon": epsilon, "exponent": exponent, "initial_priority": initial_priority}
        # A column, [run, 1] or [1, 1], against [run, item].
        columns = {key: np.asarray(value, dtype=np.float64).reshape(-1, 1) for key, value in options.items()}
        for key, values in columns.items():
            zero_allowed = key in ("alpha", "exponent")
            allowed = np.isfinite(values) & ((values >= 0) if zero_allowed else (values > 0))
            if not allowed.all():
                do = f"give a number {'of at least' if zero_allowed else 'above'} 0"
                raise BenchError(f"{key} is {values[~allowed][0]:g}", where="PJAP sampler", do=do)
        self.alpha, self.epsilon, self.exponent = columns["alpha"], columns["epsilon"], columns["exponent"]
        self.priorities = np.ones((runs, items)) * columns["initial_priority"] ** self.exponent
        self._cumulative = np.full((runs, 1 << items.bit_length()), np.inf)

    def pick(self, uniforms: np.ndarray) -> np.ndarray:
        """Indices [run, pick] from numbers in [0, 1) of the same shape: a cumulative sum and a search."""
        items = self.priorities.shape[1]
        np.cumsum(self.priorities, axis=1, out=self._cumulative[:, :items])
        targets = uniforms * self._cumulative[:, items - 1 : items]
        # The first index whose cumulative sum exceeds the target, by a bisection of all runs together, since
        # numpy.searchsorted takes one run at a time. The width is a power of two; what lies beyond the items is infinite.
        runs, width = self._cumulative.shape
        flat, base = self._cumulative.reshape(-1), np.arange(runs)[:, None] * width - 1
        found = np.zeros(targets.shape, dtype=np.intp)
        step = width // 2
        while step:
            found += step * (flat[base + (found + step)] <= targets)
            step //= 2
        # A target may round up to the sum itself.
        return np.minimum(found, items - 1)

    def refresh(self, indices: np.ndarray, distances: np.ndarray) -> None:
        """New priorities of the items `indices` [run, pick] from their L1 distances [run, pick] to the policy."""
        priorities = np.maximum(np.exp(-self.alpha * distances**2), self.epsilon) ** self.exponent
        np.put_along_axis(self.priorities, indices, priorities, axis=1)


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
