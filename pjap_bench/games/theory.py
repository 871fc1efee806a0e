"""Closed forms of sections 3.1, 3.2 and 4.1, against which the simulations are checked."""

import numpy as np


def twin_peaks_optimum(a: float, b: float, c: float) -> tuple[float, float]:
    """The action of both agents at the peak of the ++ quadrant, sqrt((C - 2A) / 2B), and the reward there, (C - 2A)^2 / 4B.

    The other peak is its mirror image; between them lies a saddle at the origin, of reward 0.
    """
    return float(np.sqrt((c - 2 * a) / (2 * b))), (c - 2 * a) ** 2 / (4 * b)


def twin_peaks_limit(mean: np.ndarray, variance: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    """Where full-batch BRUD takes an agent in Twin Peaks: C m / (2A + 2B (m^2 + s^2)) (section 3.2).

    Args:
        mean: sample mean of the other agent's actions in the data.
        variance: their 1/n variance (the paper says 'sample variance', erratum 3).
    """
    return c * mean / (2 * a + 2 * b * (mean**2 + variance))


def twin_peaks_required_sigma(mean: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    """Eq. 5: the spread that data of this mean must have for BRUD to end at the peak of the ++ quadrant.

    NaN where no real spread does it. The mirror image holds for the other peak.
    """
    mean = np.asarray(mean, dtype=np.float64)
    square = -(mean**2) + c / np.sqrt(2 * b * (c - 2 * a)) * mean - a / b
    # At the ends of the interval the square is zero up to rounding.
    square = np.where(np.abs(square) < 1e-15, 0.0, square)
    return np.sqrt(np.where(square >= 0, square, np.nan))


def twin_peaks_required_means(a: float, b: float, c: float) -> tuple[float, float]:
    """The interval of means for which Eq. 5 has a real spread, for the peak of the ++ quadrant."""
    slope = c / np.sqrt(2 * b * (c - 2 * a))
    root = np.sqrt(slope**2 - 4 * a / b)
    return float((slope - root) / 2), float((slope + root) / 2)


def pjap_limit(alpha: float | np.ndarray, a: float, b: float, c: float) -> np.ndarray:
    """PJAP's fixed point in Twin Peaks near the ++ peak, in locally uniform data: sqrt((C - 2A) / 2B - 1 / (3 alpha)).

    The Gaussian kernel of the L1 norm leaves each agent's actions a variance of 1 / (3 alpha) around the policy, which acts as
    the data's spread does in `twin_peaks_limit`: the bias that PJAP keeps (erratum 6). NaN where the kernel is so wide that the
    origin is the only fixed point.
    """
    square = (c - 2 * a) / (2 * b) - 1 / (3 * np.asarray(alpha, dtype=np.float64))
    return np.sqrt(np.where(square > 0, square, np.nan))
