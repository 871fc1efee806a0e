"""Estimates over runs with their 95 % intervals, bands of curves, and how captions word them."""

import math

import numpy as np
from scipy import stats

# The middle 95 % of runs and their median.
PERCENTILES = (2.5, 50, 97.5)


def exact(value: float, runs: int = 1) -> dict:
    """A number without sampling error: a closed form, the worst of all runs, or a count over the runs themselves."""
    return {"value": float(value), "low": float(value), "high": float(value), "n": int(runs)}


def mean(values: np.ndarray) -> dict:
    """Mean over runs [run] with its 95 % t interval."""
    middle, half = float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"value": middle, "low": middle - half, "high": middle + half, "n": len(values)}


def median(values: np.ndarray) -> dict:
    """Median over runs [run] with its 95 % interval from order statistics (normal approximation of the ranks)."""
    ordered, count = np.sort(values), len(values)
    half = 1.96 * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    return {"value": float(np.median(ordered)), "low": float(ordered[low]), "high": float(ordered[high]), "n": count}


def share(succeeds: np.ndarray) -> dict:
    """Share of runs [run] with Wilson's 95 % interval."""
    found = stats.binomtest(int(np.sum(succeeds)), len(succeeds)).proportion_ci(0.95, method="wilson")
    return {"value": float(np.mean(succeeds)), "low": float(found.low), "high": float(found.high), "n": len(succeeds)}


def bands(curves: np.ndarray) -> np.ndarray:
    """From curves [run, ...] to [3, ...]: the lower end of the middle 95 % of runs, the median, the upper end."""
    return np.percentile(curves, PERCENTILES, axis=0)


def point(values: np.ndarray) -> str:
    """(0.5, -0.5)."""
    return f"({', '.join(f'{value:g}' for value in values)})"


def listed(values, form: str = "g") -> str:
    """10 / 100 / 200."""
    return " / ".join(format(float(value), form) for value in values)


def band(values: np.ndarray, form: str = ".3f") -> str:
    """Median of runs [run] and their middle 95 %: 0.556 (0.549 to 0.562)."""
    low, middle, high = bands(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"
