"""Any two-player polynomial game: its reward, its true gradient, and the gradient that BRUD follows.

A policy is one number per agent, its action. Arrays of actions have a last axis of 2: agent x, agent y; all axes before
it are batch axes, so that thousands of runs are one computation.
"""

import dataclasses
import numbers
from collections.abc import Sequence

import numpy as np

from pjap_bench.errors import BenchError


@dataclasses.dataclass(frozen=True, eq=False)
class PolynomialGame:
    """R(x, y) = sum_ij c_ij x^i y^j, the shared reward of both agents (section 2.3).

    Attributes:
        coefficients: [m + 1, n + 1], c_ij in row i (power of x) and column j (power of y).
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
        x, y = actions[..., 0], actions[..., 1]
        return _horner([_horner(row, y) for row in self.coefficients], x)

    def gradient(self, actions: np.ndarray) -> np.ndarray:
        """The true gradient (dR/dx, dR/dy) at `actions` [..., 2], giving [..., 2]."""
        x, y = actions[..., 0], actions[..., 1]
        in_x = _horner([_horner(row, y) for row in _derivative(self.coefficients)], x)
        in_y = _horner([_horner(column, x) for column in _derivative(self.coefficients.T)], y)
        return np.stack([in_x, in_y], axis=-1)

    def moments(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw moments of joint actions `data` [..., item, 2]: all that BRUD needs to know of them.

        Returns:
            E[a_x^i] as [..., m + 1] and E[a_y^j] as [..., n + 1], from power 0 up.
        """
        rows, columns = self.coefficients.shape
        return _raw_moments(data[..., 0], rows), _raw_moments(data[..., 1], columns)

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
        in_x = (of_y[..., None, :] * _derivative(self.coefficients)).sum(axis=-1)
        in_y = (of_x[..., None, :] * _derivative(self.coefficients.T)).sum(axis=-1)
        return in_x, in_y

    def brud_gradient(self, policy: np.ndarray, data: np.ndarray) -> np.ndarray:
        """grad J of Eq. 4: own action from `policy` [..., 2], the other agent's from `data` [..., item, 2], giving [..., 2]."""
        return field_at(self.brud_field(self.moments(data)), policy)


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


def _raw_moments(values: np.ndarray, count: int) -> np.ndarray:
    # [..., item] -> [..., power], the mean over items; powers by products, since pow() is much slower.
    moments = [np.ones(values.shape[:-1])]
    power = values
    for exponent in range(1, count):
        if exponent > 1:
            power = power * values
        moments.append(power.mean(axis=-1))
    return np.stack(moments, axis=-1)


def _derivative(coefficients: np.ndarray) -> np.ndarray:
    """Derivative along the row index: row k holds (k + 1) c_{k+1}; one row of zeros where the polynomial is constant."""
    if len(coefficients) == 1:
        return np.zeros_like(coefficients)
    return coefficients[1:] * np.arange(1, len(coefficients))[:, None]


def _horner(coefficients: Sequence[np.ndarray] | np.ndarray, at: np.ndarray) -> np.ndarray:
    """sum_k coefficients[k] at^k; the coefficients may be numbers or arrays that broadcast with `at`."""
    value = coefficients[-1] + np.zeros_like(at)
    for coefficient in reversed(coefficients[:-1]):
        value = value * at + coefficient
    return value


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
