"""Which files of a results folder a release takes: all that judging and redrawing need, and what they gave.

Results are those of a scale, or of a sweep at a scale, whose configuration names it.
"""

from collections.abc import Iterator
from pathlib import Path

from pjap_bench import config, figures, files
from pjap_bench.datasets import cards, description
from pjap_bench.errors import BenchError
from pjap_bench.statistics import sweep
from pjap_bench.statistics.results import stack_files

CONFIGURATION = "configuration.json"
STATISTICS = ("statistics.csv", "scores.csv", "curves.csv", "profiles.csv", "marl_eval.json", "statistics.provenance.json")
GAMES = (*(f"figure{number}.npz" for number in range(1, 6)), "random_datasets.npz", "robustness.csv")
GAMES += ("captions.json", "errata.json", "estimates.json", "provenance.json", "robustness.json")
RUN = ("run.json", "evaluations.csv", "metrics.csv", "timing.json")
POLICIES = "policies.safetensors"
POLICIES_AT_MOST = 50 * 2**20  # bytes, all runs together

OF_SWEEP = (*sweep.FILES, "sweep.png", "sweep.pdf")

#: what is made anew from the rest of a release
REDRAWN = (*STATISTICS, "verdict.json", "report.html", *OF_SWEEP)
REDRAWN_FOLDER = "figures/"


def of_results(results: Path) -> list[str]:
    """The files that every release of these results has, as sorted paths relative to the folder; all of them are there.

    Raises:
        BenchError: no such folder; results that are unfinished.
    """
    if not results.is_dir():
        raise BenchError("there is no such folder of results", where=results, do=f"make them: {command(results)}")
    settings = settings_of(results)
    names = [CONFIGURATION, *STATISTICS]
    datasets = dataset_names(results, settings)
    names += [f"datasets/{name}{kind}" for name in datasets for kind in (".json", ".description.json", ".croissant.json")]
    names += [f"{stack}/{name}" for stack in stacks(results, settings) for name in RUN]
    if sweep_of(results):
        names += OF_SWEEP
    else:
        names += ["verdict.json", "report.html", "notebook.html", *(f"games/{name}" for name in GAMES)]
        drawn = [*figures.FIGURES, *(f"dataset_{name}" for name in datasets)]
        names += [f"figures/{name}.{kind}" for name in drawn for kind in ("png", "pdf")]
        names += [f"figures/claims/{claim}.png" for claim in figures.CLAIMS]
    for name in names:
        if not (results / name).is_file():
            raise _unfinished(results, name)
    names += [path.relative_to(results).as_posix() for path in (results / "benchmarks").rglob("*.tsv")]
    return sorted(names)


def policies(results: Path) -> tuple[list[str], list[str]]:
    """The final policies of the runs, and what of them is left out, in words: they are taken where they are small."""
    names = [f"{stack}/{POLICIES}" for stack in stacks(results, settings_of(results))]
    names = [name for name in names if (results / name).is_file()]
    size = sum((results / name).stat().st_size for name in names)
    if size > POLICIES_AT_MOST:
        return [], [f"the final policies (runs/**/{POLICIES}, {size} bytes)"]
    return names, []


def sweep_of(results: Path) -> dict | None:
    """The sweep that results are of (see `config.swept`); None: they are those of a scale.

    Raises:
        BenchError: a configuration that says something else of a sweep.
    """
    path = results / CONFIGURATION
    return sweep_in(files.read_json(path), path) if path.is_file() else None


def sweep_in(configuration: dict, where: Path) -> dict | None:
    """The sweep that a configuration is of, checked; None: it is that of a scale."""
    if not isinstance(configuration, dict) or "sweep" not in configuration:
        return None
    swept = configuration["sweep"]
    config.validate(swept, "swept", where)
    arms = [set(variant["arms"]) for variant in swept["variants"].values()]
    if sorted(swept["order"]) != sorted(swept["variants"]) or any(each != set(swept["arms"]) for each in arms):
        raise BenchError("the order or the arms of the sweep are not those of its variants", where=where, do="run it again")
    return swept


def conclusion(results: Path) -> str:
    """The file that all others lead to; its stamp is the results'."""
    return "sweep.provenance.json" if sweep_of(results) else "verdict.json"


def command(results: Path) -> str:
    """The command that makes the results in a folder of the workflow's, or finishes them."""
    if results.parent.name == "sweeps":
        return command_of(results.parent.parent.name, results.name)
    return command_of(results.name)


def command_of(scale: str, swept: str | None = None) -> str:
    """The command that makes the results of a scale, or of a sweep at it."""
    return f"make sweep SWEEP={swept} SCALE={scale}" if swept else f"make reproduce SCALE={scale}"


def settings_of(results: Path) -> dict:
    """What the statistics were told (see `config.evaluated`).

    Raises:
        BenchError: there are no statistics, or not of this program.
    """
    path = results / "statistics.provenance.json"
    if not path.is_file():
        raise _unfinished(results, path.name)
    settings = files.read_json(path).get("settings", {})
    if not isinstance(settings.get("experiments"), dict):
        raise BenchError("is no provenance of statistics", where=path, do="run the statistics step again")
    return settings


def dataset_names(results: Path, settings: dict) -> list[str]:
    """The datasets of the experiments and those that they are mixed from, sorted."""
    names = set(settings["experiments"])
    for name in settings["experiments"]:
        path = results / "datasets" / f"{name}.description.json"
        if not path.is_file():
            raise _unfinished(results, f"datasets/{path.name}")
        names |= {part.dataset for part in cards.parts(description.read(path)["card"])}
    return sorted(names)


def stacks(results: Path, settings: dict) -> Iterator[str]:
    """The folders of the runs that trained side by side, relative to the results."""
    for dataset, experiment in settings["experiments"].items():
        named = [f"runs/{dataset}/{stack}" for stack in experiment.get("stacks", [])]
        paths = stack_files(results / "runs" / dataset, experiment, "run.json")
        # All that are named: one that is missing is to be missed.
        yield from named or [path.parent.relative_to(results).as_posix() for path in paths]


def _unfinished(results: Path, name: str) -> BenchError:
    do = f"finish them: {command(results)}"
    return BenchError(f"these results are not finished: '{name}' is not there", where=results, do=do)
