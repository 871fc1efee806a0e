"""Writes numbers.json beside this file: what rliable itself makes of made-up scores, for test_rliable.py.

In an environment of its own, since rliable 1.2.0 breaks on newer packages: pip install "rliable==1.2.0" "pandas<3" "numpy<2"
"""

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPETITIONS = 50_000

np.random.seed(0)  # rliable ignores its random_state and draws from this generator
scores = {name: np.random.default_rng(seed).normal(0.6 + 0.1 * seed, 0.2, (10, 2)) for seed, name in enumerate("ab")}
aggregates = {
    "mean": metrics.aggregate_mean,
    "iqm": metrics.aggregate_iqm,
    "optimality_gap": metrics.aggregate_optimality_gap,
}
thresholds = np.linspace(0, 1.2, 13)
found = {"scores": {name: table.tolist() for name, table in scores.items()}, "repetitions": REPETITIONS}
for name, function in aggregates.items():
    values, intervals = library.get_interval_estimates(scores, lambda table, f=function: np.array([f(table)]), reps=REPETITIONS)
    found[name] = {arm: [float(values[arm][0]), *intervals[arm][:, 0].tolist()] for arm in scores}
pair = {"b,a": (scores["b"], scores["a"])}
value, interval = library.get_interval_estimates(pair, metrics.probability_of_improvement, reps=20_000)
found["probability_of_improvement"] = [float(np.ravel(value["b,a"])[0]), *np.ravel(interval["b,a"]).tolist()]
profiles, bands = library.create_performance_profile(scores, thresholds, reps=2000)
found["thresholds"] = thresholds.tolist()
found["profiles"] = {arm: [profiles[arm].tolist(), *bands[arm].tolist()] for arm in scores}
Path(__file__).with_name("numbers.json").write_text(json.dumps(found, indent=1) + "\n")
