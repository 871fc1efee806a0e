import numpy as np
import pytest

from pjap_bench.games import theory
from pjap_bench.games.polynomial import twin_peaks
from pjap_bench.games.sampling import priorities

PEAKS = {"a": 1, "b": 4, "c": 5}


@pytest.mark.parametrize("alpha", [4.5, 10, 30])
def test_pjaps_fixed_point_is_one_in_uniform_data(alpha):
    at = np.full(2, theory.pjap_limit(alpha, **PEAKS))
    side = np.linspace(-2, 2, 401)
    lattice = at + np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    weights = priorities(lattice, at, alpha=alpha, epsilon=1e-12)
    np.testing.assert_allclose(twin_peaks(**PEAKS).brud_gradient(at, lattice, weights), 0, atol=1e-4)
    # Because the kernel leaves each agent's actions this variance.
    variance = np.average((lattice[:, 0] - at[0]) ** 2, weights=weights)
    assert variance == pytest.approx(1 / (3 * alpha), rel=1e-3)


def test_pjaps_fixed_point_at_the_ends():
    assert theory.pjap_limit(1e12, **PEAKS) == pytest.approx(theory.twin_peaks_optimum(**PEAKS)[0])
    # 1 / (3 alpha) = (C - 2A) / 2B = 3/8 at alpha = 8/9: no peak is left.
    np.testing.assert_array_equal(np.isnan(theory.pjap_limit(np.array([0.5, 8 / 9 - 1e-9, 0.9]), **PEAKS)), [True, True, False])
