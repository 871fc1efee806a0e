"""Learning: closed forms, batched equals one by one, samplers in the loop, the expected numbers of Figure 2, bad input."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.learning import REFRESH_RULES, learn_full_batch, learn_offline, learn_online
from pjap_bench.games.polynomial import PolynomialGame, preset, stack
from pjap_bench.games.sampling import PjapSampler, priorities

PEAKS = {"a": 1, "b": 4, "c": 5}
START = np.array([-0.5, 0.5])
PJAP = {"name": "pjap", "alpha": 10, "epsilon": 1e-5}


def offline(data, sampler, seed=0, epochs=30, **changes):
    options = {"learning_rate": 0.02, "epochs": epochs, "batch": 8, "rounds": 3, "sampling": np.random.default_rng(seed)}
    return learn_offline(preset("twin_peaks"), data, START, sampler=sampler, **options | changes)


def online(runs=300, seed=0, **changes):
    streams = dict(zip(("exploration", "sampling"), np.random.default_rng(seed).spawn(2), strict=True))
    options = {"learning_rate": 0.01, "steps": 700, "batch": 10, "buffer_size": 100, "exploration_sigma": 0.1}
    return learn_online(preset("sign_agreement"), np.array([-0.5, 0.6]), runs=runs, **options | streams | changes)


def test_action_agreement_converges_to_the_means_of_the_other_agent():
    data = np.random.default_rng(0).normal([0.3, -0.4], 0.7, size=(40, 200, 2))
    ends = learn_full_batch(preset("action_agreement"), data, START, learning_rate=0.05, steps=2000, keep=False)
    mean = data.mean(axis=1)
    np.testing.assert_allclose(ends, mean[:, ::-1], atol=1e-8, rtol=0)
    reward = preset("action_agreement").reward(ends)
    np.testing.assert_allclose(reward, -((mean[:, 0] - mean[:, 1]) ** 2), atol=1e-8, rtol=0)


def test_twin_peaks_converges_to_the_closed_form():
    data = np.random.default_rng(0).normal([0.3, 0.6], 0.5, size=(40, 200, 2))
    ends = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=2000, keep=False)
    limit = theory.twin_peaks_limit(data.mean(axis=1), data.var(axis=1), **PEAKS)[:, ::-1]
    np.testing.assert_allclose(ends, limit, atol=1e-12, rtol=0)


def test_exactly_centred_data_lead_to_the_origin_for_every_spread():
    data = np.random.default_rng(0).normal(size=(5, 500, 2)) * np.array([0, 0.1, 0.2, 0.5, 1])[:, None, None]
    data -= data.mean(axis=1, keepdims=True)
    ends = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=2000, keep=False)
    assert np.abs(ends).max() < 1e-8


def test_full_batch_and_mini_batch_are_the_same_where_the_batch_holds_one_repeated_item():
    data = np.full((3, 20, 2), 0.4)
    full = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=30)
    np.testing.assert_allclose(offline(data, {"name": "uniform"}).policies, full, atol=1e-14)


def test_keeping_only_the_last_policy_changes_nothing():
    data = np.random.default_rng(0).normal(size=(3, 20, 2))
    kept = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=30)
    last = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=30, keep=False)
    assert kept.shape == (3, 31, 2)
    np.testing.assert_array_equal(kept[:, -1], last)


def test_full_batch_runs_together_equal_runs_alone():
    data = np.random.default_rng(0).normal(size=(4, 50, 2))
    together = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=100)
    for run in range(4):
        alone = learn_full_batch(preset("twin_peaks"), data[run], START, learning_rate=0.02, steps=100)
        np.testing.assert_array_equal(together[run], alone)


@pytest.mark.parametrize("sampler", [{"name": "uniform"}, PJAP])
def test_offline_runs_together_equal_runs_one_after_another(sampler):
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(4, 50, 2))
    together = offline(data, sampler)
    generator = np.random.default_rng(0)
    for run in range(4):
        alone = offline(data[run : run + 1], sampler, sampling=generator)
        np.testing.assert_array_equal(together.policies[run], alone.policies[0])
        np.testing.assert_array_equal(together.distances[run], alone.distances[0])


def test_online_runs_together_equal_runs_one_after_another():
    together = online(runs=3, steps=80)
    exploration, sampling = np.random.default_rng(0).spawn(2)
    for run in range(3):
        alone = online(runs=1, steps=80, exploration=exploration, sampling=sampling)
        np.testing.assert_array_equal(together.policies[run], alone.policies[0])
        np.testing.assert_array_equal(together.experience[run], alone.experience[0])


@pytest.mark.parametrize("refresh", ["sampled", "all"])
def test_pjap_with_alpha_zero_is_uniform_to_the_bit(refresh):
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(20, 500, 2))
    uniform, pjap = (offline(data, sampler, refresh=refresh) for sampler in ({"name": "uniform"}, PJAP | {"alpha": 0}))
    np.testing.assert_array_equal(uniform.policies, pjap.policies)
    np.testing.assert_array_equal(uniform.distances, pjap.distances)
    uniform, pjap = (online(runs=3, steps=80, sampler=sampler) for sampler in (None, PJAP | {"alpha": 0}))
    np.testing.assert_array_equal(uniform.policies, pjap.policies)


@given(
    hnp.arrays(np.float64, (3, 4), elements=st.floats(-2, 2, width=32)),
    st.integers(0, 2**32 - 1),
    st.sampled_from(REFRESH_RULES),
    st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_alpha_zero_is_uniform_in_any_game_under_any_rule(matrix, seed, refresh, rounds):
    data = np.random.default_rng(seed).normal(size=(3, 20, 2))
    learnt = [
        learn_offline(
            PolynomialGame(matrix),
            data,
            START,
            learning_rate=0.01,
            epochs=10,
            batch=4,
            rounds=rounds,
            refresh=refresh,
            sampler=sampler,
            sampling=np.random.default_rng(seed),
        ).policies
        for sampler in ({"name": "uniform"}, PJAP | {"alpha": 0})
    ]
    np.testing.assert_array_equal(*learnt)


@pytest.mark.parametrize("refresh", REFRESH_RULES)
def test_which_items_are_refreshed_is_the_rule(refresh, monkeypatch):
    seen = []
    plain = PjapSampler.refresh
    monkeypatch.setattr(PjapSampler, "refresh", lambda self, indices, *rest: (seen.append(indices), plain(self, indices, *rest)))
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(2, 50, 2))
    offline(data, PJAP, epochs=1, rounds=3, refresh=refresh)
    assert [indices.shape for indices in seen] == ([(2, 50)] if refresh == "all" else [(2, 8)] * 3)
    if refresh == "uniform":
        uniforms = np.random.default_rng(0).random((2, 1, 4, 8))
        np.testing.assert_array_equal(seen[0], (uniforms[:, 0, 0] * 50).astype(int))


def test_a_step_follows_the_batch_that_was_picked_after_refreshing_all():
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(1, 50, 2))
    learnt = offline(data, PJAP, epochs=1, refresh="all")
    weights = priorities(data[0], START, alpha=10, epsilon=1e-5)
    uniforms = np.random.default_rng(0).random((1, 1, 1, 8))
    picked = data[0, np.searchsorted(np.cumsum(weights) / weights.sum(), uniforms[0, 0, 0], side="right")]
    expected = START + 0.02 * preset("twin_peaks").brud_gradient(START, picked)
    np.testing.assert_allclose(learnt.policies[0, 1], expected, rtol=1e-12)


def test_full_batch_pjap_is_the_mean_over_mini_batches():
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(1, 200, 2))
    one = learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=1, keep=False, sampler=PJAP)
    many = offline(np.repeat(data, 4000, axis=0), PJAP, epochs=1, batch=64, rounds=1, refresh="all").policies[:, 1]
    error = many.std(axis=0) / np.sqrt(4000)
    assert (np.abs(many.mean(axis=0) - one[0]) < 4 * error).all()


def test_full_batch_pjap_in_locally_uniform_data_ends_at_the_closed_form():
    side = (np.arange(200) + 0.5) / 200 * 2 - 0.4
    data = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    for alpha in (20, 40):
        sampler = {"name": "pjap", "alpha": alpha, "epsilon": 1e-12}
        end = learn_full_batch(
            preset("twin_peaks"), data, np.array([0.5, 0.5]), learning_rate=0.05, steps=150, keep=False, sampler=sampler
        )
        np.testing.assert_allclose(end, np.sqrt(3 / 8 - 1 / (3 * alpha)), atol=2e-3)


def test_games_starts_rates_and_settings_may_differ_between_runs():
    games = [preset("twin_peaks"), preset("sign_agreement"), PolynomialGame([[0, 1, -1, 0.5], [1, 2, 0, 0]])]
    data = np.random.default_rng(1).normal(0.4, 0.5, size=(3, 30, 2))
    starts, rates = np.array([[-0.5, 0.5], [0.1, 0.2], [0.0, 0.0]]), np.array([0.01, 0.02, 0.03])
    alphas = np.array([0.0, 5.0, 20.0])
    sampler = PJAP | {"alpha": alphas}
    full = learn_full_batch(stack(games), data, starts, learning_rate=rates, steps=40, sampler=sampler)
    mini = learn_offline(
        stack(games), data, starts, learning_rate=rates, epochs=40, batch=5, sampler=sampler, sampling=np.random.default_rng(0)
    ).policies
    generator = np.random.default_rng(0)
    for run, game in enumerate(games):
        own = {"learning_rate": rates[run], "sampler": PJAP | {"alpha": alphas[run]}}
        alone = learn_full_batch(game, data[run], starts[run], steps=40, **own)
        np.testing.assert_allclose(full[run], alone, rtol=1e-10, atol=1e-12)
        alone = learn_offline(game, data[run : run + 1], starts[run], epochs=40, batch=5, sampling=generator, **own).policies[0]
        np.testing.assert_allclose(mini[run], alone, rtol=1e-10, atol=1e-12)


def test_more_runs_than_go_together_equal_the_same_runs_in_parts():
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(300, 20, 2))
    generator = np.random.default_rng(0)
    parts = [offline(data[part], PJAP, epochs=5, sampling=generator).policies for part in (slice(0, 40), slice(40, 300))]
    np.testing.assert_array_equal(offline(data, PJAP, epochs=5).policies, np.concatenate(parts))


def test_online_pjap_learns_from_fresher_data_than_uniform_does():
    uniform, pjap = (online(buffer_size=400, sampler=sampler, runs=60) for sampler in (None, PJAP | {"alpha": 3}))
    assert np.median(pjap.distances[:, 300:]) < np.median(uniform.distances[:, 300:])
    reward = preset("sign_agreement").reward
    assert np.median(reward(pjap.policies[:, 300])) > np.median(reward(uniform.policies[:, 300]))


def test_an_online_full_batch_is_the_whole_buffer():
    learnt = online(runs=2, steps=30, buffer_size=20, batch=None)
    for step in range(30):
        buffers = np.stack([learnt.buffer_after(run, step + 1) for run in range(2)])
        gradient = preset("sign_agreement").brud_gradient(learnt.policies[:, step], buffers)
        np.testing.assert_allclose(learnt.policies[:, step + 1], learnt.policies[:, step] + 0.01 * gradient, rtol=1e-12)


def test_the_distance_is_half_the_l1_norm():
    data = np.full((1, 5, 2), [0.2, 0.1])
    assert offline(data, {"name": "uniform"}).distances[0, 0] == pytest.approx((0.7 + 0.4) / 2)


def test_pjap_brings_the_sampled_data_closer_and_the_reward_higher():
    data = np.random.default_rng(1).normal(theory.twin_peaks_optimum(**PEAKS)[0], 0.5, size=(40, 500, 2))
    without, with_pjap = (offline(data, sampler, epochs=100, batch=32, rounds=6) for sampler in ({"name": "uniform"}, PJAP))
    assert (with_pjap.distances[:, 50:].mean(axis=1) < without.distances[:, 50:].mean(axis=1)).all()
    reward = preset("twin_peaks").reward
    assert (reward(with_pjap.policies[:, -1]) > reward(without.policies[:, -1])).all()


def test_the_buffer_holds_the_latest_joint_actions():
    learnt = online(runs=2, steps=50, buffer_size=20, exploration_sigma=0.0)
    # Without exploration the experience is the policies themselves: 20 times the first, then each as it acts.
    np.testing.assert_array_equal(learnt.experience[:, :20], np.broadcast_to([-0.5, 0.6], (2, 20, 2)))
    np.testing.assert_array_equal(learnt.experience[:, 20:], learnt.policies[:, :-1])
    np.testing.assert_array_equal(learnt.buffer_after(1, 50), learnt.policies[1, 30:50])


def test_coefficients_so_large_that_a_run_overflows_mark_it_without_a_warning():
    games = stack([preset("twin_peaks"), PolynomialGame([[0, 0, 0], [0, 0, 0], [0, 0, 1e308]])])
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(2, 30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"learning_rate": 0.02, "epochs": 20, "batch": 8, "sampling": np.random.default_rng(0)}
        for sampler in ({"name": "uniform"}, PJAP):
            learnt = learn_offline(games, data, START, sampler=sampler, **options)
            np.testing.assert_array_equal(learnt.diverged, [False, True])
            ends = learn_full_batch(games, data, START, learning_rate=0.02, steps=20, keep=False, sampler=sampler)
            np.testing.assert_array_equal(np.isfinite(ends).all(axis=-1), [True, False])


def test_a_diverging_run_is_marked_and_leaves_the_others_alone():
    game = PolynomialGame([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    data = np.stack([np.full((5, 2), 3.0), np.full((5, 2), 0.01)])
    options = {"learning_rate": 0.1, "epochs": 40, "batch": 4, "sampler": {"name": "uniform"}}
    learnt = learn_offline(game, data, np.array([1.0, 1.0]), sampling=np.random.default_rng(0), **options)
    np.testing.assert_array_equal(learnt.diverged, [True, False])
    assert np.isfinite(learnt.policies[1]).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"buffer_size": 9}, "a buffer of 9 cannot fill a batch of 10"),
        ({"exploration_sigma": -0.1}, "sigma is -0.1"),
        ({"exploration_sigma": float("inf")}, "sigma is inf"),
        ({"runs": 0}, "runs is 0"),
        ({"buffer_size": 0}, "the buffer 0"),
        ({"batch": None, "sampler": PJAP}, "no choice in a full batch"),
        ({"sampler": PJAP | {"alpha": -1}}, "alpha is -1"),
        ({"learning_rate": 0}, "learning rate 0"),
        ({"steps": 0}, "steps 0"),
    ],
)
def test_bad_online_settings_are_one_clear_error(changes, complaint):
    with pytest.raises(BenchError, match=complaint):
        online(**{"runs": 1} | changes)


@pytest.mark.parametrize(
    ("data", "changes", "complaint"),
    [
        (np.zeros((2, 0, 2)), {}, "a dataset of shape"),
        (np.zeros((2, 5, 3)), {}, "a dataset of shape"),
        (np.full((2, 5, 2), np.nan), {}, "not finite"),
        (np.zeros((2, 5, 2)), {"batch": 0}, "batch is 0"),
        (np.zeros((2, 5, 2)), {"rounds": 0}, "rounds is 0"),
        (np.zeros((2, 5, 2)), {"refresh": "never"}, "unknown rule of refreshing 'never'"),
        (np.zeros((0, 5, 2)), {}, "a dataset of shape"),
        (np.zeros((2, 5, 2)), {"learning_rate": np.array([0.1, np.nan])}, "learning rate"),
        (np.zeros((2, 5, 2)), {"learning_rate": -1}, "learning rate -1"),
    ],
)
def test_bad_offline_input_is_one_clear_error(data, changes, complaint):
    with pytest.raises(BenchError, match=complaint):
        offline(data, {"name": "uniform"}, **changes)


def test_a_full_batch_has_no_use_for_other_options():
    data = np.zeros((5, 2))
    for sampler, complaint in (
        ({"name": "nearest"}, "unknown sampler 'nearest'"),
        (PJAP | {"alpha": -1}, "alpha is -1"),
        ({"name": "uniform", "alpha": 1}, "options of sampler 'uniform'"),
    ):
        with pytest.raises(BenchError, match=complaint):
            learn_full_batch(preset("twin_peaks"), data, START, learning_rate=0.02, steps=5, sampler=sampler)
