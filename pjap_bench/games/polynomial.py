"""Any two-player polynomial game: its reward, its true gradient, its optima and saddles, and the gradient that BRUD follows.

A policy is one number per agent, its action. Arrays of actions have a last axis of 2: agent x, agent y; all axes before
it are batch axes, so that thousands of runs are one computation. A game may hold many games at once too: the axes of its
coefficients before the last two are batch axes that broadcast with those of the actions.
"""

import dataclasses
import numbers
from collections.abc import Sequence

import numpy as np

from pjap_bench.errors import BenchError


@dataclasses.dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A joint action at which the true gradient vanishes.

    Attributes:
        action: [2].
        reward: R there.
        kind: "maximum", "minimum" or "saddle" by the Hessian's eigenvalues; "degenerate" where one of them is zero, as on a
            line of optima.
    """

    action: np.ndarray
    reward: float
    kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class PolynomialGame:
    """R(x, y) = sum_ij c_ij x^i y^j, the shared reward of both agents (section 2.3).

    Attributes:
        coefficients: [m + 1, n + 1], c_ij in row i (power of x) and column j (power of y); or [..., m + 1, n + 1], many games
            (an array, as `stack` makes it).
        name: for messages and outputs.

    Raises:
        BenchError: coefficients are empty, ragged, complex, not numbers or not finite.
    """

    coefficients: np.ndarray
    name: str = "custom"

    def __post_init__(self):
        matrix = _coefficient_matrix(self.coefficients, self.name)
        matrix.setflags(write=False)
        object.__setattr__(self, "coefficients", matrix)

    def reward(self, actions: np.ndarray) -> np.ndarray:
        """R at `actions` [..., 2], giving [...]."""
        return _polynomial_at(self.coefficients, actions)

    def gradient(self, actions: np.ndarray) -> np.ndarray:
        """The true gradient (dR/dx, dR/dy) at `actions` [..., 2], giving [..., 2]."""
        in_x, in_y = _in_x(self.coefficients), _in_y(self.coefficients)
        return np.stack([_polynomial_at(in_x, actions), _polynomial_at(in_y, actions)], axis=-1)

    def hessian(self, actions: np.ndarray) -> np.ndarray:
        """The second derivatives of R at `actions` [..., 2], giving [..., 2, 2]."""
        in_x, in_y = _in_x(self.coefficients), _in_y(self.coefficients)
        xx, xy, yy = (_polynomial_at(matrix, actions) for matrix in (_in_x(in_x), _in_y(in_x), _in_y(in_y)))
        return np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)

    def moments(self, data: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Raw moments of joint actions `data` [..., item, 2]: all that BRUD needs to know of them.

        Args:
            weights: [..., item], positive, not necessarily of sum 1: how often a sampler would draw each item.

        Returns:
            E[a_x^i] as [..., m + 1] and E[a_y^j] as [..., n + 1], from power 0 up.
        """
        rows, columns = self.coefficients.shape[-2:]
        if weights is not None:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        return _raw_moments(data[..., 0], rows, weights), _raw_moments(data[..., 1], columns, weights)

    def brud_field(self, moments: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The BRUD gradient as a polynomial of each agent's own action, for data with these moments (Eq. 4).

        dJ/dx = sum_k (k + 1) (sum_j c_{k+1,j} E[a_y^j]) x^k, and likewise for y: the field of each agent does not depend
        on the other agent's policy.

        Returns:
            coefficients of dJ/dx in x as [..., max(m, 1)] and of dJ/dy in y as [..., max(n, 1)], from power 0 up.
        """
        of_x, of_y = moments
        # [..., 1, n + 1] * [m, n + 1], summed over the other agent's powers: [..., m]. Not a matrix product, since BLAS
        # rounds a run differently in a batch than alone.
        in_x = (of_y[..., None, :] * _in_x(self.coefficients)).sum(axis=-1)
        in_y = (of_x[..., :, None] * _in_y(self.coefficients)).sum(axis=-2)
        return in_x, in_y

    def brud_gradient(self, policy: np.ndarray, data: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """grad J of Eq. 4 at `policy`: the own action from there, the other agent's from the data.

        Args:
            policy: [..., 2].
            data: [..., item, 2].
            weights: as in `moments`; with `sampling.priorities` this is the field that PJAP follows.

        Returns:
            [..., 2].
        """
        return field_at(self.brud_field(self.moments(data, weights)), policy)

    def critical_points(self, limit: float) -> list[CriticalPoint]:
        """Where the true gradient vanishes in the square [-limit, limit]^2: optima, saddles, and points of lines of them.

        Newton's method from a grid of starts: it finds the isolated points of games of the degrees of interest here (compared
        with all real solutions in the tests), and a sample of a continuum. Highest reward first.

        Raises:
            BenchError: many games at once, or a limit that is not positive.
        """
        self._check_single(limit)
        side = np.linspace(-limit, limit, 24)  # an even number: the starts miss the axes, where gradients often vanish
        points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        scale = max(np.abs(self.gradient(points)).max(), np.finfo(float).tiny)
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(80):
                points = points - _newton_step(self.gradient(points), self.hessian(points), limit / 4)
                points = points[np.abs(points).max(axis=-1) <= 4 * limit]
        found = np.abs(self.gradient(points)).max(axis=-1) <= 1e-10 * scale
        points = points[found & (np.abs(points).max(axis=-1) <= limit * (1 + 1e-9))]
        # Where the Hessian is singular Newton's method is slow and ends at some distance: one point per small cell.
        cells = np.round(points / (limit * 1e-3)).astype(np.int64)
        points = _distinct(points[np.unique(cells, axis=0, return_index=True)[1]], 2e-3 * limit)
        curved = np.linalg.eigvalsh(self.hessian(points))
        flat = 1e-6 * max(np.abs(curved).max(initial=0.0), scale / limit)
        order = np.argsort(-self.reward(points), kind="stable")
        return [CriticalPoint(points[i], float(self.reward(points[i])), _kind(curved[i], flat)) for i in order]

    def best_on_square(self, limit: float) -> tuple[np.ndarray, float]:
        """The joint action [2] of highest reward in the square [-limit, limit]^2, edges included, and the reward there.

        One of them where there are several.

        Raises:
            BenchError: many games at once, or a limit that is not positive.
        """
        self._check_single(limit)
        candidates = [point.action for point in self.critical_points(limit)]
        for edge in (-limit, limit):
            # On an edge R is a polynomial of the other action, largest at an end or where its slope is zero.
            for fixed, restricted in enumerate((_horner(self.coefficients, edge), _horner(self.coefficients.T, edge))):
                slope = np.trim_zeros(restricted[1:] * np.arange(1, len(restricted)), "b")
                roots = np.roots(slope[::-1]) if len(slope) > 1 else np.empty(0)
                free = roots.real[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) < limit)]
                for value in (-limit, *free, limit):
                    candidates.append(np.array([edge, value] if fixed == 0 else [value, edge]))
        rewards = self.reward(np.stack(candidates))
        best = int(rewards.argmax())
        return candidates[best], float(rewards[best])

    def _check_single(self, limit: float) -> None:
        if self.coefficients.ndim != 2:
            raise BenchError("many games at once have no common critical points", where=self.name, do="ask each game")
        if not (np.isfinite(limit) and limit > 0):
            raise BenchError(f"the square's limit is {limit}", where=self.name, do="give a number above 0")


def stack(games: Sequence[PolynomialGame]) -> PolynomialGame:
    """Many games as one, [game, m + 1, n + 1] with the largest m and n of them; the others are filled with zeros.

    Raises:
        BenchError: no game.
    """
    if not games:
        raise BenchError("no games to stack", do="give at least one")
    shapes = np.array([game.coefficients.shape for game in games])
    together = np.zeros((len(games), *shapes.max(axis=0)))
    for place, game in zip(together, games, strict=True):
        place[: game.coefficients.shape[0], : game.coefficients.shape[1]] = game.coefficients
    return PolynomialGame(together, "stack")


def field_at(field: tuple[np.ndarray, np.ndarray], policy: np.ndarray) -> np.ndarray:
    """Evaluates a field of `PolynomialGame.brud_field` at `policy` [..., 2], giving [..., 2]."""
    return np.stack([_horner(np.moveaxis(field[agent], -1, 0), policy[..., agent]) for agent in (0, 1)], axis=-1)


def twin_peaks(a: float, b: float, c: float) -> PolynomialGame:
    """-A(x^2 + y^2) - B(xy)^2 + Cxy (section 3.2), with two equal peaks where A, B > 0 and C > 2A.

    Raises:
        BenchError: other A, B or C, for which the game has no two peaks.
    """
    if not (a > 0 and b > 0 and c > 2 * a):
        raise BenchError(f"A={a}, B={b}, C={c} give no twin peaks", where="twin_peaks", do="choose A > 0, B > 0 and C > 2A")
    return PolynomialGame([[0, 0, -a], [0, c, 0], [-a, 0, -b]], "twin_peaks")


def _coefficient_matrix(rows: Sequence[Sequence[float]] | np.ndarray, name: str) -> np.ndarray:
    where = f"coefficients of game '{name}'"
    do = "give a rectangle of real numbers, c_ij in row i and column j"
    if isinstance(rows, np.ndarray) and rows.ndim > 2 and rows.dtype.kind == "f":
        if rows.size and np.isfinite(rows).all():
            return rows.astype(np.float64)
        raise BenchError("empty" if not rows.size else "some are not finite", where=where, do=do)
    if isinstance(rows, np.ndarray):
        rows = rows.tolist()
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in rows):
        raise BenchError("not a matrix", where=where, do=do)
    if not rows or not rows[0]:
        raise BenchError("empty", where=where, do=do)
    if any(len(row) != len(rows[0]) for row in rows):
        raise BenchError(f"ragged, with rows of {', '.join(str(len(row)) for row in rows)} numbers", where=where, do=do)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise BenchError(f"c_{i}{j} = {value!r} is not a real number", where=where, do=do)
    matrix = np.array(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        i, j = np.argwhere(~np.isfinite(matrix))[0]
        raise BenchError(f"c_{i}{j} = {matrix[i, j]} is not finite", where=where, do=do)
    return matrix


def _raw_moments(values: np.ndarray, count: int, weights: np.ndarray | None) -> np.ndarray:
    # [..., item] -> [..., power], the mean over items; powers by products, since pow() is much slower.
    shape = values.shape if weights is None else np.broadcast_shapes(values.shape, weights.shape)
    moments = [np.ones(shape[:-1])]
    power = values
    for exponent in range(1, count):
        if exponent > 1:
            power = power * values
        # The mean's own two operations, without its overhead.
        moments.append(np.add.reduce(power, axis=-1) / power.shape[-1] if weights is None else (power * weights).sum(axis=-1))
    return np.stack(moments, axis=-1)


def _in_x(coefficients: np.ndarray) -> np.ndarray:
    """The derivative in x: row k holds (k + 1) c_{k+1}; one row of zeros where the polynomial is constant in x."""
    if coefficients.shape[-2] == 1:
        return np.zeros_like(coefficients)
    return coefficients[..., 1:, :] * np.arange(1, coefficients.shape[-2])[:, None]


def _in_y(coefficients: np.ndarray) -> np.ndarray:
    """The derivative in y, likewise."""
    if coefficients.shape[-1] == 1:
        return np.zeros_like(coefficients)
    return coefficients[..., 1:] * np.arange(1, coefficients.shape[-1])


def _polynomial_at(coefficients: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """sum_ij c_ij x^i y^j; coefficients [..., m + 1, n + 1], actions [..., 2]."""
    x, y = actions[..., 0], actions[..., 1]
    rows = np.moveaxis(coefficients, (-2, -1), (0, 1))
    return _horner([_horner(row, y) for row in rows], x)


def _horner(coefficients: Sequence[np.ndarray] | np.ndarray, at: np.ndarray | float) -> np.ndarray:
    """sum_k coefficients[k] at^k; the coefficients may be numbers or arrays that broadcast with `at`."""
    value = coefficients[-1] + np.zeros_like(at)
    for coefficient in reversed(coefficients[:-1]):
        value = value * at + coefficient
    return value


def _newton_step(gradient: np.ndarray, hessian: np.ndarray, longest: float) -> np.ndarray:
    """Hessian^+ gradient [point, 2], cut to a length of `longest`; along a singular direction it does not move."""
    values, vectors = np.linalg.eigh(hessian)
    tiny = 1e-12 * np.abs(values).max(axis=-1, keepdims=True, initial=np.finfo(float).tiny)
    along = (gradient[..., None] * vectors).sum(axis=-2)
    along = np.divide(along, values, out=np.zeros_like(along), where=np.abs(values) > tiny)
    step = (vectors * along[..., None, :]).sum(axis=-1)
    length = np.linalg.norm(step, axis=-1, keepdims=True)
    return step * np.minimum(1, longest / np.maximum(length, np.finfo(float).tiny))


def _distinct(points: np.ndarray, apart: float) -> np.ndarray:
    """The first of each group of points that lie closer than `apart` together."""
    near = np.abs(points[:, None] - points).max(axis=-1, initial=0) < apart
    kept = np.zeros(len(points), dtype=bool)
    for place in range(len(points)):
        kept[place] = not near[place, kept].any()
    return points[kept]


def _kind(eigenvalues: np.ndarray, flat: float) -> str:
    if np.abs(eigenvalues).min() <= flat:
        return "degenerate"
    return {2: "minimum", 0: "maximum"}.get(int((eigenvalues > 0).sum()), "saddle")


PRESETS = {
    "decoupled": PolynomialGame([[0, 1], [1, 0]], "decoupled"),
    "sign_agreement": PolynomialGame([[0, 0], [0, 1]], "sign_agreement"),
    "action_agreement": PolynomialGame([[0, 0, -1], [0, 2, 0], [-1, 0, 0]], "action_agreement"),
    "twin_peaks": twin_peaks(1, 4, 5),
}


def preset(name: str) -> PolynomialGame:
    """One of the paper's four games by name.

    Raises:
        BenchError: no such game.
    """
    if name not in PRESETS:
        raise BenchError(f"unknown game '{name}'", do=f"choose one of {', '.join(PRESETS)}, or give coefficients")
    return PRESETS[name]
