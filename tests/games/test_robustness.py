"""The robustness map: the same whatever the number of processes, success as in C10, a finding whose numbers are the table's."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pjap_bench.errors import BenchError
from pjap_bench.games import robustness, theory
from pjap_bench.games.kernels import DISTANCES, KERNELS
from pjap_bench.games.learning import learn_offline
from pjap_bench.games.polynomial import preset

CONFIGURATION = Path(__file__).parents[2] / "workflow" / "config" / "paper.yaml"


@pytest.fixture(scope="module")
def small():
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    settings = configuration["robustness"] | {key: configuration["games"][key] for key in ("seed", "twin_peaks")}
    settings = copy.deepcopy(settings) | {"datasets": 5, "points": 100}
    settings["map"] |= {"sigmas": [0.2, 1], "alphas": [1, 10], "epsilons": [1e-5, 1e-2]}
    settings["centre"] |= {"sigmas": [0.1], "shifts": [-0.6, 0]}
    settings["kernels"] |= {"sigmas": [0.5], "alphas": [10]}
    return settings


@pytest.fixture(scope="module")
def table(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    robustness.simulate(small, {"scale": "smoke"}, folder)
    return pd.read_csv(folder / "robustness.csv", keep_default_na=False, na_values=[""])


def test_every_cell_is_there_once(table, small):
    sweeps = table.groupby("sweep").size()
    assert sweeps["map"] == 2 * 3 * (5 * 4 + 1)
    assert sweeps["centre"] == 1 * 2 * 2
    assert sweeps["kernels"] == len(KERNELS) * len(DISTANCES)
    keys = ["sweep", "sigma", "shift", "refresh", "rounds", "start", "kernel", "distance", "alpha", "epsilon"]
    assert not table.duplicated(keys).any()
    assert (table["runs"] == 5).all() and (table["success_rate"] == table["successes"] / 5).all()
    assert (table["low"] <= table["success_rate"]).all() and (table["success_rate"] <= table["high"]).all()


def test_the_number_of_processes_changes_no_byte(small, tmp_path):
    for processes in (1, 2):
        robustness.simulate(small, {"scale": "smoke"}, tmp_path / str(processes), processes)
    for name in ("robustness.csv", "robustness.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert json.loads((tmp_path / "1" / "robustness.json").read_text())["stamp"] == {"scale": "smoke"}


def test_a_cell_is_what_learning_gives(table, small):
    """One cell again by hand: sigma 1, alpha 10, epsilon 1e-5, uniform sampling of what is refreshed, from the paper's start."""
    noise, sampling = (np.random.default_rng(np.random.SeedSequence(small["seed"], spawn_key=(20, place))) for place in (0, 1))
    optimum, best = theory.twin_peaks_optimum(**small["twin_peaks"])
    data = optimum + noise.standard_normal((5, 100, 2))
    # The cell is the third of four that share their stream: (1, 1e-5), (1, 1e-2), (10, 1e-5), (10, 1e-2).
    sampling.random((2 * 5, small["epochs"], 7, small["batch"]))
    learnt = learn_offline(
        preset("twin_peaks"),
        data,
        np.array([-0.5, 0.5]),
        learning_rate=small["learning_rate"],
        epochs=small["epochs"],
        batch=small["batch"],
        rounds=6,
        refresh="uniform",
        sampler={"name": "pjap", "alpha": 10, "epsilon": 1e-5},
        sampling=sampling,
    )
    rewards = preset("twin_peaks").reward(learnt.policies[:, -1]) / best
    cell = table[
        (table["sweep"] == "map")
        & (table["sigma"] == 1)
        & (table["refresh"] == "uniform")
        & (table["start"] == "paper")
        & (table["alpha"] == 10)
        & (table["epsilon"] == 1e-5)
    ].iloc[0]
    assert cell["successes"] == (rewards >= 0.95).sum()
    assert cell["median_reward"] == pytest.approx(np.median(rewards), rel=1e-12)


def test_pjap_helps_in_wide_data_and_not_outside_the_data(table):
    cells = table[(table["sweep"] == "map") & (table["sigma"] == 1) & (table["start"] == "paper")]
    assert cells[cells["refresh"] == "none"]["successes"].sum() == 0
    assert cells[(cells["alpha"] == 10) & (cells["epsilon"] == 1e-5) & (cells["refresh"] == "uniform")]["successes"].sum() >= 4
    assert cells[cells["epsilon"] == 1e-2]["successes"].sum() == 0
    centre = table[(table["sweep"] == "centre") & (table["refresh"] != "none")].set_index("shift")["success_rate"]
    assert centre[0] == 1 and centre[-0.6] == 0


def test_the_finding_counts_what_the_table_holds(table, small):
    text = robustness.finding(table, small)
    pjap = table[(table["sweep"] == "map") & (table["refresh"] != "none")]
    assert f"Over {len(pjap)} cells of 5 datasets" in text
    assert f"in {pjap['successes'].sum() / pjap['runs'].sum():.0%} of the runs" in text
    assert f"in {int((pjap['success_rate'] < 0.05).sum())} cells" in text
    failed = table.assign(successes=0, success_rate=0.0)
    assert "reaches 0.95 R* in 0% of the runs" in robustness.finding(failed, small)
    assert "more than 3 sigma" in text and "Without them" in text
    inside = table[(table["sweep"] != "centre") | (table["shift"] == 0)]
    assert "more than 3 sigma" not in robustness.finding(inside, small)
    assert "Without them" not in robustness.finding(table.assign(epsilon=0.1, sigma=1.0, alpha=10.0), small)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"datasets": 0}, "no datasets"),
        ({"paper": {"alpha": 10, "epsilon": 1e-5, "refresh": "sampled", "rounds": 6, "start": "moon"}}, "unknown start 'moon'"),
        ({"paper": {"alpha": -1, "epsilon": 1e-5, "refresh": "sampled", "rounds": 6, "start": "paper"}}, "alpha is -1"),
        ({"twin_peaks": {"a": 1, "b": 4, "c": 1}}, "no twin peaks"),
    ],
)
def test_impossible_settings_are_one_clear_error_and_leave_nothing(change, complaint, small, tmp_path):
    with pytest.raises(BenchError, match=complaint):
        robustness.simulate(small | change, {}, tmp_path / "games", processes=2)
    assert not (tmp_path / "games").exists()
