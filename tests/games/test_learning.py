"""Learning: closed forms, batched equals one by one, samplers in the loop, the expected numbers of Figure 2, bad input."""

import numpy as np
import pytest

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.learning import learn_full_batch, learn_offline, learn_online
from pjap_bench.games.polynomial import PolynomialGame, preset

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


def test_pjap_with_alpha_zero_is_uniform_to_the_bit():
    data = np.random.default_rng(1).normal(0.6, 0.5, size=(20, 500, 2))
    uniform, pjap = offline(data, {"name": "uniform"}), offline(data, PJAP | {"alpha": 0})
    np.testing.assert_array_equal(uniform.policies, pjap.policies)
    np.testing.assert_array_equal(uniform.distances, pjap.distances)


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
        ({"learning_rate": 0}, "learning rate 0"),
        ({"steps": 0}, "steps 0"),
    ],
)
def test_bad_online_settings_are_one_clear_error(changes, complaint):
    with pytest.raises(BenchError, match=complaint):
        online(runs=1, **changes)


@pytest.mark.parametrize(
    ("data", "changes", "complaint"),
    [
        (np.zeros((2, 0, 2)), {}, "a dataset of shape"),
        (np.zeros((2, 5, 3)), {}, "a dataset of shape"),
        (np.full((2, 5, 2), np.nan), {}, "not finite"),
        (np.zeros((2, 5, 2)), {"batch": 0}, "batch is 0"),
        (np.zeros((2, 5, 2)), {"rounds": 0}, "rounds is 0"),
        (np.zeros((2, 5, 2)), {"learning_rate": -1}, "learning rate -1"),
    ],
)
def test_bad_offline_input_is_one_clear_error(data, changes, complaint):
    with pytest.raises(BenchError, match=complaint):
        offline(data, {"name": "uniform"}, **changes)
