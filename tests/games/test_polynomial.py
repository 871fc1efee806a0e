"""The games: closed forms of section 3, derivatives against finite differences, optima and saddles, bad coefficients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.polynomial import PRESETS, PolynomialGame, preset, stack, twin_peaks

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


@given(coefficients, actions)
@settings(max_examples=60, deadline=None)
def test_hessian_agrees_with_finite_differences_of_the_gradient(matrix, at):
    game, step = PolynomialGame(matrix), 1e-5
    for agent in (0, 1):
        shift = step * np.eye(2)[agent]
        slope = (game.gradient(at + shift) - game.gradient(at - shift)) / (2 * step)
        np.testing.assert_allclose(game.hessian(at)[:, agent], slope, rtol=1e-6, atol=1e-6)


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


@given(coefficients, hnp.arrays(np.float64, (5, 2), elements=numbers), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_weights_are_how_often_an_item_counts(matrix, data, seed):
    game, policy = PolynomialGame(matrix), np.array([0.3, -0.2])
    counts = np.random.default_rng(seed).integers(1, 5, 5)
    repeated = game.brud_gradient(policy, np.repeat(data, counts, axis=0))
    np.testing.assert_allclose(game.brud_gradient(policy, data, 0.1 * counts), repeated, rtol=1e-9, atol=1e-9)


@given(st.lists(coefficients, min_size=1, max_size=4), hnp.arrays(np.float64, (4, 6, 2), elements=numbers))
@settings(max_examples=60, deadline=None)
def test_many_games_at_once_equal_the_games_one_by_one(matrices, data):
    games = [PolynomialGame(matrix) for matrix in matrices]
    together, data, policies = stack(games), data[: len(games)], data[: len(games), 0]
    for name, arguments in {
        "reward": (policies,),
        "gradient": (policies,),
        "hessian": (policies,),
        "brud_gradient": (policies, data),
    }.items():
        one_by_one = [getattr(game, name)(*(of[run] for of in arguments)) for run, game in enumerate(games)]
        np.testing.assert_allclose(getattr(together, name)(*arguments), one_by_one, rtol=1e-12, atol=1e-12)


def real_critical_points(game, limit):
    """All isolated ones by elimination: the real roots x of the resultant in y, and the y that belong to them (sympy)."""
    import sympy

    x, y = sympy.symbols("x y", real=True)
    reward = sum(sympy.Rational(float(c)) * x**i * y**j for (i, j), c in np.ndenumerate(game.coefficients))
    equations = [sympy.expand(sympy.diff(reward, symbol)) for symbol in (x, y)]
    resultant = sympy.Poly(sympy.resultant(*equations, y), x)
    found = []
    for root in resultant.nroots(n=40, maxsteps=400):
        if abs(sympy.im(root)) < 1e-18:
            slice_y = sympy.Poly(equations[0].subs(x, sympy.re(root)), y)
            for other in slice_y.nroots(n=40, maxsteps=400) if slice_y.degree() > 0 else []:
                point = np.array([float(sympy.re(root)), float(sympy.re(other))])
                if abs(sympy.im(other)) < 1e-18 and np.abs(game.gradient(point)).max() < 1e-9:
                    found.append(point)
    return [point for point in found if np.abs(point).max() <= limit]


@pytest.mark.parametrize("seed", range(6))
def test_critical_points_are_all_real_solutions(seed):
    game = PolynomialGame(np.random.default_rng(seed).integers(-5, 6, (4, 4)).astype(float))
    expected = np.array(real_critical_points(game, 1.0)).reshape(-1, 2)
    found = np.array([point.action for point in game.critical_points(1.0)]).reshape(-1, 2)
    assert len(found) == len(expected)
    for point in expected:
        assert np.abs(found - point).max(axis=1).min() < 1e-8


def test_critical_points_are_classified():
    peaks = preset("twin_peaks").critical_points(1.0)
    assert [point.kind for point in peaks] == ["maximum", "maximum", "saddle"]
    action, best = theory.twin_peaks_optimum(**PEAKS)
    for point in peaks[:2]:
        np.testing.assert_allclose(np.abs(point.action), action, atol=1e-12)
        assert point.action.prod() > 0 and point.reward == pytest.approx(best, abs=1e-12)
    np.testing.assert_allclose(peaks[2].action, 0, atol=1e-12)
    assert preset("decoupled").critical_points(1.0) == []
    assert [point.kind for point in preset("sign_agreement").critical_points(1.0)] == ["saddle"]
    line = preset("action_agreement").critical_points(1.0)
    assert len(line) > 10 and {point.kind for point in line} == {"degenerate"}
    assert all(abs(point.action[0] - point.action[1]) < 1e-9 for point in line)
    bowl = PolynomialGame([[0, 0, 1], [0, 0, 0], [2, 0, 0]]).critical_points(1.0)
    assert [point.kind for point in bowl] == ["minimum"]


@given(coefficients)
@settings(max_examples=40, deadline=None)
def test_no_action_of_the_square_beats_the_best(matrix):
    game = PolynomialGame(matrix)
    action, best = game.best_on_square(1.2)
    side = np.linspace(-1.2, 1.2, 121)
    assert np.abs(action).max() <= 1.2 + 1e-9 and game.reward(action) == best
    assert game.reward(np.stack(np.meshgrid(side, side), axis=-1)).max() <= best + 1e-9 * (1 + np.abs(matrix).sum())


def test_many_games_have_no_common_critical_points():
    with pytest.raises(BenchError, match="many games at once"):
        stack([preset("twin_peaks"), preset("decoupled")]).critical_points(1.0)
    with pytest.raises(BenchError, match="limit is -1"):
        preset("twin_peaks").best_on_square(-1)
    with pytest.raises(BenchError, match="no games to stack"):
        stack([])


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
        (np.full((2, 2, 2), np.nan), "not finite"),
        (np.zeros((2, 0, 2)), "empty"),
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
