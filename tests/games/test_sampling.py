"""Samplers of the games: uniform limit, frequencies, batched equals one by one, every kernel and distance, bad options."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pjap_bench.errors import BenchError
from pjap_bench.games.kernels import DISTANCES, KERNELS
from pjap_bench.games.sampling import SAMPLERS, PjapSampler, UniformSampler, make_sampler, priorities

OPTIONS = {"uniform": {}, "pjap": {"alpha": 10, "epsilon": 1e-5}}


def at_distances(distances):
    """Joint actions [run, item, 2] at these L1 distances [run, item] from the policy at the origin, and that policy."""
    distances = np.asarray(distances, dtype=float)
    return np.stack([0.25 * distances, -0.75 * distances], axis=-1), np.zeros((len(distances), 2))


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.sampled_from(sorted(KERNELS)), st.sampled_from(sorted(DISTANCES)))
@settings(max_examples=80, deadline=None)
def test_alpha_zero_picks_exactly_what_uniform_picks(items, seed, kernel, distance):
    rng = np.random.default_rng(seed)
    uniforms = rng.random((3, 40))
    pjap = PjapSampler(3, items, alpha=0, epsilon=1e-5, kernel=kernel, distance=distance)
    picked = pjap.pick(uniforms)
    np.testing.assert_array_equal(picked, UniformSampler(3, items).pick(uniforms))
    pjap.refresh(picked, rng.normal(size=(3, 40, 2)), rng.normal(size=(3, 2)))
    np.testing.assert_array_equal(pjap.pick(uniforms), picked)


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_a_pick_is_the_first_item_whose_cumulative_priority_exceeds_the_target(items, seed):
    rng = np.random.default_rng(seed)
    sampler = PjapSampler(4, items, alpha=1, epsilon=1e-9)
    sampler.priorities[:] = rng.random((4, items)) ** 8
    uniforms = rng.random((4, 25))
    for picked, own, priority in zip(sampler.pick(uniforms), uniforms, sampler.priorities, strict=True):
        # In exact arithmetic the target lies above the sum of the items before the pick and below the sum with it; sums of
        # another order move it by rounding only.
        sums = np.cumsum(np.concatenate([[0], priority]))
        target, slack = own * sums[-1], 1e-13 * sums[-1]
        assert (sums[picked] <= target + slack).all() and (target < sums[picked + 1] + slack).all()


def test_frequencies_are_proportional_to_the_priorities():
    sampler = PjapSampler(1, 4, alpha=2, epsilon=1e-3)
    sampler.refresh(np.arange(4)[None], *at_distances([[0.0, 0.5, 1.0, 9.0]]))
    expected = np.array([1, np.exp(-0.5), np.exp(-2), 1e-3])
    np.testing.assert_allclose(sampler.priorities[0], expected, rtol=1e-14)
    # A regular grid of uniform numbers leaves no chance.
    picked = sampler.pick((np.arange(100_000)[None] + 0.5) / 100_000)
    np.testing.assert_allclose(np.bincount(picked[0]) / 100_000, expected / expected.sum(), atol=2e-5)


def test_only_picked_items_are_refreshed_and_the_exponent_counts():
    sampler = PjapSampler(2, 3, alpha=1, epsilon=1e-5, exponent=2, initial_priority=0.5)
    sampler.refresh(np.array([[1], [2]]), *at_distances([[1.0], [2.0]]))
    expected = [[0.25, np.exp(-2), 0.25], [0.25, 0.25, np.exp(-8)]]
    np.testing.assert_allclose(sampler.priorities, expected, rtol=1e-14)
    sampler.renew(1)
    np.testing.assert_allclose(sampler.priorities, [[0.25, 0.25, 0.25], [0.25, 0.25, np.exp(-8)]], rtol=1e-14)


def test_options_may_differ_between_runs():
    together = PjapSampler(2, 5, alpha=np.array([1.0, 4.0]), epsilon=1e-5)
    together.refresh(np.tile(np.arange(5), (2, 1)), *at_distances(np.tile(np.linspace(0, 1, 5), (2, 1))))
    for run, alpha in enumerate((1.0, 4.0)):
        alone = PjapSampler(1, 5, alpha=alpha, epsilon=1e-5)
        alone.refresh(np.arange(5)[None], *at_distances(np.linspace(0, 1, 5)[None]))
        np.testing.assert_array_equal(together.priorities[run], alone.priorities[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_contract(name):
    sampler = make_sampler({"name": name} | OPTIONS[name], 3, 11)
    for uniforms in (np.zeros((3, 6)), np.full((3, 6), np.nextafter(1, 0))):
        picked = sampler.pick(uniforms)
        assert picked.shape == (3, 6) and picked.min() >= 0 and picked.max() <= 10
        sampler.refresh(picked, np.full((3, 6, 2), 100.0), np.zeros((3, 2)))
        sampler.renew(10)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_is_one_at_the_policy_and_never_rises(name):
    weights = KERNELS[name](np.linspace(0, 50, 2001))
    assert weights[0] == 1 and weights.min() >= 0 and (np.diff(weights) <= 0).all() and weights[-1] < 0.05


@pytest.mark.parametrize("name", DISTANCES)
@given(
    hnp.arrays(np.float64, (3, 5, 2), elements=st.floats(-2, 2, width=32)),
    hnp.arrays(np.float64, (3, 2), elements=st.floats(-2, 2, width=32)),
)
@settings(max_examples=40, deadline=None)
def test_every_distance_keeps_the_contract(name, actions, policy):
    found = DISTANCES[name](actions, policy)
    assert found.shape == (3, 5) and (found >= 0).all() and np.isfinite(found).all()
    # Symmetric, the same for both agents, and the same run by run.
    np.testing.assert_allclose(DISTANCES[name](policy[:, None], actions[:, 0]), found[:, :1], atol=1e-12)
    np.testing.assert_allclose(DISTANCES[name](actions[..., ::-1], policy[..., ::-1]), found, atol=1e-12)
    np.testing.assert_array_equal(DISTANCES[name](actions[1], policy[1]), found[1])
    if policy.any(axis=-1).all():
        np.testing.assert_allclose(DISTANCES[name](policy[:, None], policy), 0, atol=1e-12)


def test_distances_are_what_they_are_called():
    actions, policy = np.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]]), np.array([1.0, 0.0])
    expected = {
        "l1": [6, 1, 2],
        "l2": [np.sqrt(20), 1, 2],
        "linf": [4, 1, 2],
        "cosine": [1 - 0.6, 1, 2],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(DISTANCES[name](actions, policy), values, atol=1e-15)


def test_priorities_are_those_of_a_sampler_that_refreshes_everything():
    rng = np.random.default_rng(0)
    data, policy = rng.normal(size=(2, 7, 2)), rng.normal(size=(2, 2))
    options = {"alpha": 3.0, "epsilon": 1e-2, "exponent": 0.5, "kernel": "cauchy", "distance": "l2"}
    sampler = PjapSampler(2, 7, **options)
    sampler.refresh(np.tile(np.arange(7), (2, 1)), data, policy)
    np.testing.assert_array_equal(sampler.priorities, priorities(data, policy, **options))
    assert priorities(data, policy, **options).min() >= 1e-2**0.5


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"name": "nearest"}, "unknown sampler 'nearest'"),
        ({}, "unknown sampler"),
        ({"name": "uniform", "alpha": 1}, "options of sampler 'uniform'"),
        ({"name": "pjap", "alpha": -1, "epsilon": 1e-5}, "alpha is -1"),
        ({"name": "pjap", "alpha": float("nan"), "epsilon": 1e-5}, "alpha is nan"),
        ({"name": "pjap", "alpha": 1, "epsilon": 0}, "epsilon is 0"),
        ({"name": "pjap", "alpha": 1, "epsilon": -1e-5}, "epsilon is -1e-05"),
        ({"name": "pjap", "alpha": 1, "epsilon": 1e-5, "exponent": -1}, "exponent is -1"),
        ({"name": "pjap", "alpha": 1, "epsilon": 1e-5, "initial_priority": 0}, "initial_priority is 0"),
        ({"name": "pjap", "alpha": "ten", "epsilon": 1e-5}, "alpha is 'ten', not a number"),
        ({"name": "pjap", "alpha": 1, "epsilon": 1e-5, "kernel": "cubic"}, "unknown kernel 'cubic'"),
        ({"name": "pjap", "alpha": 1, "epsilon": 1e-5, "distance": "l3"}, "unknown distance 'l3'"),
    ],
)
def test_bad_options_are_one_clear_error(chosen, complaint):
    with pytest.raises(BenchError, match=complaint):
        make_sampler(chosen, 2, 5)
