"""What results must be like to be pinned: of this tree's code, one set of images and one configuration, and consistent."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pjap_bench import config, figures, files
from pjap_bench.datasets import description
from pjap_bench.errors import BenchError
from pjap_bench.provenance import source_digest
from pjap_bench.releases import comparison, contents
from pjap_bench.statistics import summary, sweep, verdict

# By the source of a dataset's card, the module that makes it; a `rule` brings its own.
SOURCES = {
    "generated": "pjap_bench.datasets.collection",
    "mixture": "pjap_bench.datasets.collection",
    "og_marl_vault": "pjap_bench.datasets.vault",
    "hdf5": "pjap_bench.datasets.imports",
    "minari": "pjap_bench.datasets.imports",
    "rule": None,
}
RECORDED = {"stamp", "dataset", "arms", "seeds", "updates", "files", "environments"}  # in run.json
PAGES = {"report.html": "pjap_bench.report", "notebook.html": "pjap_bench.notebook.export"}


class Stamped(NamedTuple):
    """A part of results: its file, the module that makes it (None: not ours) and its stamp."""

    name: str
    stage: str | None
    stamp: dict


def check(results: Path, claims: Path) -> list[Stamped]:
    """Checks finished results (see `contents.of_results`) and returns their stamps.

    Raises:
        BenchError: parts of other code, other images, other settings, another scale or other data than the rest; runs that
            are missing or short; statistics or a verdict that do not follow from the runs.
    """
    settings = contents.settings_of(results)
    parts = list(_stamps(results, settings))
    _check_settings(results, settings, {part.name: part.stamp for part in parts})
    _check_stamps(results, parts)
    _check_numbers(results, settings, claims)
    return parts


def images(results: Path, parts: list[Stamped]) -> list[str]:
    """The images that the parts were made in, as NAME@sha256:DIGEST, or ["uncontained"].

    Raises:
        BenchError: some inside and some outside, or two of one name.
    """
    used: dict[str, str] = {}  # by image, a part that was made in it
    for part in parts:
        used.setdefault(part.stamp["image"], part.name)
    by_name: dict[str, str] = {}
    for image, part in used.items():
        name = image.partition("@")[0]
        other = by_name.setdefault(name, image)
        if other != image or ("uncontained" in used and name != "uncontained"):
            other = "uncontained" if "uncontained" in used else other
            what = f"mixed images: {part} was made in {image}, {used[other]} in {other}"
            raise BenchError(what, where=results, do=_again(results))
    return sorted(used)


def _stamps(results: Path, settings: dict) -> Iterator[Stamped]:
    for name in contents.dataset_names(results, settings):
        source = description.read(results / "datasets" / f"{name}.description.json")["card"]["source"]
        yield _of_json(results, f"datasets/{name}.json", SOURCES[source])
        yield _of_json(results, f"datasets/{name}.description.json", "pjap_bench.datasets.description")
    for stack in contents.stacks(results, settings):
        part = _of_json(results, f"{stack}/run.json", "pjap_bench.training")
        yield part
        for each in _run(results, stack)["environments"]:  # where it went on
            yield part._replace(stamp=part.stamp | each["environment"])
    yield _of_json(results, "statistics.provenance.json", "pjap_bench.statistics.summary")
    if contents.sweep_of(results):
        yield _of_json(results, "sweep.provenance.json", "pjap_bench.statistics.sweep")
        yield _of_picture(results, "sweep.png", "pjap_bench.figures.sweep")
        return
    name = "games/provenance.json"  # all of it is the stamp
    yield _stamped(results, name, "pjap_bench.games.experiments", files.read_json(results / name))
    yield _of_json(results, "games/robustness.json", "pjap_bench.games.robustness")
    yield _of_json(results, "verdict.json", "pjap_bench.statistics.verdict")
    for name in contents.dataset_names(results, settings):
        yield _of_picture(results, f"figures/dataset_{name}.png", "pjap_bench.figures.dataset")
    for name, stage in figures.FIGURES.items():
        yield _of_picture(results, f"figures/{name}.png", stage)
    for claim in figures.CLAIMS:
        yield _of_picture(results, f"figures/claims/{claim}.png", "pjap_bench.figures.claims")


def _of_json(results: Path, name: str, stage: str | None) -> Stamped:
    found = files.read_json(results / name)
    return _stamped(results, name, stage, found.get("stamp") if isinstance(found, dict) else None)


def _of_picture(results: Path, name: str, stage: str) -> Stamped:
    try:
        with Image.open(results / name) as picture:
            stamp = json.loads(picture.text["Description"])
    except (OSError, KeyError, AttributeError, SyntaxError, ValueError) as error:
        raise BenchError("is no picture with a stamp", where=results / name, do=_again(results)) from error
    return _stamped(results, name, stage, stamp)


def _stamped(results: Path, name: str, stage: str | None, stamp: object) -> Stamped:
    if not isinstance(stamp, dict) or not {"pjap_bench", "scale", "code", "image", "datasets"} <= set(stamp):
        raise BenchError("carries no stamp", where=results / name, do=_again(results))
    return Stamped(name, stage, stamp)


def _run(results: Path, stack: str) -> dict:
    """run.json of a stack, which must be a record of the runs that its folder is for."""
    found, where = files.read_json(results / stack / "run.json"), results / stack / "run.json"
    if not isinstance(found, dict) or not set(found) >= RECORDED:
        raise BenchError("is no record of runs", where=where, do=_again(results))
    _, dataset, arms, _ = Path(stack).parts
    if found["dataset"] != dataset or sorted(found["arms"]) != sorted(arms.split("+")):
        what = f"is a record of {'+'.join(found['arms'])} on {found['dataset']}"
        raise BenchError(what, where=where, do=f"delete the folder and {_again(results)}")
    return found


def _check_stamps(results: Path, parts: list[Stamped]) -> None:
    """One version, scale and regime; the code of this tree, so that its commit is the results'; one set of images and data."""
    last = contents.conclusion(results)
    judged = next(part.stamp for part in parts if part.name == last)
    datasets = {}
    for part in parts:
        for key in ("pjap_bench", "scale", "regime"):
            # Steps before the statistics leave the regime out.
            if part.stamp.get(key, judged[key]) != judged[key]:
                what = f"mixed stamps: {key} is '{part.stamp[key]}' in {part.name} and '{judged[key]}' in {last}"
                raise BenchError(what, where=results, do=_again(results))
        code = source_digest(part.stage) if part.stage else part.stamp["code"]
        if part.stamp["code"] != code:
            what = f"{part.name} was made by other code ({part.stamp['code']}) than this tree's {part.stage} ({code})"
            raise BenchError(what, where=results, do=f"{_again(results)}, or check out the commit that made them")
        for name, digest in part.stamp["datasets"].items():
            if datasets.setdefault(name, digest) != digest:
                what = f"mixed data: {part.name} was made from another '{name}' than the rest"
                raise BenchError(what, where=results, do=_again(results))
    images(results, parts)
    pages = {} if contents.sweep_of(results) else PAGES
    for page, stage in pages.items():
        if source_digest(stage) not in (results / page).read_text(encoding="utf-8", errors="replace"):
            what = f"{page} was made by other code than this tree's {stage} ({source_digest(stage)})"
            raise BenchError(what, where=results, do=_again(results))


def _check_settings(results: Path, settings: dict, stamps: dict[str, dict]) -> None:
    """configuration.json is what statistics were told, runs were trained with, data were generated and games simulated with."""
    path = results / contents.CONFIGURATION
    configuration = files.read_json(path)
    try:
        expected = config.evaluated(configuration)
        trained = {
            (dataset, arm): config.training_settings(configuration, dataset, arm)
            for dataset, experiment in configuration["experiments"].items()
            for arm in experiment["arms"]
        }
        games, most = configuration["games"], configuration["datasets"]["episodes_at_most"]
        # As the rules of the workflow put them together.
        simulated = {
            "games/provenance.json": games,
            "games/robustness.json": configuration["robustness"] | {key: games[key] for key in ("seed", "twin_peaks")},
        }
    except (KeyError, TypeError) as error:
        raise BenchError(f"is no complete configuration ({error!r})", where=path, do=_again(results)) from error
    for stack in contents.stacks(results, settings):
        run = _run(results, stack)
        for arm, own in run["arms"].items():
            wanted = trained.get((run["dataset"], arm), own)  # an arm that is not there: the statistics say so below
            names = sorted(key for key in wanted.keys() | own.keys() if wanted.get(key) != own.get(key))
            if names:
                what = f"mixed settings: {arm} was trained with other {', '.join(names)} than {contents.CONFIGURATION} says"
                raise BenchError(what, where=results / stack, do=_again(results))
    for key in expected:
        if settings.get(key) != expected[key]:
            what = f"mixed settings: the statistics were made with other {key} than {contents.CONFIGURATION} says"
            raise BenchError(what, where=results, do=_again(results))
    for name in contents.dataset_names(results, settings):
        card = description.read(results / "datasets" / f"{name}.description.json")["card"]
        found = files.read_json(results / "datasets" / f"{name}.json").get("policies", [])
        if card["source"] == "generated" and {each["episodes"] for each in found} != {min(card["episodes_per_policy"], most)}:
            what = f"mixed settings: {name} has other episodes than {contents.CONFIGURATION} says (at most {most} of a policy)"
            raise BenchError(what, where=results, do=_again(results))
    for name, wanted in simulated.items():
        digest = files.sha256_of_json(wanted)
        # A sweep has no games, and games that were simulated before stamps had this digest are not simulated anew for it.
        if stamps.get(name, {}).get("settings", digest) != digest:
            what = f"mixed settings: {name} was made with other settings than {contents.CONFIGURATION} says"
            raise BenchError(what, where=results, do=_again(results))


def _check_numbers(results: Path, settings: dict, claims: Path) -> None:
    """Tables and verdict, or table of a sweep, are those that follow from the runs, the games' estimates and the claims."""
    with tempfile.TemporaryDirectory(prefix="pjap_bench-") as work:
        again = Path(work) / results.name
        again.mkdir()
        for part in ("runs", "datasets", "games", contents.CONFIGURATION):
            (again / part).symlink_to((results / part).resolve())
        summary.summarise(again, settings, files.read_json(results / "statistics.provenance.json")["stamp"])
        origin = files.read_json(results / contents.conclusion(results))["stamp"]
        swept = contents.sweep_of(results)
        if swept:
            sweep.tabulate(again, settings | {"sweep": swept}, origin)
        else:
            verdict.judge(again, settings, origin, claims)
        difference = comparison.first_difference(comparison.compare(again, results))
        for name in (*contents.STATISTICS, contents.conclusion(results)):
            if not difference and not name.endswith(".provenance.json"):
                at = comparison.content_difference(again / name, results / name)
                difference = f"{name} ({at})" if at else ""
    if difference:
        what = f"does not follow from its runs and claims: {difference}"
        raise BenchError(what, where=results, do=_again(results))


def _again(results: Path) -> str:
    return f"run `{contents.command(results)}` again"
