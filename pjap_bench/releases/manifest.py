"""release.json: what a release is and the sha256 of every file in it, checked whenever the release is used."""

import os
from pathlib import Path, PurePosixPath

from pjap_bench import config, files
from pjap_bench.errors import BenchError
from pjap_bench.releases import contents

NAME = "release.json"
DAMAGED = "get the release again, or pin the results under another name"


def read(folder: Path) -> dict:
    """The manifest of a release, after every file of the folder was compared with it.

    Raises:
        BenchError: no such release; a manifest that is none or names a path outside its folder; a file that is missing,
            changed, a link, or not in the manifest.
    """
    manifest = _read_unchecked(folder)
    for name in manifest["files"]:
        _check_path(name, folder)
    listed = set(manifest["files"])
    for name in sorted(found(folder) - listed - {NAME}):
        raise BenchError(f"holds '{name}', which {NAME} does not name", where=folder, do="move the file away")
    for name, expected in manifest["files"].items():
        path = folder / name
        if path.is_symlink():
            raise BenchError("is a link, not a file", where=path, do=DAMAGED)
        if not path.is_file():
            raise BenchError(f"is missing, though {NAME} names it", where=path, do=DAMAGED)
        if entry(path) != expected:
            raise BenchError(f"was changed: its sha256 is not the one in {NAME}", where=path, do=DAMAGED)
    return manifest


def entry(path: Path) -> dict:
    """A file as the manifest has it: {"sha256", "bytes"}."""
    return {"sha256": files.sha256(path), "bytes": path.stat().st_size}


def found(folder: Path) -> set[str]:
    """Everything below a folder but folders themselves, as paths relative to it; links are not followed."""
    names = set()
    for place, folders, own in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        names |= {Path(place, name).relative_to(folder).as_posix() for name in [*own, *links]}
    return names


def is_release(folder: Path) -> bool:
    """Whether a folder is a release (checked or not), and no folder of results."""
    return (folder / NAME).exists()


def releases_in(folder: Path) -> list[Path]:
    """The folders in a folder that are releases."""
    return sorted(path.parent for path in folder.glob(f"*/{NAME}"))


def _read_unchecked(folder: Path) -> dict:
    if not is_release(folder):
        known = releases_in(folder.parent)
        do = f"use one of: {', '.join(map(str, known))}" if known else "make one with `make pin NAME=...`"
        if not known and (folder / contents.CONFIGURATION).is_file():
            settings = contents.command(folder).split(maxsplit=2)[2]
            do = f"that is a folder of results; pin it first: make pin NAME=... {settings}"
        raise BenchError("there is no such release", where=folder, do=do)
    manifest = files.read_json(folder / NAME)
    config.validate(manifest, "release", folder / NAME)
    return manifest


def _check_path(name: str, folder: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name or name in (NAME, "."):
        raise BenchError(f"names '{name}', which is no path inside the release", where=folder / NAME, do=DAMAGED)
