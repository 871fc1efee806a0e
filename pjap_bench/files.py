"""Files: written beside and renamed, read safely, identified by their sha256."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pjap_bench.errors import BenchError

_RANDOM = 8  # characters that `tempfile` makes up


@contextlib.contextmanager
def written_beside(target: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `target`; renames it to `target` only when the block ends well.

    A reader therefore sees the old file or the whole new one. After an error nothing is left; what a killed process left, which
    could not clean up, goes with the next write of the same target, which one process at a time writes.

    Raises:
        BenchError: the file system refused (full disk, no permission), naming the target.
    """
    target = Path(target)
    prefix = f".{target.stem}."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(glob.escape(prefix) + "?" * _RANDOM + glob.escape(target.suffix)):
            left.unlink(missing_ok=True)
        # The suffix stays, since writers (matplotlib, h5py) look at it.
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        os.close(descriptor)
    except OSError as error:
        raise _refused(target, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_beside(target: str | Path) -> Iterator[Path]:
    """Gives a new temporary folder beside `target` and removes it when the block ends.

    What a killed process left goes with the next folder beside the same target, which one process at a time makes.
    """
    target = Path(target)
    place = {"prefix": f".{target.name}.", "suffix": ".folder"}
    for left in target.parent.glob(glob.escape(place["prefix"]) + "?" * _RANDOM + place["suffix"]):
        shutil.rmtree(left)
    temporary = Path(tempfile.mkdtemp(**place, dir=target.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(target: str | Path, text: str) -> None:
    """Writes `text` (UTF-8) to `target`, whole or not at all."""
    with written_beside(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | Path, value: Any) -> None:
    """Writes JSON that any reader accepts: sorted keys, no NaN (use None for a missing number)."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def json_bytes(value: Any) -> bytes:
    """JSON as short as can be, keys in order: the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_json(path: str | Path) -> Any:
    """Reads JSON.

    Raises:
        BenchError: missing file or not JSON.
    """
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:  # a number too long, lists in lists in lists
        raise BenchError(f"not valid JSON ({error})", where=path, do="delete it and run the step that writes it") from error


def read_yaml(path: str | Path) -> Any:
    """Reads YAML with the safe loader.

    Raises:
        BenchError: missing file or not YAML, a key that is there twice or is not text.
    """
    try:
        return yaml.load(_read(path), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"not valid YAML ({reason})", where=path, do="correct the file") from error


class _Loader(yaml.SafeLoader):
    """The safe loader, which would take the last of equal keys without a word, and 1 and `no` for keys."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise yaml.MarkedYAMLError(problem="a key that is not text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def sha256(path: str | Path) -> str:
    """The file's sha256 as 64 hex digits.

    Raises:
        BenchError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot be read ({error.strerror})", where=path, do="check the path") from error


def sha256_of_json(value: Any) -> str:
    """A digest of plain data, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BenchError(f"cannot be read ({error.strerror})", where=path, do="check the path") from error


def _refused(target: Path, error: OSError) -> BenchError:
    reason = error.strerror or str(error)
    return BenchError(f"cannot be written ({reason})", where=target, do="free space or choose another folder, then run again")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
