"""The benchmark of training, tiny: every row is there, and ratios are those of what was measured."""

import json
import math
import os

import pandas as pd
import pytest
import torch

from pjap_bench import benchmarks, config
from pjap_bench.__main__ import _parser, main
from pjap_bench.benchmarks import table, training
from pjap_bench.training.stack import Stack

TINY = training.Effort(
    repetitions=1,
    repetitions_of_series=1,
    seconds=0.01,
    transitions=2000,
    memory_updates=2,
    runs=(1, 3),
    datasets=(2000, 4000),
    batches=(2, 4),
)


def a_task(settings: dict, implementation: str, runs: int) -> training.Task:
    own = config.training_settings(settings, "good", "maddpg_cql") | training._OVERRIDES[implementation]
    return training.Task(implementation, own, 2000, runs)


def test_the_command_gives_every_row_and_the_picture(tmp_path, tiny_settings, monkeypatch, capsys):
    monkeypatch.setattr(training, "ON_ONE_CORE", TINY)
    monkeypatch.setattr(config, "load", lambda scale: tiny_settings)
    output = tmp_path / "benchmark.csv"
    assert main(["benchmark", "--only", "training", "--output", str(output)]) == 0
    found = pd.read_csv(output)
    assert "speed against eager" in capsys.readouterr().out
    assert json.loads(output.with_suffix(".json").read_text())["device"].startswith("One core of")
    assert (tmp_path / "benchmark_training.png").stat().st_size > 10_000
    assert set(found["part"]) == {"training"}
    assert (found["min"] <= found["median"]).all() and (found["median"] <= found["max"]).all()
    costs = found["name"] == "PJAP's own cost"  # may be nothing, in the noise of so few updates
    assert found.loc[~costs, "min"].gt(0).all()

    value = found.set_index(["name", "work"])["median"]
    for preset in ("preprint", "submission"):
        speed = {name: value["updates", f"{preset}: {name}"] for name in training._OVERRIDES}
        for name in (training.EAGER, training.EAGER_ONCE):
            ratio = value[f"speed against {name}", f"{preset}: ours"]
            assert ratio == pytest.approx(speed["ours"] / speed[name], rel=2e-3)  # the file has four digits
        for name in (training.PJAP, training.PJAP_SAMPLED):
            share = value["PJAP's own cost", f"{preset}: {name}"] / 100
            assert 1 + share == pytest.approx(speed["ours"] / speed[name], rel=2e-3)
    for name, places in ((training.RUNS, [1, 3]), (training.TRANSITIONS, [2000, 4000]), (training.BATCH, [2, 4])):
        series = found[found["name"] == name]
        for implementation in training.SERIES:
            assert list(series.loc[series["work"] == f"preprint: {implementation}", "at"]) == places
        assert len(series) == len(places) * len(training.SERIES)
    growths = found[found["name"] == "growth of an update"]
    own = found[found["name"] == training.TRANSITIONS].set_index(["work", "at"])["median"]
    for _, growth in growths.iterrows():
        series = growth["work"].removesuffix(", 4,000 against 2,000 transitions")
        assert growth["median"] == pytest.approx(own[series, 4000] / own[series, 2000], rel=2e-3)
    counts = {"growth of an update": 2, "peak memory": 4, "start-up to first update": 1, "evaluation": 1, "checkpoint": 1}
    assert {name: sum(found["name"] == name) for name in counts} == counts
    aims = found.set_index("name")[["at_least", "at_most"]].stack()
    for name in ("updates", "speed against eager", "PJAP's own cost", "peak memory", "start-up to first update"):
        assert name in aims.index.get_level_values(0), f"{name} has no aim"


def test_eager_and_ours_do_the_updates_that_are_timed(tiny_settings, monkeypatch):
    updates, advanced = [], []
    eager, stacked = training.EagerMaddpgCql.update, Stack.advance
    monkeypatch.setattr(training.EagerMaddpgCql, "update", lambda *given: updates.append(eager(*given)))
    monkeypatch.setattr(Stack, "advance", lambda self, count: advanced.append((len(self.runs), count)) or stacked(self, count))
    advance = training._trainer(a_task(tiny_settings, training.EAGER, runs=3))
    for _ in range(2):
        advance()
    assert len(updates) == 6
    assert all(math.isfinite(value) for losses in updates for value in losses.values())
    assert training.update_cost(a_task(tiny_settings, training.PJAP, runs=2), 0.01) > 0
    assert len(advanced) >= 2 and set(advanced) == {(2, 1)}


def test_the_command_knows_every_part():
    parsed = _parser().parse_args(["benchmark", "--only", *benchmarks.PARTS, "--output", "table.csv"])
    assert parsed.only == list(benchmarks.PARTS)


def test_each_has_a_process_of_its_own_with_one_thread():
    with training._processes() as call:
        assert len({os.getpid(), call(training.EAGER, os.getpid), call(training.OURS, os.getpid)}) == 3
        for one, other in ((training.OURS, training.PJAP), (training.EAGER, training.EAGER_ONCE)):
            assert call(one, os.getpid) == call(other, os.getpid)
        assert {call(name, torch.get_num_threads) for name in training.SERIES} == {1}


def test_rows_of_all_kinds_in_one_table(tmp_path):
    rows = [table.timed("a", "nothing", lambda: None, 3, 2.0), table.row("b", "at a place", [3.0, 1.0], "ms", at=2_000_000)]
    text = table.write(rows, {"code": "abc"}, tmp_path / "table.csv")
    assert "2000000" in text and "NA" not in text
    found = pd.read_csv(tmp_path / "table.csv")
    assert list(found["unit"]) == ["s", "ms"] and list(found["median"]) == [pytest.approx(0, abs=0.1), 2.0]
    assert found["at_most"][0] == 2.0 and found["at"][1] == 2_000_000
    assert (tmp_path / "table.csv").read_text().splitlines()[2] == "b,at a place,2000000,ms,2,2,1,3,,"
