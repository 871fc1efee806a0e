"""The command line: `python -m pjap_bench COMMAND ...`, one command per step of the workflow.

Settings come as JSON, as the workflow passes them; Snakemake's --printshellcmds shows complete examples.
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path

from pjap_bench.errors import BenchError, TimeIsUp


def main(arguments: list[str] | None = None) -> int:
    """Runs one command: 0 if it went well, 2 after bad input (one line on standard error), 75 if it is to be called again."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TimeIsUp as stopped:
        print(stopped, file=sys.stderr)
        return 75  # EX_TEMPFAIL
    return 0


def simulate_games(given: argparse.Namespace) -> None:
    """Figures 1 to 5: simulates the polynomial games."""
    from pjap_bench.files import sha256_of_json
    from pjap_bench.games import experiments
    from pjap_bench.provenance import stamp

    origin = stamp("pjap_bench.games.experiments", given.label) | {"settings": sha256_of_json(given.settings)}
    experiments.simulate(given.settings, origin, given.output)


def export_notebook(given: argparse.Namespace) -> None:
    """Writes the notebook on the games, as rendered, as one static page."""
    from pjap_bench.notebook.export import export
    from pjap_bench.provenance import stamp

    export(given.output, given.settings, stamp("pjap_bench.notebook.export", given.label))


def map_robustness(given: argparse.Namespace) -> None:
    """The robustness map of PJAP on Twin Peaks."""
    from pjap_bench.files import sha256_of_json
    from pjap_bench.games import robustness
    from pjap_bench.provenance import stamp

    origin = stamp("pjap_bench.games.robustness", given.label) | {"settings": sha256_of_json(given.settings)}
    robustness.simulate(given.settings, origin, given.output, given.processes)


def collect(given: argparse.Namespace) -> None:
    """Collects a dataset from its behaviour policies."""
    from pjap_bench.datasets import collection
    from pjap_bench.provenance import stamp

    origin = stamp("pjap_bench.datasets.collection", given.label)
    collection.collect(given.dataset, given.episodes, given.output, origin, given.processes)


def fetch(given: argparse.Namespace) -> None:
    """Downloads the file of a published dataset: mirrors, resume, length and hash."""
    from pjap_bench.datasets import cards
    from pjap_bench.datasets.fetch import fetch as download

    card = cards.load(given.dataset)
    download(card.get("urls", []), given.output, size=card.get("size"), sha256=card.get("sha256"))


def convert_vault(given: argparse.Namespace) -> None:
    """Converts one uid of a fetched archive of flashbax vaults, and compares it with its card."""
    from pjap_bench.datasets import vault
    from pjap_bench.provenance import stamp

    vault.convert_archive(given.dataset, given.archive, given.output, stamp("pjap_bench.datasets.vault", given.label))


def import_dataset(given: argparse.Namespace) -> None:
    """Imports a user's HDF5 file or a Minari dataset."""
    from pjap_bench.datasets import cards, imports
    from pjap_bench.provenance import stamp

    imports.import_dataset(cards.load(given.dataset), given.file, given.output, stamp("pjap_bench.datasets.imports", given.label))


def export_dataset(given: argparse.Namespace) -> None:
    """Writes a dataset in another format: Minari, or HDF5 with D4RL's flat keys."""
    from pjap_bench.datasets import exports

    if given.format == "d4rl":
        exports.to_d4rl(given.dataset, given.output)
    else:
        print(exports.to_minari(given.dataset, given.output))


def mix(given: argparse.Namespace) -> None:
    """Concatenates datasets into a mixture."""
    from pjap_bench.datasets import collection, hdf5
    from pjap_bench.provenance import stamp

    parts = dict(zip((path.stem for path in given.parts), given.parts, strict=True))
    hashes = {name: hdf5.read_summary(path)["sha256"] for name, path in parts.items()}
    collection.mix(given.dataset, parts, given.output, stamp("pjap_bench.datasets.collection", given.label, datasets=hashes))


def list_datasets(given: argparse.Namespace) -> None:
    """Lists every dataset as a table, or shows one card in words, with --file also the statistics of its data."""
    from pjap_bench.datasets import cards, description, hdf5, listing

    if given.markdown:
        listing.renew(given.markdown)
        return
    dataset = hdf5.read(given.file) if given.file else None
    name = given.name or (dataset and dataset.attributes["dataset"])
    if name is None:
        print(listing.table())
        return
    card = cards.load(name)
    if dataset and dataset.attributes["dataset"] != name:
        raise BenchError(
            f"holds '{dataset.attributes['dataset']}', not '{name}'", where=given.file, do="give the file's own name"
        )
    print(listing.words(card))
    if dataset:
        behaviour = description.behaviour_policies(dataset, card)
        print(f"\n{listing.statistics(description.describe(dataset, behaviour, card.get('published')))}")


def describe(given: argparse.Namespace) -> None:
    """Writes the statistics of a dataset, and its Croissant description."""
    from pjap_bench.datasets import description, hdf5
    from pjap_bench.provenance import stamp

    hashes = {given.dataset.stem: hdf5.read_summary(given.dataset)["sha256"]}
    origin = stamp("pjap_bench.datasets.description", given.label, datasets=hashes)
    description.write(given.dataset, given.output, given.croissant, origin)


def doctor(given: argparse.Namespace) -> None:
    """Says what this machine has for the workflow, what will be used, what is missing and how to get it."""
    from pjap_bench import doctor as examiner

    findings = examiner.examine(given.containers, given.runtime, given.cuda)
    print(examiner.words(findings))


def train(given: argparse.Namespace) -> None:
    """Trains some seeds of one or more arms side by side on one dataset."""
    from pjap_bench import training
    from pjap_bench.datasets import hdf5
    from pjap_bench.provenance import stamp

    if not given.settings or not all(isinstance(own, dict) for own in given.settings.values()):
        raise BenchError("no settings by arm", where="--settings", do='give {"ARM": {every setting of training}, ...}')
    if len(set(given.seeds)) < len(given.seeds):
        raise BenchError("a seed is there twice", where="--seeds", do="name every seed once")
    hashes = {given.dataset.stem: hdf5.read_summary(given.dataset)["sha256"]}
    origin = stamp("pjap_bench.training", given.label, seeds=given.seeds, datasets=hashes)
    job = {key: getattr(given, key) for key in ("checkpoint_every", "threads", "device", "evaluators", "stop_after")}
    training.train(given.dataset, given.settings, given.seeds, job, origin, given.output, given.checkpoints)


def summarise(given: argparse.Namespace) -> None:
    """Statistics over seeds from the runs of a scale."""
    from pjap_bench.statistics import summary

    summary.summarise(given.results, given.settings, _stamp_of_runs("pjap_bench.statistics.summary", given))


def judge(given: argparse.Namespace) -> None:
    """The verdict on every claim; prints it as a table."""
    from pjap_bench.statistics import verdict

    origin = _stamp_of_runs("pjap_bench.statistics.verdict", given)
    print(verdict.format_table(verdict.judge(given.results, given.settings, origin, given.claims)))


def draw(given: argparse.Namespace) -> None:
    """Draws one figure from the results of a scale."""
    from pjap_bench import figures
    from pjap_bench.figures import style

    origin = _stamp_of_runs(f"pjap_bench.figures.{given.figure}", given)
    style.save(figures.draw(given.figure, given.results, origin), given.results / "figures" / given.figure, origin)


def tabulate_sweep(given: argparse.Namespace) -> None:
    """The table of a sweep from the scores of its arms."""
    from pjap_bench.statistics import sweep

    sweep.tabulate(given.results, given.settings, _stamp_of_runs("pjap_bench.statistics.sweep", given))


def draw_sweep(given: argparse.Namespace) -> None:
    """Draws the figure of a sweep from its table."""
    from pjap_bench.figures import style, sweep

    origin = _stamp_of_runs("pjap_bench.figures.sweep", given)
    style.save(sweep.draw(given.results, origin), given.results / "sweep", origin)


def draw_claims(given: argparse.Namespace) -> None:
    """Draws the small figure of every claim that has one."""
    from pjap_bench.figures import CLAIMS, claims, style
    from pjap_bench.provenance import stamp

    origin = stamp("pjap_bench.figures.claims", given.label)
    for claim in CLAIMS:
        style.save(claims.draw(claim, given.results, origin), given.results / "figures" / "claims" / claim, origin, ("png",))


def draw_dataset(given: argparse.Namespace) -> None:
    """Draws the figure of one dataset from its statistics."""
    from pjap_bench.datasets import description
    from pjap_bench.figures import dataset, style
    from pjap_bench.provenance import stamp

    file = description.read(given.results / "datasets" / f"{given.dataset}.description.json")["file"]
    origin = stamp("pjap_bench.figures.dataset", given.label, datasets={given.dataset: file["sha256"]})
    figure = dataset.draw(given.dataset, given.results, origin)
    style.save(figure, given.results / "figures" / f"dataset_{given.dataset}", origin)


def report(given: argparse.Namespace) -> None:
    """Writes the report of a scale."""
    from pjap_bench.report import write_report

    write_report(given.results, given.settings, _stamp_of_runs("pjap_bench.report", given))


def write_configuration(given: argparse.Namespace) -> None:
    """Writes the configuration beside the results that are made with it."""
    from pjap_bench.files import write_json

    write_json(given.output, given.settings)


def print_verdict(given: argparse.Namespace) -> None:
    """Prints the verdict of results or of a pinned release as a table."""
    from pjap_bench.releases import comparison
    from pjap_bench.statistics import verdict

    print(verdict.format_table(comparison.read_verdict(given.results)), end="")


def pin(given: argparse.Namespace) -> None:
    """Pins finished results as a release: a folder whose every file is known by its sha256."""
    from pjap_bench.releases import manifest, pinning

    release = pinning.pin(given.results, given.name, given.pinned, given.claims)
    about = manifest.read(release)
    size = sum(entry["bytes"] for entry in about["files"].values())
    print(f"{release}: {len(about['files'])} files, {size / 2**20:.1f} MiB, made in {', '.join(about['images'])}")
    if not about["git"]["clean"]:
        print(f"note: git {about['git']['commit']} is not all of this tree's code (changed or no repository)")


def redraw(given: argparse.Namespace) -> None:
    """Makes everything but the runs anew from a pinned release, and compares with it."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from pjap_bench import __main__ as importable  # under its full name, by which a new process finds it
    from pjap_bench.releases import redrawing

    output = given.output or Path("results") / "redrawn" / given.release.resolve().name
    about = redrawing.unpack(given.release, output)
    apart, then = redrawing.commands(given.release, about, output)
    with ProcessPoolExecutor(given.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(importable.run_command, apart))
    for command in then:
        run_command(command)
    found = redrawing.findings(given.release, about, output)
    print(f"{output}: the numbers are those of {about['name']}")
    for how, names in found.items():
        print(f"{how}: {len(names)}" + (f" ({', '.join(names)})" if names and how != "same bytes" else ""))


def compare(given: argparse.Namespace) -> None:
    """Says which claims, intervals and curves changed between two results or releases."""
    from pjap_bench.files import write_json
    from pjap_bench.releases import comparison

    found = comparison.compare(given.first, given.second)
    if given.output:
        write_json(given.output, found)
    print(comparison.words(found, given.limit))


def cite(given: argparse.Namespace) -> None:
    """Says how to cite a pinned release, as text and as BibTeX."""
    from pjap_bench.releases import citation

    print(citation.cite(given.release))


def benchmark(given: argparse.Namespace) -> None:
    """Measures what things cost on this machine; prints a table."""
    import torch

    from pjap_bench import benchmarks, config
    from pjap_bench.benchmarks import picture, table
    from pjap_bench.figures import style
    from pjap_bench.provenance import stamp

    parts = given.only or [part for part in benchmarks.PARTS if part != "gpu" or torch.cuda.is_available()]
    origin = stamp("pjap_bench.benchmarks", {"scale": "paper"}) | benchmarks.devices(parts)
    rows, text = [], ""
    for row in benchmarks.measure(config.load("paper"), parts):
        rows.append(row)
        text = table.write(rows, origin, given.output)  # whoever stops this keeps what it has
    print(text)
    if "training" in parts:
        style.save(picture.draw(rows, origin), given.output.with_name(f"{given.output.stem}_training"), origin, ("png",))


def train_behaviour(given: argparse.Namespace) -> None:
    """Trains one behaviour policy of a card (off the default path)."""
    from pjap_bench.behaviour import matd3

    matd3.retrain(given.dataset, given.policy, given.settings, given.output)


def run_command(command: list[str]) -> None:
    """Runs one command, like `main`, but its errors are the caller's."""
    step = _parser().parse_args(command)
    step.run(step)


def _stamp_of_runs(module: str, given: argparse.Namespace) -> dict:
    """The stamp of what is made from the runs of `given.settings`: with all their seeds and datasets."""
    from pjap_bench.datasets import hdf5
    from pjap_bench.provenance import stamp

    experiments = given.settings.get("experiments", {})
    hashes = {name: hdf5.read_summary(given.results / "datasets" / f"{name}.h5")["sha256"] for name in experiments}
    seeds = sorted({seed for experiment in experiments.values() for seed in experiment["seeds"]})
    return stamp(module, given.label, seeds=seeds, datasets=hashes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pjap_bench", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        added.set_defaults(run=run)
        return added

    def labelled(added: argparse.ArgumentParser, folder: str = "output", settings: bool = True) -> argparse.ArgumentParser:
        added.add_argument("--label", type=_json, required=True, help='JSON: {"scale": ..., "regime": ...}')
        added.add_argument(f"--{folder}", type=Path, required=True)
        if settings:
            added.add_argument("--settings", type=_json, required=True, help="JSON: a slice of the configuration")
        return added

    labelled(command("simulate-games", simulate_games))
    labelled(command("export-notebook", export_notebook))

    added = labelled(command("map-robustness", map_robustness))
    added.add_argument("--processes", type=_positive, default=1)

    added = labelled(command("collect", collect), settings=False)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")
    added.add_argument("--episodes", type=_positive, required=True, help="from each behaviour policy")
    added.add_argument("--processes", type=_positive, default=1)

    added = command("fetch", fetch)
    added.add_argument("--dataset", required=True, help="name of a card with urls")
    added.add_argument("--output", type=Path, required=True)

    added = labelled(command("convert-vault", convert_vault), settings=False)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")
    added.add_argument("--archive", type=Path, required=True, help="the zip file that `fetch` wrote")

    added = labelled(command("import-dataset", import_dataset), settings=False)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")
    added.add_argument("--file", type=Path, help="HDF5 file, or folder of Minari datasets; default: what the card says")

    added = command("export-dataset", export_dataset)
    added.add_argument("--dataset", type=Path, required=True, help="HDF5 file, for instance results/quick/datasets/NAME.h5")
    added.add_argument("--format", choices=["minari", "d4rl"], required=True)
    added.add_argument("--output", type=Path, required=True, help="for minari a folder of Minari datasets, else an HDF5 file")

    added = labelled(command("mix", mix), settings=False)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")
    added.add_argument("--parts", type=Path, nargs="+", required=True, help="HDF5 files of the datasets that the card names")

    added = command("datasets", list_datasets)
    added.add_argument("name", nargs="?", help="name of a card in datasets/")
    added.add_argument("--file", type=Path, help="HDF5 file of that dataset, for instance results/quick/datasets/NAME.h5")
    added.add_argument("--markdown", type=Path, metavar="FILE", help="renew the table in it and the pages beside it instead")

    added = labelled(command("describe", describe), settings=False)
    added.add_argument("--dataset", type=Path, required=True, help="HDF5 file")
    added.add_argument("--croissant", type=Path, required=True, help="JSON file for the Croissant description")

    added = labelled(command("train", train))
    added.add_argument("--dataset", type=Path, required=True, help="HDF5 file")
    added.add_argument("--seeds", type=int, nargs="+", required=True)
    added.add_argument("--checkpoints", type=Path, required=True, help="folder where progress is kept while the job runs")
    added.add_argument("--checkpoint-every", type=_positive, required=True, help="updates")
    added.add_argument("--threads", type=_positive, default=1)
    added.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    added.add_argument(
        "--evaluators", type=_not_negative, default=0, help="processes that play evaluations while training goes on"
    )
    added.add_argument(
        "--stop-after", type=_minutes, default=0, metavar="MINUTES", help="stop at a checkpoint, exit code 75; 0: never"
    )

    labelled(command("summarise", summarise), "results")

    added = labelled(command("judge", judge), "results")
    added.add_argument("--claims", type=Path, required=True, help="YAML file of claims")

    added = labelled(command("draw", draw), "results")
    added.add_argument(
        "--figure", required=True, help="a name in pjap_bench.figures.FIGURES, for instance figure1 or figure1_seeds"
    )

    labelled(command("tabulate-sweep", tabulate_sweep), "results")
    labelled(command("draw-sweep", draw_sweep), "results")

    labelled(command("draw-claims", draw_claims), "results", settings=False)

    added = labelled(command("draw-dataset", draw_dataset), "results", settings=False)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")

    labelled(command("report", report), "results")

    added = command("write-configuration", write_configuration)
    added.add_argument("--settings", type=_json, required=True, help="JSON: the configuration")
    added.add_argument("--output", type=Path, required=True)

    results_or_release = "folder of results or of a release, for instance results/quick or pinned/NAME"
    added = command("verdict", print_verdict)
    added.add_argument("--results", type=Path, required=True, help=results_or_release)

    added = command("pin", pin)
    added.add_argument("--results", type=Path, required=True, help="folder of a finished scale, for instance results/quick")
    added.add_argument("--name", required=True, help="of the release: letters, digits, dots, dashes, underscores")
    added.add_argument("--pinned", type=Path, default=Path("pinned"), help="the folder of all releases")
    added.add_argument("--claims", type=Path, default=Path("workflow/claims.yaml"), help="YAML file of claims")

    added = command("redraw", redraw)
    added.add_argument("--release", type=Path, required=True, help="for instance pinned/NAME")
    added.add_argument("--output", type=Path, help="folder; default: results/redrawn/NAME")
    added.add_argument("--processes", type=_positive, default=min(8, len(os.sched_getaffinity(0))))

    added = command("compare", compare)
    added.add_argument("first", type=Path, help=results_or_release)
    added.add_argument("second", type=Path, help="another")
    added.add_argument("--limit", type=_positive, default=20, help="rows of statistics and of curves that are printed")
    added.add_argument("--output", type=Path, help="JSON file for all of it")

    added = command("cite", cite)
    added.add_argument("--release", type=Path, required=True, help="for instance pinned/NAME")

    added = command("benchmark", benchmark)
    added.add_argument("--output", type=Path, required=True, help="CSV file; the picture of training lies beside it")
    parts = ("games", "notebook", "datasets", "containers", "training", "gpu")
    some = f"some of: {', '.join(parts)}; default: all but gpu"
    added.add_argument("--only", nargs="+", choices=parts, metavar="PART", help=some)

    added = command("doctor", doctor)
    added.add_argument("--containers", choices=["auto", "on", "off"], default="auto", help="the setting of that name")
    added.add_argument(
        "--runtime", choices=["apptainer", "podman", "docker"], default="apptainer", help="the setting of that name"
    )
    added.add_argument("--cuda", action="store_true", help="training is to use a GPU")

    added = command("train-behaviour", train_behaviour)
    added.add_argument("--dataset", required=True, help="name of a card in datasets/")
    added.add_argument("--policy", required=True, help="name of a behaviour policy in that card")
    added.add_argument("--settings", type=_json, required=True, help="JSON: the configuration's `behaviour`")
    added.add_argument("--output", type=Path, required=True)
    return parser


def _json(text: str) -> dict:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def _not_negative(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes (0 or more)")
    return value


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return value


if __name__ == "__main__":
    # Products of a fixed shape give the same bits only with a fixed number of threads; jobs are what runs in parallel.
    # Not setdefault: Snakemake exports the rule's number of threads under these names.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    sys.exit(main())
