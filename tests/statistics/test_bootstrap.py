import numpy as np
import pytest
import scipy.stats

from pjap_bench.errors import BenchError
from pjap_bench.statistics import bootstrap

SCORES = np.random.default_rng(1).normal(0.8, 0.2, size=10)


@pytest.mark.parametrize("runs", [3, 4, 10, 13])
def test_iqm_equals_scipys_trimmed_mean(runs):
    scores = np.random.default_rng(runs).standard_normal((5, runs))
    np.testing.assert_allclose(bootstrap.iqm(scores), scipy.stats.trim_mean(scores, 0.25, axis=1), rtol=1e-12)


def test_optimality_gap_counts_only_the_shortfall():
    assert bootstrap.optimality_gap(np.array([0.5, 1.5])) == 0.25


@pytest.mark.parametrize("name", ["mean", "median", "iqm"])
def test_percentile_interval_equals_scipys(name):
    statistic = bootstrap.estimator(name)
    samples = bootstrap.stratified_bootstrap([SCORES], statistic, repetitions=20_000, generator=bootstrap.stream(0, "test"))
    ours = bootstrap.percentile_interval(samples, 0.95)
    theirs = scipy.stats.bootstrap(
        (SCORES,), lambda x, axis: statistic(np.moveaxis(x, axis, -1)), n_resamples=20_000, method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=0.008)  # Monte-Carlo error of a 2.5 % quantile


def test_percentile_interval_equals_scipys_on_the_same_samples():
    result = scipy.stats.bootstrap((SCORES,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(4))
    ours = bootstrap.percentile_interval(result.bootstrap_distribution, 0.95)
    np.testing.assert_allclose(ours, result.confidence_interval, rtol=1e-12)


def test_strata_are_resampled_apart():
    strata = [np.zeros(4), np.ones(2)]
    samples = bootstrap.stratified_bootstrap(strata, bootstrap.mean, repetitions=100, generator=bootstrap.stream(0, "test"))
    np.testing.assert_allclose(samples, 2 / 6)


def test_a_chunked_bootstrap_is_reproducible_and_complete(monkeypatch):
    monkeypatch.setattr(bootstrap, "CHUNK_NUMBERS", 70)
    twice = [
        bootstrap.stratified_bootstrap([SCORES], bootstrap.mean, repetitions=50, generator=bootstrap.stream(5, "a"))
        for _ in range(2)
    ]
    assert twice[0].shape == (50,)
    np.testing.assert_array_equal(*twice)


def test_streams_are_their_names_own():
    draws = [bootstrap.stream(seed, name).integers(2**60) for seed in (0, 1) for name in ("a", "b")]
    assert len(set(draws)) == 4


def test_t_interval_equals_scipys():
    theirs = scipy.stats.ttest_1samp(SCORES, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(bootstrap.t_interval(SCORES, 0.95), theirs, rtol=1e-12)


def test_t_interval_of_one_run_is_an_error():
    with pytest.raises(BenchError, match="two runs"):
        bootstrap.t_interval(SCORES[:1], 0.95)


def test_probability_of_improvement_equals_mann_whitney():
    other = np.append(SCORES[:6], 0.1)  # with ties
    theirs = scipy.stats.mannwhitneyu(SCORES, other).statistic / (len(SCORES) * len(other))
    assert bootstrap.probability_of_improvement(SCORES, other) == pytest.approx(theirs, abs=1e-12)


def test_curve_band_is_the_pointwise_bootstrap_of_the_mean(monkeypatch):
    curves = np.random.default_rng(2).standard_normal((6, 9))
    usual = {"repetitions": 1000, "confidence": 0.95}
    whole = bootstrap.bootstrap_curve(curves, generator=bootstrap.stream(0, "curve"), **usual)
    # The same draws, one point at a time.
    samples = bootstrap.stratified_bootstrap(
        [curves[:, 3]], bootstrap.mean, repetitions=1000, generator=bootstrap.stream(0, "curve")
    )
    np.testing.assert_allclose([band[3] for band in whole], bootstrap.percentile_interval(samples, 0.95), rtol=1e-9)
    monkeypatch.setattr(bootstrap, "CHUNK_NUMBERS", 2000)
    chunked = bootstrap.bootstrap_curve(curves, generator=bootstrap.stream(0, "curve"), **usual)
    np.testing.assert_allclose(whole, chunked, rtol=1e-12)


def test_coverage_of_both_intervals_at_ten_runs():
    """The percentile interval of a normal mean covers about 90 %, the t interval 95 %: why verdicts use the second."""
    data = np.random.default_rng(7).standard_normal((20_000, 10))
    # One set of weights serves all simulated experiments: [repetition, run].
    weights = np.random.default_rng(8).multinomial(10, [0.1] * 10, size=1000) / 10
    low, high = bootstrap.percentile_interval(weights @ data.T, 0.95)
    # In theory about the mean -+ 1.96 standard errors with n instead of n - 1, of a t distributed mean.
    theory = 2 * scipy.stats.t(9).cdf(1.96 * np.sqrt(9 / 10)) - 1
    assert theory == pytest.approx(0.904, abs=0.001)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(theory, abs=0.01)
    covered = [low < 0 < high for low, high in (bootstrap.t_interval(row, 0.95) for row in data)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.005)


def test_unknown_estimator():
    with pytest.raises(BenchError, match=r"geometric.*unknown estimator"):
        bootstrap.estimator("geometric")
