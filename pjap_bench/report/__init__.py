"""The report of a scale: one self-contained HTML page, verdict first. Reads files only, imports no torch.

Everything on the page comes from the results folder; only the last section, timings, differs by nature from run to run.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import markupsafe
import pandas as pd

from pjap_bench import figures
from pjap_bench.datasets import cards, description
from pjap_bench.errors import BenchError
from pjap_bench.figures import MINIMUM_SEEDS, PUBLISHED_FIGURE6
from pjap_bench.files import read_json, write_text
from pjap_bench.report import deviations
from pjap_bench.report.pictures import CLAIMS, DATASET_ALTERNATIVE, FIGURES, embedded
from pjap_bench.statistics.results import stack_files

PAPER = """@misc{tilbury2024coordination,
  title         = {Coordination Failure in Cooperative Offline {MARL}},
  author        = {Tilbury, Callum Rhys and Formanek, Claude and Beyers, Louise and Shock, Jonathan and Pretorius, Arnu},
  year          = {2024},
  eprint        = {2407.01343},
  archivePrefix = {arXiv}
}"""
STATUS_CLASSES = {  # statuses in the order they are counted, and their CSS class
    "reproduced": "reproduced",
    "reproduced on generated data": "reproduced",
    "not reproduced": "not-reproduced",
    "inconclusive": "inconclusive",
    "not testable at this scale": "not-testable",
}
FIGURE6_CAPTION = (
    "Two-agent HalfCheetah. a, c: final return (the final policy, never the best checkpoint), bars are 95 % percentile bootstrap "
    "intervals over seeds, dots are seeds; these intervals under-cover at few seeds (about 90 % for a mean of 10 normal values), "
    "so no verdict rests on them. The median is over seeds; with one task rliable’s median is the mean. b, d: distances with "
    "95 % bands; the axis is cut above, where the first updates fall steeply. All arms but MADDPG+CQL and MADDPG+CQL+PJAP, the "
    "uniform sample and the noise floor are ours."
)
COMPARISONS_CAPTION = (
    "Every dot is a seed. Intervals of differences are Student's t (95 %), the basis of verdicts; those of the probability of a "
    "better run and the bands of the profiles are percentile bootstraps over runs, which cover less than 95 % at few seeds. With "
    f"fewer than {MINIMUM_SEEDS} seeds no probability, interval or band is drawn (statistics.csv has them)."
)
ROBUSTNESS_CAPTION = (
    "Beside the map's own question: data whose centre moves along the diagonal until the optimum lies outside them, and other "
    "kernels and distances (an alpha means something else for each, so compare the best of a row). Bars are 95 % intervals."
)
SURFACES = "On surfaces of R, brighter is higher."
READING = {  # what a figure of the games does not say itself, after its own caption
    **dict.fromkeys(("figure1", "figure1_seeds", "figure2", "figure3", "figure4"), SURFACES),
    "figure5": f"{SURFACES[:-1]}; below −0.5 it is all one colour. The panels of the dataset show [−1, 1]²: of wide spreads some "
    "points lie outside.",
}
WORDINGS = (5, 6)  # of games/experiments/errata.py: no errors, but words that are wider than what holds
ESTIMATE_ROWS = {  # quantity and normalisation of the table of scores, and how they are called there
    ("final_return", "raw"): "Final return",
    ("final_return", "reference"): "Final return, reference normalisation",
    ("last_five_return", "raw"): "Mean of the last five evaluations (extra)",
    ("distance_sampled", "raw"): "Distance of sampled actions, last fifth",
    ("distance_uniform", "raw"): "Distance on uniform samples, last fifth",
    ("distance_selected", "raw"): "The same, weighted by PJAP's formula: selection alone",
}


def write_report(results: Path, settings: dict, stamp: dict) -> None:
    """Writes report.html into `results`.

    Args:
        results: folder of a scale with verdict.json, statistics.csv, datasets/, games/, runs/, figures/ and, if the
            workflow ran, benchmarks/.
        settings: {"arms": {...}, "experiments": {...}, "statistics": {...}}.
        stamp: where the page comes from.

    Raises:
        BenchError: something that the page shows is missing.
    """
    verdict = read_json(results / "verdict.json")
    timings, benchmarks = _timings(results, settings), _benchmarks(results, settings)
    datasets = _datasets(results, settings)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "coded": _coded, "reason": _reason}
    page = environment.get_template("page.html.jinja").render(
        stamp=stamp,
        paper=PAPER,
        settings=settings,
        verdict=verdict,
        counts=", ".join(f"{verdict['counts'][name]} {name}" for name in STATUS_CLASSES if verdict["counts"][name]),
        status_classes=STATUS_CLASSES,
        figures=_figures(results, settings),
        of_runs=figures.OF_STATISTICS,
        evidence=_evidence(results, verdict),
        errata=read_json(results / "games" / "errata.json"),
        wordings=WORDINGS,
        datasets=datasets,
        deviations=deviations.of_settings(results, settings, datasets),
        always_deviating=deviations.ALWAYS,
        scores=_scores(results, settings),
        runs=_runs(results, settings),
        stamps=_stamps(results, settings, verdict, stamp),
        timings=timings,
        benchmarks=benchmarks,
        costs=_costs(timings, benchmarks),
    )
    write_text(results / "report.html", page)


def _figures(results: Path, settings: dict) -> dict[str, dict]:
    """Every figure by name: title, caption, alternative text and picture.

    Raises:
        BenchError: a figure that has no words here.
    """
    captions = read_json(results / "games" / "captions.json")
    captions = {name: f"{caption} {READING.get(name, '')}".strip() for name, caption in captions.items()} | {
        "robustness": f"{read_json(results / 'games' / 'robustness.json')['finding']} Every cell: games/robustness.csv.",
        "robustness_beyond": ROBUSTNESS_CAPTION,
        "figure6": f"{FIGURE6_CAPTION} {PUBLISHED_FIGURE6}",
        "comparisons": COMPARISONS_CAPTION,
    }
    words = {"figure6": _figure6_text(results, settings)}
    shown = {}
    places = {"FIGURES in pjap_bench/report/pictures.py": FIGURES, "the captions in pjap_bench/report/__init__.py": captions}
    for name in figures.FIGURES:
        for place, named in places.items():
            if name not in named:
                raise BenchError(f"the figure {name} is not there", where=place, do="add it, see 'A figure' in docs/extend.md")
        picture = FIGURES[name]
        text = f"{picture.alternative} {words.get(name, '')}".strip()
        shown[name] = {"title": picture.title, "caption": captions[name], "alternative": text}
        shown[name] |= embedded(results / "figures" / f"{name}.png")
    return shown


def _evidence(results: Path, verdict: dict) -> dict[str, dict]:
    """The small figure of each claim of the verdict that has one."""
    judged = [entry["id"] for entry in verdict["claims"] if entry["id"] in CLAIMS]
    return {claim: {"alternative": CLAIMS[claim]} | embedded(results / "figures" / "claims" / f"{claim}.png") for claim in judged}


def _read_statistics(results: Path) -> pd.DataFrame:
    path = results / "statistics.csv"
    if not path.exists():
        raise BenchError("the statistics are not there", where=path, do="run the statistics step")
    return pd.read_csv(path)


def _scores(results: Path, settings: dict) -> list[dict]:
    """The mean over seeds of each arm with its percentile interval, one row per dataset, quantity and arm."""
    statistics = _read_statistics(results)
    means = statistics[(statistics["estimator"] == "mean") & (statistics["method"] != "t")]
    rows = []
    for dataset, experiment in settings["experiments"].items():
        for (quantity, normalisation), title in ESTIMATE_ROWS.items():
            for arm in experiment["arms"]:
                chosen = means[
                    (means["dataset"] == dataset)
                    & (means["arm"] == arm)
                    & (means["quantity"] == quantity)
                    & (means["normalisation"] == normalisation)
                ]
                for row in chosen.to_dict("records"):
                    label = settings["arms"][arm]["label"]
                    rows.append(row | {"title": title, "label": label, "interval": pd.notna(row["low"])})
    return rows


def _figure6_text(results: Path, settings: dict) -> str:
    """What Figure 6 shows, in numbers, for who cannot see it."""
    parts = []
    for row in _scores(results, settings):
        if (row["quantity"], row["normalisation"]) in {("final_return", "raw"), ("distance_sampled", "raw")}:
            parts.append(f"{row['dataset']}, {row['label']}, {row['title'].lower()}: {_number(row['value'])}")
    return "Means over seeds: " + "; ".join(parts) + "."


def _of_every_stack(results: Path, settings: dict, name: str) -> Iterator[Path]:
    """That file of every stack of the scale, dataset after dataset."""
    for dataset, experiment in settings["experiments"].items():
        yield from stack_files(results / "runs" / dataset, experiment, name)


def _description(results: Path, name: str) -> dict:
    return description.read(results / "datasets" / f"{name}.description.json")


def _dataset_names(results: Path, settings: dict) -> list[str]:
    """The datasets of the experiments, each after those that it is mixed from."""
    names = []
    for dataset in settings["experiments"]:
        names += [*(part.dataset for part in cards.parts(_description(results, dataset)["card"])), dataset]
    return list(dict.fromkeys(names))


def _datasets(results: Path, settings: dict) -> list[dict]:
    """What the page shows of each dataset: its description, with the policies' rows, the matrix as shown and the figure.

    Raises:
        BenchError: description and data are not of one file.
    """
    shown = []
    for name in _dataset_names(results, settings):
        found, summary = _description(results, name), read_json(results / "datasets" / f"{name}.json")
        if found["file"]["sha256"] != summary["sha256"]:
            raise BenchError("describes another file", where=f"{name}.description.json", do="describe the dataset again")
        statistics = found["statistics"]
        rows = [
            {"measured": measured, "card": stated}
            for measured, stated in zip(statistics["policies"], found["behaviour"], strict=True)
        ]
        means = ", ".join(
            f"{row['measured']['name']} {row['measured']['return']['mean']:.0f}" for row in rows if row["measured"]["return"]
        )
        picture = {"alternative": f"{DATASET_ALTERNATIVE} Mean returns: {means}."}
        picture |= embedded(results / "figures" / f"dataset_{name}.png")
        shown.append(found | {"summary": summary, "rows": rows, "picture": picture})
    return shown


def _runs(results: Path, settings: dict) -> list[dict]:
    """One row per dataset and arm: seeds, updates and the settings of its runs as JSON."""
    rows = []
    for dataset, experiment in settings["experiments"].items():
        all_jobs = [read_json(path) for path in stack_files(results / "runs" / dataset, experiment, "run.json")]
        for arm in experiment["arms"]:
            jobs = [job for job in all_jobs if arm in job["arms"]]
            if not jobs:
                raise BenchError(f"no finished run of {arm}", where=results / "runs" / dataset, do="run the training step")
            rows.append(
                {
                    "dataset": dataset,
                    "label": settings["arms"][arm]["label"],
                    "seeds": experiment["seeds"],
                    "updates": experiment["updates"],
                    "machines": sorted({_machine(each["environment"]) for job in jobs for each in job["environments"]}),
                    "settings": json.dumps(jobs[0]["arms"][arm], indent=1, sort_keys=True),
                }
            )
    return rows


def _machine(environment: dict) -> str:
    """The processor, and the device if training did not run on it."""
    device = environment["device"]
    return environment["processor"] + (f" with {device}" if device != "cpu" else "")


def _stamps(results: Path, settings: dict, verdict: dict, stamp: dict) -> list[tuple[str, dict]]:
    """The provenance of every stage of this page, by the stage's name."""
    stamps = [
        ("Games (Figures 1 to 5)", read_json(results / "games" / "provenance.json")),
        ("Robustness map", read_json(results / "games" / "robustness.json")["stamp"]),
    ]
    for name in _dataset_names(results, settings):
        stamps.append((f"Dataset {name}", read_json(results / "datasets" / f"{name}.json")["stamp"]))
        stamps.append((f"Statistics of dataset {name}", _description(results, name)["stamp"]))
    training = {}
    for path in _of_every_stack(results, settings, "run.json"):
        run_stamp = read_json(path)["stamp"]
        training.setdefault((run_stamp["code"], run_stamp["image"]), run_stamp)
    stamps += [("Training", run_stamp) for run_stamp in training.values()]
    stamps.append(("Statistics", read_json(results / "statistics.provenance.json")["stamp"]))
    return [*stamps, ("Verdict", verdict["stamp"]), ("This page", stamp)]


def _timings(results: Path, settings: dict) -> list[dict]:
    """timing.json of every stack of training, with its energy in kJ (nan where it was not measured)."""
    rows = []
    for path in _of_every_stack(results, settings, "timing.json"):
        timing = read_json(path)
        joules = timing.get("processor_joules")  # results of earlier code have none
        energy = {"kilojoules": float("nan") if joules is None else joules / 1000}
        rows.append({"job": "/".join(path.parent.parts[-3:])} | timing | energy)
    return rows


def _costs(timings: list[dict], benchmarks: list[dict]) -> str:
    """What all of it took, in a sentence or two."""
    said = []
    if benchmarks:
        hours = pd.Series([row["processor"] for row in benchmarks]).sum() / 3600
        memory = pd.Series([row["memory"] for row in benchmarks]).max() / 1000
        said.append(
            f"All jobs together took {_number(hours)} hours of processor time, the largest {_number(memory)} GB of memory."
        )
    if all(pd.isna(row["kilojoules"]) for row in timings):
        said.append(
            "Energy was not measured: the machine showed no counters of its processor (RAPL), or its code did not read them."
        )
    else:
        said.append("Energy is the whole processor's while a stack trained, with all that ran beside it.")
    return " ".join(said)


def _benchmarks(results: Path, settings: dict) -> list[dict]:
    """Seconds, largest resident memory (MB) and processor seconds of every job that Snakemake benchmarked.

    Files of figures, datasets and stacks that are no longer part of the result lie beside, and are left out.
    """
    in_use = {"", *figures.FIGURES, *_dataset_names(results, settings)}
    in_use |= {path.parent.relative_to(results / "runs").as_posix() for path in _of_every_stack(results, settings, "run.json")}
    rows = []
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        name = path.relative_to(results / "benchmarks").with_suffix("").as_posix()
        if name.partition("/")[2] not in in_use:
            continue
        table = pd.read_csv(path, sep="\t", na_values=["-"])
        for row in table.to_dict("records"):
            measured = {"seconds": row["s"], "memory": row.get("max_rss"), "processor": row.get("cpu_time")}
            rows.append({"job": name} | measured)
    return rows


def _reason(text: str) -> tuple[str, list[str]]:
    """A claim's reason; where it names more than three estimates, its beginning and a list of them."""
    start, region, rest = text.partition(" region: ")
    items = []
    for group in rest.removesuffix(").").split("); "):
        members, _, needs = group.rpartition(" (")
        *others, last = members.split("; ")
        items += [*others, f"{last} ({'all of these: ' if others else ''}{needs})"]
    return (f"{start}{region.rstrip()}", items) if len(items) > 3 else (text, [])


def _coded(text: str) -> markupsafe.Markup:
    """Text with `code` in backticks, as HTML."""
    return markupsafe.Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))


def _number(value: float) -> str:
    """Four significant digits, a true minus sign, a dash for what was not measured."""
    return "–" if pd.isna(value) else f"{value:.4g}".replace("-", "−")
