"""The games: closed forms of section 3, gradients against finite differences, bad coefficients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.polynomial import PRESETS, PolynomialGame, preset, twin_peaks

PEAKS = {"a": 1, "b": 4, "c": 5}
numbers = st.floats(-2, 2, allow_subnormal=False)
coefficients = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=numbers)
)
actions = hnp.arrays(np.float64, (3, 2), elements=st.floats(-1.5, 1.5, allow_subnormal=False))


@given(coefficients, actions)
@settings(max_examples=60, deadline=None)
def test_reward_is_the_sum_of_its_terms(matrix, at):
    by_terms = sum(c * at[:, 0] ** i * at[:, 1] ** j for (i, j), c in np.ndenumerate(matrix))
    np.testing.assert_allclose(PolynomialGame(matrix).reward(at), by_terms, rtol=1e-12, atol=1e-12)


@given(coefficients, actions)
@settings(max_examples=60, deadline=None)
def test_gradient_agrees_with_finite_differences(matrix, at):
    game, step = PolynomialGame(matrix), 1e-5
    for agent in (0, 1):
        shift = step * np.eye(2)[agent]
        slope = (game.reward(at + shift) - game.reward(at - shift)) / (2 * step)
        np.testing.assert_allclose(game.gradient(at)[:, agent], slope, rtol=1e-6, atol=1e-6)


@given(coefficients, actions, hnp.arrays(np.float64, (7, 2), elements=numbers))
@settings(max_examples=60, deadline=None)
def test_brud_gradient_is_the_mean_over_the_data_of_the_own_partial_derivative(matrix, policies, data):
    game = PolynomialGame(matrix)
    for policy in policies:
        own_x = game.gradient(np.stack([np.full(len(data), policy[0]), data[:, 1]], axis=-1))[:, 0].mean()
        own_y = game.gradient(np.stack([data[:, 0], np.full(len(data), policy[1])], axis=-1))[:, 1].mean()
        np.testing.assert_allclose(game.brud_gradient(policy, data), [own_x, own_y], rtol=1e-9, atol=1e-9)


@given(coefficients, hnp.arrays(np.float64, (4, 2), elements=numbers), hnp.arrays(np.float64, (4, 6, 2), elements=numbers))
@settings(max_examples=60, deadline=None)
def test_a_batch_of_runs_equals_the_runs_one_by_one(matrix, policies, data):
    game = PolynomialGame(matrix)
    one_by_one = [game.brud_gradient(policy, own) for policy, own in zip(policies, data, strict=True)]
    np.testing.assert_array_equal(game.brud_gradient(policies, data), one_by_one)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_games_of_the_paper(name):
    x, y = at = np.array([0.3, -0.7])
    rewards = {
        "decoupled": x + y,
        "sign_agreement": x * y,
        "action_agreement": -((x - y) ** 2),
        "twin_peaks": -(x**2 + y**2) - 4 * (x * y) ** 2 + 5 * x * y,
    }
    assert preset(name).reward(at) == pytest.approx(rewards[name], abs=1e-15)


def test_sign_agreement_follows_the_means_whatever_the_policy():
    rng = np.random.default_rng(0)
    data, policies = rng.normal(size=(50, 300, 2)), rng.normal(size=(50, 2))
    gradient = preset("sign_agreement").brud_gradient(policies, data)
    np.testing.assert_allclose(gradient, data.mean(axis=1)[:, ::-1], atol=1e-12, rtol=0)


def test_the_true_field_of_sign_agreement_is_the_other_action():
    np.testing.assert_array_equal(preset("sign_agreement").gradient(np.array([0.2, 0.9])), [0.9, 0.2])


def test_decoupled_follows_one_and_one_exactly():
    rng = np.random.default_rng(0)
    assert (preset("decoupled").brud_gradient(rng.normal(size=(50, 2)), rng.normal(size=(50, 30, 2))) == 1).all()


def test_twin_peaks_has_its_optimum_and_saddle_where_the_theory_says():
    game = preset("twin_peaks")
    action, best = theory.twin_peaks_optimum(**PEAKS)
    assert action == pytest.approx(0.61237, abs=5e-6)
    assert best == pytest.approx(0.5625, abs=1e-12)
    for peak in (action, -action):
        assert game.reward(np.array([peak, peak])) == pytest.approx(best, abs=1e-12)
        np.testing.assert_allclose(game.gradient(np.array([peak, peak])), 0, atol=1e-12)
    side = np.linspace(-2, 2, 401)
    assert game.reward(np.stack(np.meshgrid(side, side), axis=-1)).max() <= best
    origin, step = np.zeros(2), np.array([0.1, 0.1])
    assert (game.gradient(origin) == 0).all() and game.reward(origin) == 0
    assert game.reward(step) > 0 > game.reward(step * [1, -1])


def test_equation_5_is_real_only_between_its_two_means():
    lowest, highest = theory.twin_peaks_required_means(**PEAKS)
    assert (round(lowest, 3), round(highest, 3)) == (0.408, 0.612)
    means = np.linspace(0.3, 0.7, 40001)
    sigma = theory.twin_peaks_required_sigma(means, **PEAKS)
    real = means[np.isfinite(sigma)]
    assert (real.min(), real.max()) == (pytest.approx(lowest, abs=2e-5), pytest.approx(highest, abs=2e-5))
    assert np.nanmax(sigma) == pytest.approx(0.102, abs=5e-4)
    assert means[np.nanargmax(sigma)] == pytest.approx(0.510, abs=5e-4)
    # What Eq. 5 asks for leads to the optimum.
    inside = np.linspace(lowest, highest, 101)
    limit = theory.twin_peaks_limit(inside, theory.twin_peaks_required_sigma(inside, **PEAKS) ** 2, **PEAKS)
    np.testing.assert_allclose(limit, theory.twin_peaks_optimum(**PEAKS)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ([], "empty"),
        ([[]], "empty"),
        (np.zeros((0, 2)), "empty"),
        ([[1, 2], [3]], "ragged"),
        ([[1, "2"]], "not a real number"),
        ([[1, None]], "not a real number"),
        ([[True]], "not a real number"),
        ([[1, 2j]], "not a real number"),
        (np.array([[1j]]), "not a real number"),
        ([[1, float("nan")]], "not finite"),
        ([[float("inf")]], "not finite"),
        ([1, 2], "not a matrix"),
        ("12", "not a matrix"),
        (3, "not a matrix"),
        (None, "not a matrix"),
    ],
)
def test_bad_coefficients_are_one_clear_error(matrix, complaint):
    with pytest.raises(BenchError, match=complaint):
        PolynomialGame(matrix)


def test_unknown_games_and_games_without_peaks_are_errors():
    with pytest.raises(BenchError, match="unknown game 'chicken'"):
        preset("chicken")
    with pytest.raises(BenchError, match="no twin peaks"):
        twin_peaks(1, 4, 2)
