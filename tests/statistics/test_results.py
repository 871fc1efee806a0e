import json
import shutil

import pytest

from pjap_bench.errors import BenchError
from pjap_bench.files import write_json
from pjap_bench.statistics.results import read_runs
from tests.statistics.fabricate import seal, write_job

CONTROL = "runs/good/maddpg_cql"


def test_reads_every_expected_run(results, settings):
    runs = read_runs(results, settings)
    assert len(runs.evaluations.groupby(["dataset", "arm", "seed"])) == 3 * 5 + 3 * 2
    assert set(runs.datasets) == {"good", "good_medium"}
    assert len(runs.jobs) == 6


def test_seeds_may_be_spread_over_jobs_and_other_seeds_are_left_out(results, settings):
    for experiment in settings["experiments"].values():
        experiment["seeds"] = experiment["seeds"][:2]
    write_job(results, "good", "maddpg_cql", [7, 8], 1000)
    runs = read_runs(results, settings)
    assert set(runs.evaluations["seed"]) == {0, 1}


def test_missing_run(results, settings):
    settings["experiments"]["good"]["seeds"].append(5)
    with pytest.raises(BenchError, match=r"runs/good: the run of maddpg_cql, seed 5 is missing"):
        read_runs(results, settings)


def test_short_run_by_its_configuration(results, settings):
    settings["experiments"]["good"]["updates"] = 2000
    with pytest.raises(BenchError, match="maddpg_cql/seeds-0-4: short run: 1000 updates"):
        read_runs(results, settings)


def test_short_run_without_a_final_evaluation(results, settings):
    folder = results / CONTROL / "seeds-0-4"
    rows = (folder / "evaluations.csv").read_text().splitlines()
    kept = [row for row in rows if not row.startswith("good,maddpg_cql,3,1000,final")]
    (folder / "evaluations.csv").write_text("\n".join(kept) + "\n")
    seal(folder)
    with pytest.raises(BenchError, match="good/maddpg_cql/seed 3: short run: no final evaluation at update 1000"):
        read_runs(results, settings)


@pytest.mark.parametrize(
    ("name", "dropped", "message"),
    [
        (
            "evaluations.csv",
            "good,maddpg_cql,2,600,training,1",
            "seed 2: short run: fewer training episodes at update 600",
        ),
        (
            "metrics.csv",
            "good,maddpg_cql,4,1000,distance_uniform",
            "seed 4: short run: distance_uniform is logged 19 times",
        ),
    ],
)
def test_short_run_with_rows_missing(results, settings, name, dropped, message):
    folder = results / CONTROL / "seeds-0-4"
    rows = (folder / name).read_text().splitlines()
    kept = [row for row in rows if not row.startswith(dropped)]
    assert len(kept) == len(rows) - 1
    (folder / name).write_text("\n".join(kept) + "\n")
    seal(folder)
    with pytest.raises(BenchError, match=message):
        read_runs(results, settings)


def test_all_seeds_stopped_logging_early(results, settings):
    folder = results / CONTROL / "seeds-0-4"
    rows = (folder / "metrics.csv").read_text().splitlines()
    (folder / "metrics.csv").write_text("\n".join(row for row in rows if ",1000," not in row) + "\n")
    seal(folder)
    with pytest.raises(BenchError, match="seed 0: short run: distance_sampled is logged 19 times up to update 950"):
        read_runs(results, settings)


def test_duplicate_seed(results, settings):
    write_job(results, "good", "maddpg_cql", [1], 1000)
    with pytest.raises(
        BenchError, match="seed 1 of maddpg_cql is there twice, in maddpg_cql/seeds-0-4 and in maddpg_cql/seeds-1-1"
    ):
        read_runs(results, settings)


def test_duplicate_rows(results, settings):
    folder = results / CONTROL / "seeds-0-4"
    rows = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(rows + rows.splitlines()[1] + "\n")
    seal(folder)
    with pytest.raises(BenchError, match=r"metrics.csv, maddpg_cql, seed 0: update 50 is there twice"):
        read_runs(results, settings)


@pytest.mark.parametrize("value", ["nan", "inf", ""])
def test_a_number_that_is_not_finite_names_run_and_update(results, settings, value):
    folder = results / CONTROL / "seeds-0-4"
    rows = (folder / "metrics.csv").read_text().splitlines()
    index = next(i for i, row in enumerate(rows) if row.startswith("good,maddpg_cql,2,500,distance_sampled"))
    rows[index] = rows[index].rpartition(",")[0] + "," + value
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    seal(folder)
    with pytest.raises(BenchError, match=r"good/maddpg_cql/.*seed 2: distance_sampled is not a finite number at update 500"):
        read_runs(results, settings)


def test_changed_file(results, settings):
    path = results / CONTROL / "seeds-0-4" / "evaluations.csv"
    path.write_text(path.read_text().replace("6030.0", "7030.0", 1))
    with pytest.raises(BenchError, match=r"evaluations.csv: does not have the sha256"):
        read_runs(results, settings)


def test_run_of_another_arm(results, settings):
    seal(results / CONTROL / "seeds-0-4", arms={"behaviour_cloning": {}})
    with pytest.raises(BenchError, match="is a run of good/behaviour_cloning"):
        read_runs(results, settings)


@pytest.mark.parametrize("arm", ["maddpg_cql", "behaviour_cloning"])
@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("arms", {"batch": 99}, "setting batch"),
        ("stamp", {"code": "ffffffffffff"}, "code"),
        ("stamp", {"datasets": {"good": "c" * 64}}, "dataset"),
    ],
)
def test_mixed_configurations(results, settings, arm, key, change, message):
    folder = results / "runs" / "good" / arm / "seeds-0-4"
    run = json.loads((folder / "run.json").read_text())
    changed = {arm: run["arms"][arm] | change} if key == "arms" else run[key] | change
    seal(folder, **{key: changed})
    with pytest.raises(BenchError, match=f"mixed configurations: {message}"):
        read_runs(results, settings)


def test_an_arms_own_settings_are_no_mixture(results, settings):
    folder = results / "runs" / "good" / "behaviour_cloning" / "seeds-0-4"
    run = json.loads((folder / "run.json").read_text())
    seal(folder, arms={"behaviour_cloning": run["arms"]["behaviour_cloning"] | {"batch": 99}})
    settings["arms"]["behaviour_cloning"]["settings"] = {"batch": 99}
    read_runs(results, settings)


def test_arms_that_trained_side_by_side(results, settings):
    """Two arms in one stack's folder are read as the same two in folders of their own."""
    apart = read_runs(results, settings)
    merge_stacks(results / "runs" / "good", "maddpg_cql", "maddpg_cql_pjap")
    together = read_runs(results, settings)
    keys = ["dataset", "arm", "seed", "update", "kind", "episode"]
    assert together.evaluations.sort_values(keys).equals(apart.evaluations.sort_values(keys))
    assert [job["arm"] for job in together.jobs] == [job["arm"] for job in apart.jobs]


def test_another_machine_is_no_mixture(results, settings):
    folder = results / "runs" / "good" / "behaviour_cloning" / "seeds-0-4"
    run = json.loads((folder / "run.json").read_text())
    seal(folder, stamp=run["stamp"] | {"processor": "another"})
    read_runs(results, settings)


def merge_stacks(folder, *arms):
    """Makes one stack of the stacks of several arms, all with the same seeds."""
    (seeds,) = {path.name for arm in arms for path in (folder / arm).iterdir()}
    merged = folder / "+".join(arms) / seeds
    merged.mkdir(parents=True)
    for name in ("evaluations.csv", "metrics.csv"):
        header, *_ = (folder / arms[0] / seeds / name).read_text().splitlines()
        rows = [row for arm in arms for row in (folder / arm / seeds / name).read_text().splitlines()[1:]]
        (merged / name).write_text("\n".join([header, *rows]) + "\n")
    runs = [json.loads((folder / arm / seeds / "run.json").read_text()) for arm in arms]
    write_json(merged / "run.json", runs[0] | {"arms": {arm: run["arms"][arm] for arm, run in zip(arms, runs, strict=True)}})
    seal(merged)
    for arm in arms:
        shutil.rmtree(folder / arm)


def test_reference_returns_out_of_order(results, settings):
    path = results / "datasets" / "good.json"
    summary = json.loads(path.read_text())
    summary["reference"]["random_return"] = 7000.0
    write_json(path, summary)
    with pytest.raises(BenchError, match=r"good.json: reference returns"):
        read_runs(results, settings)
