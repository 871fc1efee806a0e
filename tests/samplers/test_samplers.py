"""Contract of every registered sampler, and what makes PJAP PJAP."""

import numpy as np
import pytest
from scipy import stats

from pjap_bench import samplers
from pjap_bench.errors import BenchError

STARTS = 3000  # not a multiple of the block


def make(name, settings, **changes):
    return samplers.make(name, STARTS, settings | changes)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_contract(name, settings):
    sampler, random = make(name, settings), np.random.default_rng(0)
    for update in range(1, 20):
        sampled = sampler.sample(16, random)
        assert sampled.shape == (16,)
        assert sampled.dtype == np.int64
        assert (sampled >= 0).all() and (sampled < STARTS).all()
        wanted = sampler.to_refresh(sampled, random)
        if wanted is not None:
            sampler.refresh(wanted, random.random(len(wanted)), update)
        assert 0 < sampler.effective_sample_size() <= 1 + 1e-12


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_state_restores_the_future(name, settings):
    first, second = make(name, settings), make(name, settings)
    random = np.random.default_rng(1)
    indices = random.permutation(STARTS)[:500]
    first.refresh(indices, random.random(500), 10)
    second.load({key: value.copy() for key, value in first.state().items()})
    draws = [sampler.sample(64, np.random.default_rng(2)) for sampler in (first, second)]
    assert np.array_equal(*draws)


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_uniform_before_any_refresh(name, settings):
    sampler, random = make(name, settings), np.random.default_rng(3)
    counts = np.bincount(np.concatenate([sampler.sample(30, random) for _ in range(2000)]), minlength=STARTS)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_frequencies_follow_the_stored_priorities(settings):
    sampler, random = make("pjap", settings, steepness=3.0), np.random.default_rng(4)
    sampler.refresh(np.arange(STARTS), random.uniform(0, 0.6, STARTS), 1)
    counts = np.bincount(np.concatenate([sampler.sample(50, random) for _ in range(4000)]), minlength=STARTS)
    expected = sampler.priorities / sampler.priorities.sum() * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_priority_is_equation_6(settings):
    sampler = make("pjap", settings, steepness=4.0, epsilon=1e-3, on_ramp=0)
    distances = np.array([0.0, 0.1, 0.5, 3.0])
    sampler.refresh(np.arange(4), distances, 1)
    expected = np.maximum(np.exp(-16.0 * distances**2), 1e-3) ** 0.99
    assert sampler.priorities[:4] == pytest.approx(expected, rel=1e-12)
    assert (sampler.priorities[4:] == 1.0).all()


def test_on_ramp_steepens_linearly(settings):
    sampler = make("pjap", settings, steepness=4.0, epsilon=1e-9, on_ramp=100)
    for update, share in ((25, 0.25), (100, 1.0), (1000, 1.0)):
        sampler.refresh(np.array([7]), np.array([0.3]), update)
        assert sampler.priorities[7] == pytest.approx(np.exp(-((4 * share * 0.3) ** 2)) ** 0.99)


def test_zero_steepness_is_uniform(settings):
    sampler = make("pjap", settings, steepness=0.0)
    sampler.refresh(np.arange(STARTS), np.linspace(0, 1, STARTS), 1)
    assert (sampler.priorities == 1.0).all()
    assert sampler.effective_sample_size() == pytest.approx(1.0)


def test_what_has_no_weight_is_never_drawn(settings):
    sampler, random = make("pjap", settings, steepness=50.0, epsilon=1e-300), np.random.default_rng(5)
    near = np.array([0, 1023, 1024, STARTS - 1])  # edges of blocks
    distances = np.full(STARTS, 2.0)
    distances[near] = 0.0
    sampler.refresh(np.arange(STARTS), distances, 1)
    drawn = np.concatenate([sampler.sample(64, random) for _ in range(200)])
    assert set(drawn) == set(near)
    assert sampler.effective_sample_size() == pytest.approx(len(near) / STARTS)


def test_all_priorities_at_epsilon_is_uniform_again(settings):
    sampler = make("pjap", settings, steepness=50.0, epsilon=1e-6)
    sampler.refresh(np.arange(STARTS), np.full(STARTS, 2.0), 1)
    assert sampler.effective_sample_size() == pytest.approx(1.0)
    assert (sampler.sample(64, np.random.default_rng(0)) < STARTS).all()


def test_stratified_draws_cover_every_stratum(settings):
    sampler = make("pjap", settings)
    drawn = np.sort(sampler.sample(30, np.random.default_rng(6)))
    assert np.array_equal(drawn // (STARTS // 30), np.arange(30))


@pytest.mark.parametrize(("rule", "size"), [("sampled", 8), ("proportional", 1024), ("uniform", 1024)])
def test_refresh_rules(settings, rule, size):
    sampler, random = (
        make("pjap", settings, refresh=rule, refresh_sequences=1024, steepness=50.0, epsilon=1e-6),
        np.random.default_rng(7),
    )
    sampler.refresh(np.arange(STARTS // 2), np.full(STARTS // 2, 2.0), 1)  # the first half is far away
    sampled = np.arange(8)
    wanted = sampler.to_refresh(sampled, random)
    assert len(wanted) == size
    if rule == "sampled":
        assert wanted is sampled
    elif rule == "proportional":
        assert (wanted >= STARTS // 2).mean() > 0.99
    else:
        assert 0.4 < (wanted >= STARTS // 2).mean() < 0.6


def test_block_sums_do_not_drift(settings):
    sampler, random = make("pjap", settings), np.random.default_rng(8)
    for update in range(1, 2000):
        indices = sampler.sample(32, random)
        sampler.refresh(indices, random.random(32), update)
    assert np.array_equal(sampler._block_sums, sampler._priorities.sum(axis=1))


def test_unknown_sampler(settings):
    with pytest.raises(BenchError, match=r"unknown sampler 'best'.*uniform, pjap"):
        samplers.make("best", 10, settings)
