"""Against rliable's own numbers (tests/statistics/rliable/): values to rounding, intervals to what resampling leaves open."""

from pathlib import Path

import numpy as np
import pytest

from pjap_bench import files
from pjap_bench.statistics import bootstrap

NUMBERS = files.read_json(Path(__file__).parent / "rliable" / "numbers.json")
STRATA = {arm: list(np.array(table).T) for arm, table in NUMBERS["scores"].items()}  # [task][run]


@pytest.mark.parametrize("arm", STRATA)
@pytest.mark.parametrize("name", ["mean", "iqm", "optimality_gap"])
def test_aggregates_and_their_intervals(arm, name):
    value, low, high = NUMBERS[name][arm]
    statistic = bootstrap.estimator(name)
    assert statistic(np.concatenate(STRATA[arm])) == pytest.approx(value, rel=1e-12)
    samples = bootstrap.stratified_bootstrap(STRATA[arm], statistic, repetitions=50_000, generator=bootstrap.stream(0, arm, name))
    # The standard error of a 2.5 % quantile of 50,000 resamples is a hundredth of the interval.
    np.testing.assert_allclose(bootstrap.percentile_interval(samples, 0.95), (low, high), atol=0.015 * (high - low))


def test_probability_of_improvement():
    value, low, high = NUMBERS["probability_of_improvement"]
    pairs = list(zip(STRATA["b"], STRATA["a"], strict=True))
    assert np.mean([bootstrap.probability_of_improvement(*pair) for pair in pairs]) == pytest.approx(value, rel=1e-12)
    generator = bootstrap.stream(0, "test")
    samples = np.mean(
        [bootstrap.bootstrap_probability_of_improvement(*pair, repetitions=20_000, generator=generator) for pair in pairs], axis=0
    )
    np.testing.assert_allclose(
        bootstrap.percentile_interval(samples, 0.95), (low, high), atol=0.011
    )  # the ends lie on a grid of 0.01


@pytest.mark.parametrize("arm", STRATA)
def test_performance_profiles(arm):
    thresholds = np.array(NUMBERS["thresholds"])
    values, low, high = map(np.array, NUMBERS["profiles"][arm])
    np.testing.assert_allclose(bootstrap.performance_profile(np.concatenate(STRATA[arm]), thresholds), values, atol=1e-12)
    usual = {"repetitions": 2000, "confidence": 0.95, "generator": bootstrap.stream(0, arm)}
    ours = bootstrap.bootstrap_profile(STRATA[arm], thresholds, **usual)
    np.testing.assert_allclose(ours, (low, high), atol=0.051)  # one run of twenty
