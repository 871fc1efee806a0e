"""Reads the finished runs of a scale and refuses whatever would make a comparison unsound.

A missing or short run is an error that names the run, never a shorter curve; so are runs trained twice, runs whose
settings, code or data differ, files changed since they were written, and numbers that are not finite.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pjap_bench.errors import BenchError
from pjap_bench.files import read_json, sha256

PAPER_ARMS = ("maddpg_cql", "maddpg_cql_pjap")  # control, treatment
DISTANCES = ("distance_sampled", "distance_uniform", "distance_selected")
ARM_SETTINGS = {"algorithm", "sampler"}  # what arms of an experiment may differ in, beside the arms' own "settings"
EVALUATION_COLUMNS = ["dataset", "arm", "seed", "update", "kind", "episode", "return"]
METRIC_COLUMNS = ["dataset", "arm", "seed", "update", "metric", "value"]


@dataclass(frozen=True)
class Runs:
    """All expected runs of a scale.

    Attributes:
        evaluations: dataset, arm, seed, update, kind (training | final), episode, return.
        metrics: dataset, arm, seed, update, metric, value.
        datasets: the dataset's summary (datasets/NAME.json) by name.
        jobs: of every stack and arm read, run.json with "arm" and "settings", in order of dataset, arm and folder.
    """

    evaluations: pd.DataFrame
    metrics: pd.DataFrame
    datasets: dict[str, dict]
    jobs: list[dict]


def read_runs(results: Path, settings: dict) -> Runs:
    """Reads every run that `settings["experiments"]` expects from `results`/runs.

    Args:
        results: folder of a scale.
        settings: with "experiments": {dataset: {"arms": [...], "seeds": [...], "updates": N}}.

    Raises:
        BenchError: a missing, short, duplicate or changed run, mixed configurations, or a number that is not finite.
    """
    evaluations, metrics, jobs, datasets = [], [], [], {}
    for dataset, experiment in settings["experiments"].items():
        datasets[dataset] = read_dataset(results, dataset)
        experiment_jobs = []
        for arm in experiment["arms"]:
            arm_jobs = _read_jobs(results / "runs" / dataset, dataset, arm, experiment)
            arm_evaluations = pd.concat([job.pop("evaluations") for job in arm_jobs], ignore_index=True)
            arm_metrics = pd.concat([job.pop("metrics") for job in arm_jobs], ignore_index=True)
            _check_evaluations(arm_evaluations, dataset, arm, experiment)
            _check_metrics(arm_metrics, dataset, arm, experiment)
            evaluations.append(arm_evaluations)
            metrics.append(arm_metrics)
            experiment_jobs += arm_jobs
        _check_one_configuration(experiment_jobs, datasets[dataset], settings["arms"])
        jobs += experiment_jobs
    return Runs(pd.concat(evaluations, ignore_index=True), pd.concat(metrics, ignore_index=True), datasets, jobs)


def read_dataset(results: Path, dataset: str) -> dict:
    """The dataset's summary, checked for what the normalisation needs.

    Raises:
        BenchError: no such file, or its reference returns are missing, not finite or not in order.
    """
    path = results / "datasets" / f"{dataset}.json"
    summary = read_json(path)
    reference = summary.get("reference", {})
    pair = [reference.get("random_return"), reference.get("dataset_return")]
    if None in pair or not np.isfinite(pair).all() or pair[0] >= pair[1]:
        raise BenchError(
            f"reference returns (random policy, dataset) = {pair} cannot normalise a score",
            where=path,
            do="collect the dataset again",
        )
    return summary


def stack_files(folder: Path, experiment: dict, name: str) -> list[Path]:
    """That file of every stack of an experiment; `experiment["stacks"]` names them, else all that lie in `folder` count."""
    found = sorted(folder.glob(f"*/seeds-*/{name}"))
    return [path for path in found if stack_name(path) in experiment.get("stacks", [stack_name(path)])]


def stack_name(file: Path) -> str:
    """The stack that a file belongs to, for instance maddpg_cql+maddpg_cql_pjap/seeds-0-4."""
    return "/".join(file.parent.parts[-2:])


def _read_jobs(folder: Path, dataset: str, arm: str, experiment: dict) -> list[dict]:
    """The stacks that hold the expected seeds of an arm, each seed exactly once, with that arm's tables."""
    jobs, holder = [], {}
    for path in stack_files(folder, experiment, "run.json"):
        job = read_json(path)
        if arm not in path.parts[-3].split("+") or not set(job["seeds"]) & set(experiment["seeds"]):
            continue
        for seed in job["seeds"]:
            if seed in holder:
                raise BenchError(
                    f"seed {seed} of {arm} is there twice, in {holder[seed]} and in {stack_name(path)}",
                    where=folder,
                    do="delete the folder that is not of this configuration",
                )
            holder[seed] = stack_name(path)
        if job["dataset"] != dataset or arm not in job["arms"]:
            found = f"{job['dataset']}/{'+'.join(job['arms'])}"
            raise BenchError(f"is a run of {found}", where=path.parent, do="delete this folder")
        if job["updates"] != experiment["updates"]:
            raise BenchError(
                f"short run: {job['updates']} updates, the configuration says {experiment['updates']}",
                where=path.parent,
                do="delete this folder and run the command again",
            )
        jobs.append(
            job
            | {
                "folder": path.parent,
                "arm": arm,
                "settings": job["arms"][arm],
                "evaluations": _read_table(path.parent, "evaluations.csv", EVALUATION_COLUMNS, job, arm, experiment),
                "metrics": _read_table(path.parent, "metrics.csv", METRIC_COLUMNS, job, arm, experiment),
            }
        )
    for seed in experiment["seeds"]:
        if seed not in holder:
            raise BenchError(
                f"the run of {arm}, seed {seed} is missing (finished: {sorted(holder) or 'none'})",
                where=folder,
                do="run the command again: finished runs are kept and this one is trained",
            )
    return jobs


def _read_table(folder: Path, name: str, columns: list[str], job: dict, arm: str, experiment: dict) -> pd.DataFrame:
    """One CSV of a stack, reduced to an arm and the expected seeds."""
    path = folder / name
    if sha256(path) != job["files"].get(name):
        raise BenchError("does not have the sha256 that run.json records", where=path, do="delete this folder and train again")
    table = pd.read_csv(path)
    if list(table.columns) != columns:
        raise BenchError(f"columns are {list(table.columns)}, expected {columns}", where=path, do="train again")
    if not ((table["dataset"] == job["dataset"]) & table["arm"].isin(list(job["arms"]))).all():
        raise BenchError("holds rows of another dataset or arm", where=path, do="train again")
    unknown = sorted(set(table["seed"]) - set(job["seeds"]))
    if unknown:
        raise BenchError(f"holds rows of seeds {unknown} that run.json does not name", where=path, do="train again")
    number = columns[-1]
    bad = table[~np.isfinite(pd.to_numeric(table[number], errors="coerce"))]
    if len(bad):
        row = bad.iloc[0]
        raise BenchError(
            f"{row.get('metric', 'return')} is not a finite number at update {row['update']}",
            where=f"{path}, {row['arm']}, seed {row['seed']}",
            do="look at the run's log; delete this folder and train again",
        )
    key = [column for column in columns if column != number]
    twice = table[table.duplicated(key)]
    if len(twice):
        row = twice.iloc[0]
        where = f"{path}, {row['arm']}, seed {row['seed']}"
        raise BenchError(f"update {row['update']} is there twice", where=where, do="train again")
    return table[(table["arm"] == arm) & table["seed"].isin(experiment["seeds"])]


def _check_evaluations(table: pd.DataFrame, dataset: str, arm: str, experiment: dict) -> None:
    """Every seed has the final evaluation at the last update, and all seeds the same evaluations and episodes."""
    counts = table.groupby(["seed", "kind", "update"]).size().unstack("seed").reindex(columns=experiment["seeds"])
    for seed in experiment["seeds"]:
        run = f"{dataset}/{arm}/seed {seed}"
        if ("final", experiment["updates"]) not in counts.index or np.isnan(counts.loc[("final", experiment["updates"]), seed]):
            raise BenchError(f"short run: no final evaluation at update {experiment['updates']}", where=run, do="train it again")
        if (counts.index.get_level_values("kind") == "final").sum() > 1:
            raise BenchError("final evaluations at more than one update", where=run, do="train it again")
        # A missing evaluation is NaN here, which the larger count of another seed exceeds.
        short = counts[counts[seed].fillna(0) < counts.max(axis=1)]
        if len(short):
            kind, update = short.index[0]
            raise BenchError(
                f"short run: fewer {kind} episodes at update {update} than the arm's other seeds",
                where=run,
                do="train it again",
            )


def _check_metrics(table: pd.DataFrame, dataset: str, arm: str, experiment: dict) -> None:
    """Both distances are logged up to the end, at the same updates for every seed."""
    for metric in DISTANCES:
        rows = table[table["metric"] == metric]
        logged = {seed: sorted(rows.loc[rows["seed"] == seed, "update"]) for seed in experiment["seeds"]}
        longest = max(logged.values(), key=len)
        for seed, updates in logged.items():
            run = f"{dataset}/{arm}/seed {seed}"
            if not updates:
                raise BenchError(f"short run: no rows of {metric}", where=run, do="train it again")
            interval = max(np.diff([0, *updates]))
            if updates != longest or experiment["updates"] - updates[-1] >= max(interval, 1):
                raise BenchError(
                    f"short run: {metric} is logged {len(updates)} times up to update {updates[-1]} "
                    f"of {experiment['updates']}, another seed {len(longest)} times",
                    where=run,
                    do="train it again",
                )


def _check_one_configuration(jobs: list[dict], dataset: dict, arms: dict[str, dict]) -> None:
    """All jobs of an experiment come from the same code, data and settings; arms differ only in what makes the arm.

    Machines may differ, since a stack may go on on another one: run.json and the report name them.
    """
    first = jobs[0]
    between_arms = ARM_SETTINGS.union(*(arms[job["arm"]].get("settings", {}) for job in jobs))
    for job in jobs:
        differences = {
            "code": job["stamp"]["code"] != first["stamp"]["code"],
            "dataset": job["stamp"]["datasets"].get(job["dataset"]) != dataset["sha256"],
        }
        peer = next(other for other in jobs if other["arm"] == job["arm"])
        differences |= _settings_differences(job["settings"], peer["settings"], ignored=set())
        differences |= _settings_differences(job["settings"], first["settings"], ignored=between_arms)
        names = [name for name, differs in differences.items() if differs]
        if names:
            raise BenchError(
                f"mixed configurations: {', '.join(names)} differ from {first['folder']} or from the dataset in use",
                where=job["folder"],
                do="delete the folder that is not of this configuration and run the command again",
            )


def _settings_differences(settings: dict, other: dict, ignored: set[str]) -> dict[str, bool]:
    """For each setting that both name whether it differs."""
    return {f"setting {key}": settings[key] != other[key] for key in sorted((settings.keys() & other.keys()) - ignored)}
