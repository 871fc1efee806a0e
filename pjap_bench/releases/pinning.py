"""Pins results: copies what judging and redrawing need into pinned/NAME, with a manifest that knows every byte."""

import datetime
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pjap_bench
from pjap_bench import config, files
from pjap_bench.errors import BenchError
from pjap_bench.provenance import source_digest
from pjap_bench.releases import checks, contents, crate, manifest

FOLDER = "pinned"  # of all releases, in the project's folder
CITATION = config.ROOT / "CITATION.cff"
ENVIRONMENT = ("image", "python", "processor", "device", "packages")  # of a stamp
WHOLE_PROGRAM = "pjap_bench.__main__"  # reaches every module


def pin(results: Path, name: str, pinned: Path, claims: Path) -> Path:
    """Makes the release `pinned`/NAME of finished results, whole or not at all, and returns its folder.

    Raises:
        BenchError: a name that is taken or none; results that are unfinished or of several codes, images, settings or data
            (see `checks.check`); a folder that cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BenchError(f"'{name}' is no name", where="pin", do="use letters, digits, dots, dashes and underscores")
    target = pinned / name
    if target.exists() or target.is_symlink():
        raise BenchError("there is a release of this name, and a pinned release is never changed", where=target, do="use another")
    names = contents.of_results(results)
    parts = checks.check(results, claims)
    policies, left_out = contents.policies(results)
    try:
        pinned.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=pinned) as work:
            staged = Path(work) / name
            for each in [*names, *policies]:
                (staged / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(results / each, staged / each)
            if not contents.sweep_of(results):
                shutil.copyfile(claims, staged / "claims.yaml")
            about = _describe(staged, name, results, parts, left_out)
            files.write_json(staged / crate.NAME, crate.describe(about))
            about["files"][crate.NAME] = manifest.entry(staged / crate.NAME)
            files.write_json(staged / manifest.NAME, about)
            manifest.read(staged)
            os.rename(staged, target)
    except OSError as error:
        raise BenchError(f"cannot be written ({error.strerror})", where=target, do="free space or name another folder") from error
    return target


def _describe(staged: Path, name: str, results: Path, parts: list[checks.Stamped], left_out: list[str]) -> dict:
    """What release.json says, with the files that are there by now."""
    citation = files.read_yaml(CITATION)
    judged = next(part.stamp for part in parts if part.name == contents.conclusion(results))
    environments = {}  # each once, in order
    for part in parts:
        environment = {key: part.stamp[key] for key in ENVIRONMENT if key in part.stamp}
        environments[files.sha256_of_json(environment)] = environment
    return {
        "name": name,
        "title": citation["title"],
        "authors": [author["name"] for author in citation["authors"]],
        "license": citation["license"],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "pjap_bench": pjap_bench.__version__,
        "code": source_digest(WHOLE_PROGRAM),
        "git": _git(),
        "scale": judged["scale"],
        "regime": judged["regime"],
        "configuration": files.read_json(staged / contents.CONFIGURATION),
        "stages": {part.stage: part.stamp["code"] for part in parts if part.stage},
        "images": checks.images(results, parts),
        "environments": list(environments.values()),
        "left_out": ["the data themselves (datasets/*.h5): their sha256 are in datasets/*.json", *left_out],
        "files": {each: manifest.entry(staged / each) for each in sorted(manifest.found(staged))},
    }


def _git() -> dict:
    """The commit of this tree and whether it is clean; releases made before do not count. Nones outside of a repository."""

    def ask(*words: str) -> str | None:
        ran = subprocess.run(["git", *words], cwd=config.ROOT, capture_output=True, text=True, check=False)
        return ran.stdout.strip() if ran.returncode == 0 else None

    # A folder that only lies inside of somebody's repository is not it.
    if not shutil.which("git") or not (config.ROOT / ".git").exists():
        return {"commit": None, "clean": None}
    changes = ask("status", "--porcelain", "--", ".", f":(exclude){FOLDER}")
    return {"commit": ask("rev-parse", "HEAD"), "clean": None if changes is None else not changes}
