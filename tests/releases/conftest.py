"""Finished results of the scale smoke and of a sweep at it, small and quick: games of a few runs, made-up training with true
stamps and settings."""

import json
import shutil
from pathlib import Path

import pytest

from pjap_bench import __main__ as command_line
from pjap_bench import config, files
from pjap_bench.provenance import source_digest, stamp
from pjap_bench.releases import manifest, pinning, redrawing
from tests.report import test_report as reported
from tests.statistics import fabricate

CLAIMS = config.ROOT / "workflow" / "claims.yaml"
SMALL = {
    "experiments": {
        "good": {"seeds": 3, "updates": 1000, "arms": ["maddpg_cql", "maddpg_cql_pjap"]},
        "good_medium": {"seeds": 1, "updates": 500, "arms": ["maddpg_cql", "maddpg_cql_pjap"]},
    },
    "statistics": {"repetitions": 200, "repetitions_improvement": 200, "repetitions_curves": 100},
    "games": {
        "figure2": {"runs": 5, "steps": 600},
        "figure3": {"seeds": 20, "steps": 100},
        "figure4": {"datasets": 5},
        "figure5": {"runs": 5, "scan": {"alphas": [5], "runs": 5}},
        "errata": {"steps": 5, "datasets": 2},
    },
    "datasets": {"episodes_at_most": 4},  # as the made-up data have
    "robustness": {"datasets": 2, "points": 50, "epochs": 10},
    "jobs": {"runs_per_stack": 1},
}


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """Finished results. Tests that change something take `results`, a copy."""
    results = tmp_path_factory.mktemp("releases") / "smoke"
    configuration = config.recorded(config.load("smoke", SMALL))
    label = {"scale": "smoke"}
    fabricate.fabricate(results)
    write_runs(results, configuration)
    reported.describe(results)
    for name in reported.DATASETS:
        for kind, stage in ((".json", "collection"), (".description.json", "description")):
            path = results / "datasets" / f"{name}{kind}"
            files.write_json(path, files.read_json(path) | {"stamp": stamp(f"pjap_bench.datasets.{stage}", label)})
        files.write_json(results / "datasets" / f"{name}.croissant.json", {"name": name, "citeAs": f"dataset {name}"})
        (results / "datasets" / f"{name}.h5").write_bytes(b"data")
    mapped = configuration["robustness"] | {key: configuration["games"][key] for key in ("seed", "twin_peaks")}
    for name, settings in (("simulate-games", configuration["games"]), ("map-robustness", mapped)):
        words = [name, "--settings", json.dumps(settings), "--label", json.dumps(label), "--output", str(results / "games")]
        assert command_line.main(words) == 0
    files.write_json(results / "configuration.json", configuration)
    files.write_text(results / "notebook.html", f"<p>code {source_digest('pjap_bench.notebook.export')}</p>")
    files.write_text(results / "benchmarks" / "train.tsv", "s\tmax_rss\tcpu_time\n1.5\t100\t1.2\n")
    files.write_text(results / "logs" / "train.log", "a log")
    shutil.copyfile(CLAIMS, results / "claims.yaml")
    conclude(results, configuration)
    (results / "claims.yaml").unlink()
    return results


@pytest.fixture(scope="session")
def swept(made) -> Path:
    """A finished sweep on the data of these results. Tests that change something copy it."""
    results = made / "sweeps" / "what_decides"
    one = {"experiments": {"good": {"seeds": 2, "updates": 500}}}
    configuration = config.recorded(config.swept(config.load("smoke", config.merge(SMALL, one)), "what_decides"))
    shutil.copytree(made / "datasets", results / "datasets")
    write_runs(results, configuration)
    files.write_json(results / "configuration.json", configuration)
    conclude(results, configuration)
    return results


def write_runs(results: Path, configuration: dict) -> None:
    """A made-up stack for every arm and seed of a configuration, stamped as the trainer would."""
    for dataset, experiment in config.evaluated(configuration)["experiments"].items():
        shutil.rmtree(results / "runs" / dataset, ignore_errors=True)
        for arm in experiment["arms"]:
            trained = {arm: config.training_settings(configuration, dataset, arm)}
            for seed in experiment["seeds"]:
                folder = fabricate.write_job(results, dataset, arm, [seed], experiment["updates"])
                origin = stamp("pjap_bench.training", {"scale": "smoke"}, [seed], {dataset: reported.DATASETS[dataset]})
                environment = {key: origin[key] for key in ("image", "python", "processor", "packages")} | {"device": "cpu"}
                environments = [{"from": 0, "environment": environment}]
                fabricate.seal(folder, arms=trained, stamp=origin, environments=environments)
                (folder / "policies.safetensors").write_bytes(b"policies")


def conclude(results: Path, configuration: dict) -> None:
    """What follows from runs and games, made by the commands that redraw a release, which are the workflow's."""
    files.write_json(results / "statistics.provenance.json", {"settings": config.evaluated(configuration)})
    about = {"scale": "smoke", "regime": configuration["regime"]}
    apart, then = redrawing.commands(results, about, results)
    for words in [*apart, *then]:
        assert command_line.main(words) == 0


@pytest.fixture
def results(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "smoke")


@pytest.fixture(scope="session")
def pinned(made) -> Path:
    """A release of these results. Tests that change something take `release`, a copy."""
    return pinning.pin(made, "first", made.parent / "pinned", CLAIMS)


@pytest.fixture
def release(pinned, tmp_path) -> Path:
    return shutil.copytree(pinned, tmp_path / "pinned" / "first")


def change(path: Path, **changes) -> None:
    """Changes keys of a JSON file."""
    path.write_text(json.dumps(files.read_json(path) | changes))


def reseal(release: Path) -> None:
    """Gives the manifest the hashes of the files as they are now: what a liar would do, or another program."""
    path = release / manifest.NAME
    names = manifest.found(release) - {manifest.NAME}
    change(path, files={name: manifest.entry(release / name) for name in sorted(names)})
