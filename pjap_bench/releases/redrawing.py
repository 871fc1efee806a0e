"""Everything but the runs anew from a release, without training, and whether it came out as pinned."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pjap_bench import figures, files
from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.releases import comparison, contents, crate, manifest

MARKER = "redrawn.json"  # a folder with it is ours to write over
TIMINGS = 'id="timings"'  # where this section of the report begins, the last but the footer


def unpack(release: Path, output: Path) -> dict:
    """Copies what a release is made from into the empty folder `output`, every byte checked; returns the manifest.

    What an earlier redrawing left in `output` is removed.

    Raises:
        BenchError: no sound release (see `manifest.read`); `output` holds something else.
    """
    about = manifest.read(release)
    if output.exists() and not (output / MARKER).exists() and (not output.is_dir() or any(output.iterdir())):
        raise BenchError("holds something else than redrawn figures", where=output, do="name a new folder")
    try:
        if output.exists():
            shutil.rmtree(output)
        for name, expected in about["files"].items():
            if name in (*contents.REDRAWN, crate.NAME) or name.startswith(contents.REDRAWN_FOLDER):
                continue
            target = output / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(release / name, target)
            if manifest.entry(target) != expected:
                raise BenchError("changed while it was read", where=release / name, do=manifest.DAMAGED)
        files.write_json(output / MARKER, {"release": about["name"], "sha256": files.sha256(release / manifest.NAME)})
    except OSError as error:
        raise BenchError(f"cannot be written ({error.strerror})", where=output, do="free space or name another folder") from error
    return about


def commands(release: Path, about: dict, output: Path) -> tuple[list[list[str]], list[list[str]]]:
    """The commands of the workflow that make everything anew in `output`, as arguments of the command line.

    Returns:
        commands that do not need each other, the longest first; those that follow, in their order.
    """
    settings = contents.settings_of(release)
    plain = json.dumps({"scale": about["scale"]})
    label = json.dumps({"scale": about["scale"], "regime": about["regime"]})

    def command(name: str, *more: str, own_label: str = label) -> list[str]:
        return [name, "--label", own_label, "--results", str(output), *more]

    told = ("--settings", json.dumps(settings))
    swept = contents.sweep_of(release)
    if swept:
        with_sweep = ("--settings", json.dumps(settings | {"sweep": swept}))
        return [command("summarise", *told)], [command("tabulate-sweep", *with_sweep), command("draw-sweep", *told)]
    apart = [command("summarise", *told)]
    apart += [
        command("draw", "--figure", name, "--settings", "{}") for name in figures.FIGURES if name not in figures.OF_STATISTICS
    ]
    apart += [command("draw-dataset", "--dataset", name, own_label=plain) for name in contents.dataset_names(release, settings)]
    apart.append(command("draw-claims"))
    then = [command("judge", *told, "--claims", str(output / "claims.yaml"))]
    then += [command("draw", "--figure", name, *told) for name in figures.OF_STATISTICS] + [command("report", *told)]
    return apart, then


def findings(release: Path, about: dict, output: Path) -> dict[str, list[str]]:
    """How what was made anew compares with what was pinned, and writes it into the marker of `output`.

    Returns:
        names of files by "same bytes"; "same content" (tables with equal numbers; JSON with equal content but the stamp; figures
        that differ only in the line that names code and image; a report that differs only in its timings); "different" (a report
        of changed code too).

    Raises:
        BenchError: numbers of the statistics, the verdict or the sweep's table differ.
    """
    difference = comparison.first_difference(comparison.compare(release, output))
    if difference:
        do = f"redraw with the code that made them (git {about['git']['commit']}), or see all with `make compare`"
        raise BenchError(f"the numbers are not those that were pinned, first: {difference}", where=output, do=do)
    found: dict[str, list[str]] = {"same bytes": [], "same content": [], "different": []}
    for name in sorted(each for each in about["files"] if each in contents.REDRAWN or each.startswith(contents.REDRAWN_FOLDER)):
        if not (output / name).exists():
            found["different"].append(name)
        elif manifest.entry(output / name) == about["files"][name]:
            found["same bytes"].append(name)
        else:
            found["same content" if _same_content(release, output, name) else "different"].append(name)
    files.write_json(output / MARKER, files.read_json(output / MARKER) | {"found": found})
    return found


def _same_content(release: Path, output: Path, name: str) -> bool:
    """Whether two files of other bytes show the same."""
    kind = Path(name).suffix
    if kind == ".pdf":  # drawn from the same figure as the picture beside it
        name, kind = name.removesuffix(kind) + ".png", ".png"
    if kind == ".png":
        one, other = (_pixels(folder / name) for folder in (release, output))
        return one.shape == other.shape and bool((one[: -style.FOOTER_PIXELS] == other[: -style.FOOTER_PIXELS]).all())
    if kind == ".html":
        # Its timings are those of the jobs that had run when it was written.
        one, other = ((folder / name).read_text(encoding="utf-8").partition(TIMINGS)[0] for folder in (release, output))
        return one == other
    return not comparison.content_difference(release / name, output / name)  # tables and JSON


def _pixels(path: Path) -> np.ndarray:
    """A picture as [row, column, channel]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
