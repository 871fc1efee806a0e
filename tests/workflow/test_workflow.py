"""The workflow as a user runs it: the whole smoke scale in a copy of the tree, and what reruns after which change."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from pjap_bench import config, containers, figures, files
from pjap_bench.releases import contents

TREE = ("Snakefile", "workflow", "profiles", "pjap_bench", "datasets", "pyproject.toml")
BUILT = ("images", "wheels", "apptainer")  # what `make images` and `make apptainer` leave in containers/
SMOKE = ("--cores", "all", "--config", "scale=smoke")


def snakemake(
    folder: Path, *arguments: str, path: Path | None = None, python: Path | str = sys.executable
) -> subprocess.CompletedProcess:
    """Runs Snakemake there by that Python; programs in the folder `path` come first."""
    folders = [path, Path(sys.executable).parent, os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(str(each) for each in folders if each)}
    environment.pop("PYTHONPATH", None)
    command = [python, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def copy_tree(target: Path) -> Path:
    target.mkdir()
    for name in (*TREE, *(f"containers/{path.name}" for path in containers.FOLDER.iterdir() if path.name not in BUILT)):
        source = config.ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copy2(source, target / name)
    return target


def with_images(folder: Path, programs: Path, answer: str = "exit 0") -> Path:
    """Puts files that pass for images into a copy of the tree, and a program that passes for apptainer into `programs`."""
    (folder / "containers" / "images").mkdir(exist_ok=True)
    for name in ("analysis", "train"):
        (folder / containers.file_of(name)).touch()
    program = programs / "apptainer"
    program.write_text(f"#!/bin/bash\n[[ $1 != --version ]] || {{ echo apptainer version 1.3.0; exit; }}\n{answer}\n")
    program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A copy of the tree with a finished smoke run."""
    folder = copy_tree(tmp_path_factory.mktemp("workflow") / "pjap bench")  # a path with a space
    done = snakemake(folder, *SMOKE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule a dry run would start."""
    done = snakemake(folder, "-n", "--quiet", "rules", *(arguments or SMOKE))
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE) if rule not in ("total", "all")}


def test_everything_is_there_and_says_where_it_came_from(finished):
    results = finished / "results" / "smoke"
    for name in figures.FIGURES:
        picture = imread(results / "figures" / f"{name}.png")
        assert picture.std() > 0.05
        assert (results / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert {path.stem for path in (results / "figures" / "claims").glob("*.png")} == set(figures.CLAIMS)
    assert files.read_json(results / "configuration.json") == config.recorded(config.load("smoke"))
    verdict = files.read_json(results / "verdict.json")
    assert {f"C{number}" for number in range(1, 12)} - {"C2"} <= {entry["id"] for entry in verdict["claims"]}
    statuses = {entry["id"]: entry["status"] for entry in verdict["claims"]}
    assert all(
        statuses[name] == "not testable at this scale" for name in statuses if name.startswith(("C12", "C13", "C14", "C15"))
    )
    page = (results / "report.html").read_text()
    assert "not testable at this scale" in page
    assert "uncontained" in page
    assert (results / "notebook.html").read_text().count("data:image/png;base64,") > 30
    datasets = {"good", "medium", "good_medium"}
    assert page.count("data:image/png;base64,") == len(figures.FIGURES) + len(figures.CLAIMS) + len(datasets)
    for name in datasets:
        described = files.read_json(results / "datasets" / f"{name}.description.json")
        assert described["file"]["sha256"] == files.sha256(results / "datasets" / f"{name}.h5")
        assert imread(results / "figures" / f"dataset_{name}.png").std() > 0.05
        (distributed,) = files.read_json(results / "datasets" / f"{name}.croissant.json")["distribution"]
        assert distributed["sha256"] == described["file"]["sha256"]
    stamp = verdict["stamp"]
    assert stamp["seeds"] == [0, 1]
    assert stamp["datasets"] == {name: files.sha256(results / f"datasets/{name}.h5") for name in ("good", "good_medium")}
    assert stamp["scale"] == "smoke" and stamp["image"] == "uncontained" and len(stamp["code"]) == 12
    run = files.read_json(results / "runs/good/maddpg_cql+maddpg_cql_pjap/seeds-0-0/run.json")
    assert run["stamp"]["datasets"] == {"good": files.sha256(results / "datasets/good.h5")}
    assert run["stamp"]["seeds"] == [0]
    assert list(run["arms"]) == ["maddpg_cql", "maddpg_cql_pjap"]
    statistics = pd.read_csv(results / "statistics.csv")
    assert set(statistics["dataset"]) == {"good", "good_medium", "all"}
    assert {"maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning"} <= set(statistics["arm"])
    assert not list((results / "checkpoints").rglob("*.safetensors"))
    assert (results / "benchmarks/train/good/behaviour_cloning/seeds-0-1.tsv").exists()
    assert "updates/s" in (results / "logs/train/good/behaviour_cloning/seeds-0-1.log").read_text()


def test_nothing_is_to_be_done_after_a_finished_run(finished):
    done = snakemake(finished, "-n", *SMOKE)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert planned(finished) == {}


@pytest.mark.parametrize(
    ("changed", "reruns", "rests"),
    [
        ("pjap_bench/figures/figure3.py", {"draw_figure": 1, "write_report": 1}, {"train", "simulate_games"}),
        ("pjap_bench/samplers/pjap.py", {"train": 8, "compute_statistics": 1}, {"collect_dataset", "simulate_games"}),
        ("pjap_bench/games/learning.py", {"simulate_games": 1, "judge_claims": 1}, {"train", "collect_dataset"}),
        ("pjap_bench/behaviour/play.py", {"collect_dataset": 2, "mix_dataset": 1, "train": 8}, {"simulate_games"}),
        ("pjap_bench/notebook/games.py", {"export_notebook": 1, "write_report": 1}, {"draw_figure", "simulate_games"}),
        ("pjap_bench/report/page.html.jinja", {"write_report": 1}, {"draw_figure", "compute_statistics"}),
    ],
)
def test_a_changed_source_reruns_its_stage_and_what_follows(finished, changed, reruns, rests):
    path = finished / changed
    kept = path.read_bytes()
    try:
        path.write_bytes(kept + (b"\n{# changed #}\n" if changed.endswith("jinja") else b"\n# changed\n"))
        plan = planned(finished)
    finally:
        path.write_bytes(kept)
    assert {rule: plan.get(rule, 0) for rule in reruns} == reruns
    assert not rests & set(plan)


def test_a_changed_setting_reruns_what_depends_on_it(finished):
    plan = planned(finished, "--cores", "1", "--config", "scale=smoke", "training={reward_scale: 0.2}")
    assert plan["train"] == 8
    assert "collect_dataset" not in plan
    plan = planned(finished, "--cores", "1", "--config", "scale=smoke", "arms={maddpg_cql_pjap: {settings: {steepness: 3.0}}}")
    assert plan["train"] == 4  # the stacks in which that arm trains
    assert planned(finished, "--cores", "1", "--config", "scale=smoke", "jobs={checkpoint_every: 30, stop_after: 5}") == {}
    plan = planned(finished, "--cores", "1", "--config", "scale=smoke", "statistics={bootstrap_seed: 1}")
    assert "train" not in plan
    assert plan["compute_statistics"] == 1


def test_a_changed_setting_of_the_paper_alone_rewrites_the_report_that_quotes_it(finished):
    path = finished / "workflow/config/paper.yaml"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("batch: 64", "batch: 48", 1))
        assert planned(finished) == {"write_report": 1}
    finally:
        path.write_text(kept)


def test_a_lost_file_is_made_again_with_the_same_bytes(finished):
    target = finished / "results/smoke/runs/good/maddpg_cql+maddpg_cql_pjap/seeds-0-0/metrics.csv"
    before = {path.name: files.sha256(path) for path in target.parent.iterdir() if path.name != "timing.json"}
    target.unlink()
    done = snakemake(finished, str(target.relative_to(finished)), *SMOKE)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name: files.sha256(path) for path in target.parent.iterdir() if path.name != "timing.json"} == before


def test_every_file_of_a_release_is_promised(finished):
    results = finished / "results/smoke"
    wanted = {name for name in contents.of_results(results) if not name.startswith("benchmarks/")}
    wanted |= set(contents.policies(results)[0])
    said = snakemake(finished, "-n", "--forceall", "--workflow-profile", "none", *SMOKE).stdout
    promised = re.search(r"^rule all:\n    input: (.*)$", said, re.MULTILINE)[1].split(", ")
    assert {name.removeprefix("results/smoke/") for name in promised} == wanted


@pytest.mark.parametrize(
    ("lost", "made"),
    [
        ("runs/good/behaviour_cloning", {"train": 1}),
        ("scores.csv", {"compute_statistics": 1}),
        ("figures/figure3.png", {"draw_figure": 1, "write_report": 1}),
    ],
)
def test_a_lost_file_of_finished_results_is_made_again(finished, tmp_path, lost, made):
    assert made.items() <= planned_without(lost, finished, tmp_path).items()


def test_a_dataset_of_finished_results_may_be_deleted(finished, tmp_path):
    assert not {"collect_dataset", "train"} & planned_without("datasets/good.h5", finished, tmp_path).keys()


def planned_without(lost: str, finished: Path, beside: Path) -> dict[str, int]:
    kept = shutil.move(finished / "results/smoke" / lost, beside / "kept")
    try:
        return planned(finished)
    finally:
        shutil.move(kept, finished / "results/smoke" / lost)


@pytest.mark.parametrize("scale", config.SCALES)
def test_every_scale_can_be_planned(finished, scale):
    plan = planned(finished, "--cores", "1", "--config", f"scale={scale}", "results=elsewhere")
    assert plan["draw_figure"] == len(figures.FIGURES)
    assert plan["draw_claims"] == 1
    settings = config.load(scale)
    assert plan["train"] == sum(len(config.stacks(settings, dataset)) for dataset in settings["experiments"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scale=huge", "unknown scale 'huge'"),
        ("traning={batch: 3}", "unknown key 'traning'"),
        ("training={batch: 0}", "training.batch"),
    ],
)
def test_a_bad_setting_is_one_clear_error(finished, setting, message):
    done = snakemake(finished, "-n", "--cores", "1", "--config", *(["scale=smoke"] if "scale" not in setting else []), setting)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_a_broken_dataset_fails_its_runs_alone(finished, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
    data = folder / "results/smoke/datasets/good.h5"
    written = data.stat()
    data.write_bytes(data.read_bytes()[:1000])
    os.utime(data, ns=(written.st_atime_ns, written.st_mtime_ns))  # as a failing disk does: nothing looks newer
    shutil.rmtree(folder / "results/smoke/runs/good/behaviour_cloning")
    shutil.rmtree(folder / "results/smoke/runs/good_medium/behaviour_cloning")
    targets = [f"results/smoke/runs/{name}/behaviour_cloning/seeds-0-1/run.json" for name in ("good", "good_medium")]
    done = snakemake(folder, "--keep-going", *targets, *SMOKE)
    assert done.returncode != 0
    assert "changed or truncated" in done.stdout + done.stderr
    assert "exit status 2" in done.stdout + done.stderr  # the command's own: tee does not hide it
    assert not (folder / targets[0]).exists()
    assert (folder / targets[1]).exists(), done.stdout[-3000:] + done.stderr[-3000:]


def test_lint(finished, tmp_path):
    done = snakemake(finished, "--lint")
    complaints = set(re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.MULTILINE))
    assert complaints == {"Specify a conda environment or container for each rule.:"}  # none chosen here: no images are there
    done = snakemake(with_images(finished, tmp_path), "--lint", "--config", "containers=on", path=tmp_path)
    shutil.rmtree(finished / "containers" / "images")
    assert not re.findall(r"^    \* (.*)$", done.stdout + done.stderr, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["snakefmt", "--check", "Snakefile", "workflow"]]
)
def test_formatted(command):
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run([program, *command[1:]], cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions_agree():
    import pjap_bench

    citation = files.read_yaml(config.ROOT / "CITATION.cff")
    assert citation["version"] == pjap_bench.__version__


def test_the_name_of_the_folder_is_no_shell_code(tmp_path):
    folder = copy_tree(tmp_path / "a $(touch PWNED) {b}'s")
    (folder / ".venv").symlink_to(sys.prefix)
    python = folder / ".venv" / Path(sys.executable).relative_to(sys.prefix)
    done = snakemake(folder, "results/smoke/configuration.json", *SMOKE, python=python)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / "PWNED").exists()


def test_snakemakes_own_report(finished):
    done = snakemake(finished, *SMOKE, "--report", "snakemake.zip")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (finished / "snakemake.zip").stat().st_size > 10_000


def test_the_commands_of_the_workflow_are_documented():
    done = subprocess.run(
        [sys.executable, "-m", "pjap_bench", "--help"], cwd=config.ROOT, capture_output=True, text=True, check=True
    )
    for path in (config.ROOT / "workflow" / "rules").glob("*.smk"):
        for command in re.findall(r"python -m pjap_bench ([\w-]+)", path.read_text()):
            assert command in done.stdout


def test_settings_that_are_not_json(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pjap_bench",
        "simulate-games",
        "--settings",
        "{",
        "--label",
        json.dumps({}),
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not JSON" in done.stderr
