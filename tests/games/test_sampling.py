"""Samplers of the games: uniform limit, frequencies, batched equals one by one, bad options."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pjap_bench.errors import BenchError
from pjap_bench.games.sampling import SAMPLERS, PjapSampler, UniformSampler, make_sampler

OPTIONS = {"uniform": {}, "pjap": {"alpha": 10, "epsilon": 1e-5}}


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_equal_priorities_pick_exactly_what_uniform_picks(items, seed):
    uniforms = np.random.default_rng(seed).random((3, 40))
    pjap = PjapSampler(3, items, alpha=0, epsilon=1e-5)
    picked = pjap.pick(uniforms)
    np.testing.assert_array_equal(picked, UniformSampler(3, items).pick(uniforms))
    pjap.refresh(picked, np.random.default_rng(seed).random((3, 40)))
    np.testing.assert_array_equal(pjap.pick(uniforms), picked)


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_pick_is_the_first_item_whose_cumulative_priority_exceeds_the_target(items, seed):
    rng = np.random.default_rng(seed)
    sampler = PjapSampler(4, items, alpha=1, epsilon=1e-9)
    sampler.priorities[:] = rng.random((4, items)) ** 8
    uniforms = rng.random((4, 25))
    for picked, own, priorities in zip(sampler.pick(uniforms), uniforms, sampler.priorities, strict=True):
        cumulative = np.cumsum(priorities)
        expected = np.searchsorted(cumulative, own * cumulative[-1], side="right")
        np.testing.assert_array_equal(picked, np.minimum(expected, items - 1))


def test_frequencies_are_proportional_to_the_priorities():
    sampler = PjapSampler(1, 4, alpha=2, epsilon=1e-3)
    distances = np.array([[0.0, 0.5, 1.0, 9.0]])
    sampler.refresh(np.arange(4)[None], distances)
    priorities = np.array([1, np.exp(-0.5), np.exp(-2), 1e-3])
    np.testing.assert_allclose(sampler.priorities[0], priorities, rtol=1e-15)
    # A regular grid of uniform numbers leaves no chance.
    picked = sampler.pick((np.arange(100_000)[None] + 0.5) / 100_000)
    np.testing.assert_allclose(np.bincount(picked[0]) / 100_000, priorities / priorities.sum(), atol=2e-5)


def test_only_picked_items_are_refreshed_and_the_exponent_counts():
    sampler = PjapSampler(2, 3, alpha=1, epsilon=1e-5, exponent=2, initial_priority=0.5)
    sampler.refresh(np.array([[1], [2]]), np.array([[1.0], [2.0]]))
    expected = [[0.25, np.exp(-2), 0.25], [0.25, 0.25, np.exp(-8)]]
    np.testing.assert_allclose(sampler.priorities, expected, rtol=1e-14)


def test_options_may_differ_between_runs():
    together = PjapSampler(2, 5, alpha=np.array([1.0, 4.0]), epsilon=1e-5)
    together.refresh(np.tile(np.arange(5), (2, 1)), np.tile(np.linspace(0, 1, 5), (2, 1)))
    for run, alpha in enumerate((1.0, 4.0)):
        alone = PjapSampler(1, 5, alpha=alpha, epsilon=1e-5)
        alone.refresh(np.arange(5)[None], np.linspace(0, 1, 5)[None])
        np.testing.assert_array_equal(together.priorities[run], alone.priorities[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_contract(name):
    sampler = make_sampler({"name": name} | OPTIONS[name], 3, 11)
    for uniforms in (np.zeros((3, 6)), np.full((3, 6), np.nextafter(1, 0))):
        picked = sampler.pick(uniforms)
        assert picked.shape == (3, 6) and picked.min() >= 0 and picked.max() <= 10
        sampler.refresh(picked, np.full((3, 6), 100.0))


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"name": "nearest"}, "unknown sampler 'nearest'"),
        ({}, "unknown sampler"),
        ({"name": "uniform", "alpha": 1}, "options of sampler 'uniform'"),
        ({"name": "pjap", "alpha": -1, "epsilon": 1e-5}, "alpha is -1"),
        ({"name": "pjap", "alpha": float("nan"), "epsilon": 1e-5}, "alpha is nan"),
        ({"name": "pjap", "alpha": 1, "epsilon": 0}, "epsilon is 0"),
        ({"name": "pjap", "alpha": 1, "epsilon": 1e-5, "exponent": -1}, "exponent is -1"),
    ],
)
def test_bad_options_are_one_clear_error(chosen, complaint):
    with pytest.raises(BenchError, match=complaint):
        make_sampler(chosen, 2, 5)
