import json

import numpy as np
import pandas as pd
import pytest

from pjap_bench.errors import BenchError
from pjap_bench.statistics.summary import COLUMNS, summarise
from tests.statistics.fabricate import SAMPLED, STAMP, final_return, seal


def pick(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def test_numbers_are_those_that_were_made_up(results, settings):
    summarise(results, settings, STAMP)
    table = pd.read_csv(results / "statistics.csv")
    assert list(table.columns) == COLUMNS
    finals = {arm: np.array([final_return(arm, seed) for seed in range(5)]) for arm in ("maddpg_cql", "maddpg_cql_pjap")}
    usual = {"dataset": "good", "quantity": "final_return"}
    row = pick(table, **usual, arm="maddpg_cql", normalisation="raw", estimator="mean", method="percentile bootstrap")
    assert row["value"].item() == pytest.approx(6200)
    assert row[["n", "repetitions", "bootstrap_seed"]].values.tolist() == [[5, 2000, 0]]
    row = pick(table, **usual, arm="maddpg_cql", normalisation="reference", estimator="median")
    assert row["value"].item() == pytest.approx((6200 + 200) / 6800)

    # Smallest evaluation of the paper's arms: the first, -200; largest: PJAP's seed 4.
    largest = max(finals["maddpg_cql_pjap"])
    row = pick(table, **usual, arm="maddpg_cql", normalisation="paper", estimator="mean", method="t")
    assert row["value"].item() == pytest.approx((6200 + 200) / (largest + 200))
    assert "behaviour_cloning" not in set(table.loc[table["normalisation"] == "paper", "arm"])

    differences = finals["maddpg_cql_pjap"] - finals["maddpg_cql"]
    pair = pick(table, **usual, arm="maddpg_cql_pjap - maddpg_cql", normalisation="raw")
    row = pick(pair, estimator="paired_difference", method="paired t")
    assert row["value"].item() == pytest.approx(differences.mean())
    assert row["low"].item() < differences.mean() < row["high"].item()
    assert pick(pair, estimator="probability_of_improvement")["value"].item() == 1.0

    row = pick(table, dataset="good", quantity="distance_sampled", arm="maddpg_cql_pjap", estimator="mean", method="t")
    assert row["value"].item() == pytest.approx(SAMPLED["maddpg_cql_pjap"], abs=1e-3)


def test_scores_hold_one_row_per_run(results, settings):
    summarise(results, settings, STAMP)
    scores = pd.read_csv(results / "scores.csv")
    own = pick(scores, dataset="good", arm="maddpg_cql", quantity="final_return", normalisation="raw")
    assert own["value"].tolist() == [final_return("maddpg_cql", seed) for seed in range(5)]
    last_five = pick(scores, dataset="good", arm="maddpg_cql", quantity="last_five_return", normalisation="raw", seed=0)
    shares = np.sqrt(np.array([0.2, 0.4, 0.6, 0.8, 1.0]))
    assert last_five["value"].item() == pytest.approx(-200 + 6200 * shares.mean(), rel=1e-3)


def test_curves_end_with_the_final_evaluation(results, settings):
    summarise(results, settings, STAMP)
    curves = pd.read_csv(results / "curves.csv")
    curve = pick(curves, dataset="good", arm="maddpg_cql", quantity="evaluation_return", normalisation="raw")
    assert curve["update"].tolist() == [0, 200, 400, 600, 800, 1000]
    assert curve["value"].iloc[-1] == pytest.approx(6200)
    assert (curve["low"] <= curve["value"] + 1e-6).all() and (curve["value"] <= curve["high"] + 1e-6).all()


def test_same_bytes_again_and_intervals_independent_of_other_arms(results, settings):
    summarise(results, settings, STAMP)
    names = ("statistics.csv", "scores.csv", "curves.csv", "profiles.csv", "marl_eval.json", "statistics.provenance.json")
    first = {name: (results / name).read_bytes() for name in names}
    summarise(results, settings, STAMP)
    assert first == {name: (results / name).read_bytes() for name in names}
    settings["experiments"]["good"]["arms"].remove("behaviour_cloning")
    summarise(results, settings, STAMP)
    before = first["statistics.csv"].decode().splitlines()
    after = (results / "statistics.csv").read_text().splitlines()
    assert [line for line in before if not line.startswith(("good,behaviour_cloning", "all,behaviour_cloning"))] == after
    assert json.loads((results / "statistics.provenance.json").read_text())["stamp"] == STAMP


def test_one_seed_gives_points_without_intervals(results, settings):
    for experiment in settings["experiments"].values():
        experiment["seeds"] = [0]
    summarise(results, settings, STAMP)
    for name in ("statistics.csv", "curves.csv", "profiles.csv"):
        table = pd.read_csv(results / name)
        assert set(table["method"]) == {"point"}
        assert table["low"].isna().all()
        assert (table["n"] == (table["dataset"] == "all") + 1).all()  # two datasets


def test_all_equal_scores(results, settings):
    for path in results.glob("runs/good/*/seeds-*/evaluations.csv"):
        table = pd.read_csv(path)
        table["return"] = 5.0
        table.to_csv(path, index=False)
        seal(path.parent)
    with pytest.raises(BenchError, match=r"good: all evaluations of maddpg_cql and maddpg_cql_pjap have the return 5.0"):
        summarise(results, settings, STAMP)
    assert not (results / "statistics.csv").exists()


def test_over_all_datasets(results, settings):
    summarise(results, settings, STAMP)
    statistics, scores = (pd.read_csv(results / f"{name}.csv") for name in ("statistics", "scores"))
    pooled = pick(scores, arm="maddpg_cql", quantity="final_return", normalisation="reference")["value"]
    assert len(pooled) == 7
    row = pick(statistics, dataset="all", arm="maddpg_cql", normalisation="reference", estimator="iqm").iloc[0]
    assert row["value"] == pytest.approx(pooled.sort_values().iloc[1:6].mean()) and row["n"] == 7
    assert row["low"] < row["value"] < row["high"]
    name = "maddpg_cql_pjap - maddpg_cql"
    own = pick(statistics, arm=name, quantity="final_return", normalisation="reference", estimator="probability_of_improvement")
    found = own.set_index("dataset")["value"]
    assert found["all"] == pytest.approx((found["good"] + found["good_medium"]) / 2)
    settings["experiments"]["good_medium"]["arms"].remove("maddpg_cql_pjap")
    summarise(results, settings, STAMP)
    arms = set(pick(pd.read_csv(results / "statistics.csv"), dataset="all")["arm"])
    assert arms == {"maddpg_cql", "behaviour_cloning", "behaviour_cloning - maddpg_cql"}  # only what trained on both


def test_profiles_are_shares_of_runs(results, settings):
    summarise(results, settings, STAMP)
    profiles, scores = (pd.read_csv(results / f"{name}.csv") for name in ("profiles", "scores"))
    own = pick(profiles, dataset="good", arm="maddpg_cql", normalisation="reference")
    values = pick(scores, dataset="good", arm="maddpg_cql", quantity="final_return", normalisation="reference")["value"]
    assert len(own) == settings["statistics"]["profile_points"]
    for row in own.itertuples():
        assert row.value == pytest.approx((values > row.threshold).mean())
    assert own["value"].iloc[0] == 1.0 and own["value"].iloc[-1] == 0.0
    assert (own["low"] <= own["value"]).all() and (own["value"] <= own["high"]).all()


def test_marl_evals_format(results, settings):
    summarise(results, settings, STAMP)
    exported = json.loads((results / "marl_eval.json").read_text())
    ((_, tasks),) = exported.items()
    assert set(tasks) == {"good", "good_medium"}
    assert set(tasks["good"]) == set(settings["experiments"]["good"]["arms"])
    run = tasks["good"]["maddpg_cql"]["seed_3"]
    assert [run[f"step_{number}"]["step_count"] for number in range(6)] == [0, 200, 400, 600, 800, 1000]
    assert np.mean(run["absolute_metrics"]["return"]) == pytest.approx(6300)
    assert len(run["absolute_metrics"]["return"]) == 4
