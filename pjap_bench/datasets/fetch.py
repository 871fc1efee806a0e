"""Fetches published files: mirrors, retries, resume, length and hash; and unpacks archives without trusting them.

Written on `requests`, which the locks hold anyway: pooch neither resumes a download nor guards it against a second process.
Beside TARGET lie, hidden: .TARGET.part, what has arrived so far; .TARGET.part.json, which file that is a part of; and
.TARGET.lock, held by the one process that downloads.
"""

import contextlib
import datetime
import fnmatch
import hashlib
import json
import math
import os
import re
import shutil
import stat
import struct
import sys
import time
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import filelock
import requests
import urllib3
import yaml

from pjap_bench import config, files
from pjap_bench.errors import BenchError

#: where the first download of a file without a known sha256 is recorded, for every later one to match
RECORDS = config.CARDS / "locks"

_ATTEMPTS = 5  # in a row that bring nothing new, at each URL
_WAITS = (1, 2, 4, 8)  # seconds between them
_TIMEOUT = (20, 60)  # seconds, to connect and for the next bytes
_BLOCK = 1 << 20
_ZIP = ("zip archive", b"PK", (0,))
_HDF5 = ("HDF5 file", b"\x89HDF\r\n\x1a\n", (0, *(512 << power for power in range(11))))  # its first bytes may be the user's own
_BEGINNINGS = {".zip": _ZIP, ".h5": _HDF5, ".hdf5": _HDF5}  # what it is, its signature, where that may lie
_AGAIN = "check the network and the card's urls, then run again: what has arrived is kept where the server can go on from it"


class _Useless(Exception):
    """This URL will not give the file; the next mirror may."""


class _Interrupted(Exception):
    """This URL may give the file (or the rest of it) when asked again."""


class _Wanted(NamedTuple):
    """What is known of a file beforehand; None where nothing is."""

    size: int | None
    sha256: str | None
    source: str


def fetch(urls: list[str], target: str | Path, *, size: int | None, sha256: str | None, progress: bool = True) -> Path:
    """Downloads a file from the first of `urls` that works; nothing is downloaded if the file is there and right.

    A download goes on from where the last one stopped if the server can and the file is the same: known by its sha256, else
    by the server's ETag. Length and sha256 count in the end, however the bytes came together. Where `sha256` is None, the
    first download writes datasets/locks/NAME.yaml, NAME with its suffix (beside the target if the repository cannot be
    written), and later ones must match that. A second process waits for the first and uses its file.

    Args:
        urls: http, https or file addresses, the preferred one first.
        target: the file to write; with the suffix .zip, .h5 or .hdf5 it must begin like one (HDF5 after a user block of 512 KiB
            at most), with any but .html not like a page.
        size: bytes, or None.
        sha256: 64 hex digits, or None.
        progress: a line that is redrawn on a terminal, lines of their own in a log, on standard error.

    Raises:
        BenchError: no URL works (each with its reason), a file that is there but wrong, a full disk, a folder without access.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_process(target, progress):
            wanted = _wanted(target, size, sha256)  # the record may be another process's, just written
            if not _is_there(target, wanted):
                _download(urls, target, wanted, progress)
            if wanted.sha256 is None:
                _record(target, urls)
    except OSError as error:
        reason = error.strerror or str(error)
        do = "free space or choose another folder, then run again: the download goes on from where it stopped"
        raise BenchError(f"cannot be written ({reason})", where=target, do=do) from error
    return target


def check(target: str | Path, *, size: int | None, sha256: str | None) -> None:
    """Looks whether a file, where there is one, is what the card or the record of its download says.

    Raises:
        BenchError: it is not, is empty or a page, or cannot be read.
    """
    target = Path(target)
    try:
        _is_there(target, _wanted(target, size, sha256))
    except OSError as error:
        raise BenchError(f"cannot be read ({error.strerror})", where=target, do="check its path and rights") from error


def file_name(card: dict) -> str:
    """What the download of a card is called: by its sha256, so that mirrors may come and go; without one, by its first URL."""
    key = card.get("sha256") or hashlib.sha256(card["urls"][0].encode()).hexdigest()
    return f"{key[:16]}{'.zip' if card['source'] == 'og_marl_vault' else '.h5'}"


def downloads(cards: dict[str, dict]) -> dict[str, str]:
    """By name of a download a card that says how to fetch it: cards of one file share it.

    Raises:
        BenchError: two cards have a URL or a sha256 in common, but not both size and sha256.
    """
    found, seen = {}, {}
    for name, card in cards.items():
        for shared in filter(None, [*card.get("urls", []), card.get("sha256")]):
            other = seen.setdefault(shared, name)
            for key in ("size", "sha256"):
                if (stated := card.get(key)) != (before := cards[other].get(key)):
                    what = f"'{key}' is {stated}, but {before} in the card '{other}', which names {shared} too"
                    raise BenchError(what, where=f"datasets/{name}.yaml", do="make the two cards agree")
        if "urls" in card:
            found.setdefault(file_name(card), name)
    return found


def local_path(url: str) -> Path:
    """The file that a file: address names."""
    return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))


def unpack(archive: str | Path, folder: str | Path, *, only: str = "*", limit: int = 64 << 30, ratio: float = 200.0) -> Path:
    """Unpacks a zip archive into a new folder, whole or not at all.

    Args:
        archive: the zip file.
        folder: must not exist, or be empty.
        only: a pattern of the members to unpack (`*` stands for anything, also for '/'); all are checked.
        limit: bytes that the archive may unpack to.
        ratio: how many times the archive's own size it may unpack to.

    Raises:
        BenchError: not a zip, truncated or damaged; members with absolute paths, '..', links, duplicates, encryption, of
            another method than deflate; more than `limit` or `ratio`; nothing that fits `only`; a full disk, a folder that holds
            something already.
    """
    archive, folder = Path(archive), Path(folder)
    again = "delete it and fetch it again, or use another source"
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_members(archive, members, limit, ratio)
            chosen = [member for member in members if fnmatch.fnmatchcase(member.filename, only) and not member.is_dir()]
            if not chosen:
                raise BenchError(f"holds nothing that fits '{only}'", where=archive, do=f"it holds: {_top_names(members)}")
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise BenchError("exists and is not empty", where=folder, do="delete it or choose another folder")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with files.folder_beside(folder) as temporary:
                _check_space(folder, sum(member.file_size for member in chosen))
                for member in chosen:
                    path = temporary / member.filename
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(member) as source, open(path, "xb") as file:
                        shutil.copyfileobj(source, file, _BLOCK)
                temporary.chmod(0o755)
                os.rename(temporary, folder)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BenchError(f"not a whole zip archive ({error})", where=archive, do=again) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchError(f"cannot be unpacked into {folder} ({reason})", where=archive, do="free space or check it") from error
    return folder


# What a file must be


def _wanted(target: Path, size: int | None, sha256: str | None) -> _Wanted:
    if sha256 is not None:
        return _Wanted(size, sha256, "the card")
    for record in (RECORDS / f"{target.name}.yaml", _record_beside(target)):
        if record.exists():
            found = files.read_yaml(record)
            if not (isinstance(found, dict) and isinstance(found.get("size"), int) and isinstance(found.get("sha256"), str)):
                raise BenchError("not the record of a download", where=record, do="delete it")
            if size not in (None, found["size"]):
                do = "correct the card, or delete the record"
                raise BenchError(f"records {found['size']} bytes, but the card says {size}", where=record, do=do)
            return _Wanted(found["size"], found["sha256"], str(record))
    return _Wanted(size, None, "the card")


def _is_there(target: Path, wanted: _Wanted) -> bool:
    """Whether the file is there; one that is there and wrong is an error, since the user may have put it there."""
    if not target.exists():
        return False
    with open(target, "rb") as file:
        reason = _wrong_length(target.stat().st_size, wanted) or _wrong_beginning(file.read(_BLOCK), target.suffix)
    if reason is None and wanted.sha256 is not None:
        reason = _wrong_hash(files.sha256(target), wanted)
    if reason:
        raise BenchError(reason, where=target, do="delete it, then run again")
    return True


def _wrong_length(found: int, wanted: _Wanted) -> str | None:
    if found == 0:
        return "0 bytes long"
    if wanted.size is not None and found != wanted.size:
        return f"{found} bytes long, but {wanted.source} says {wanted.size}"
    return None


def _wrong_beginning(block: bytes, suffix: str) -> str | None:
    """A page of a login or of an error is often sent with status 200 and no honest type."""
    if suffix != ".html" and block.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    kind, signature, places = _BEGINNINGS.get(suffix, ("", b"", (0,)))
    return None if any(block.startswith(signature, place) for place in places) else f"no {kind}"


def _wrong_hash(found: str, wanted: _Wanted) -> str | None:
    if wanted.sha256 is not None and found != wanted.sha256:
        return f"sha256 is {found}, but {wanted.source} says {wanted.sha256}"
    return None


def _record(target: Path, urls: list[str]) -> None:
    """Writes down what came, for the next download to be compared with; where another process was first, this one is compared."""
    record = {
        "urls": urls,
        "size": target.stat().st_size,
        "sha256": files.sha256(target),
        "date": datetime.date.today().isoformat(),
    }
    text = "# What the first download was; every later one must be the same.\n" + yaml.safe_dump(record, sort_keys=False)
    # Only this process downloads to this target, but others may download the same file to other folders.
    writer = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:16]
    record, mine = RECORDS / f"{target.name}.yaml", RECORDS / f".{target.name}.{writer}.yaml"
    try:
        files.write_text(mine, text)
        try:
            os.link(mine, record)  # unlike a rename never over another's
        finally:
            mine.unlink()
    except FileExistsError:
        _is_there(target, _wanted(target, None, None))
    except (BenchError, OSError):  # a repository that is only read, or a disk without links
        files.write_text(_record_beside(target), text)


def _record_beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.record.yaml")


# The download


@contextlib.contextmanager
def _only_process(target: Path, progress: bool):
    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if progress:
            print(f"{target.name}: another process is fetching it; waiting", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(urls: list[str], target: Path, wanted: _Wanted, progress: bool) -> None:
    part = _Part(target, wanted)
    reasons = []
    for url in urls:
        try:
            _download_from(url, part, wanted, _Progress(target.name, progress))
            os.replace(part.path, target)
            part.forget()
            return
        except _Useless as reason:
            reasons.append(f"{url}: {reason}")
    raise BenchError(f"no URL gave it ({'; '.join(reasons) or 'the card lists none'})", where=target, do=_AGAIN)


def _download_from(url: str, part: "_Part", wanted: _Wanted, bar: "_Progress") -> None:
    """Asks one URL until the file is whole; attempts that bring something new cost nothing."""
    resumed = part.size() > 0
    failures, most = 0, part.size()
    whole = part.is_whole(url)
    while not whole:
        try:
            _copy(url, part, wanted, bar) if url.startswith("file:") else _receive(url, part, wanted, bar)
            whole = True
        except _Interrupted as reason:
            failures, most = (0, part.size()) if part.size() > most else (failures + 1, most)
            if failures == _ATTEMPTS:
                raise _Useless(f"{reason}; {_ATTEMPTS} attempts") from None
            time.sleep(_WAITS[min(failures, len(_WAITS) - 1)])
    reason = _wrong_hash(files.sha256(part.path), wanted)
    if reason:
        part.forget()
        if not resumed:
            raise _Useless(reason)
        _download_from(url, part, wanted, bar)  # the old part may be to blame


def _receive(url: str, part: "_Part", wanted: _Wanted, bar: "_Progress") -> None:
    """One request; appends what comes to the part."""
    headers = {"Accept-Encoding": "identity", **part.range_for(url)}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            start, total = _begin(response, part, wanted)
            part.begin(url, start, total, response.headers)
            _check_space(part.path, total - start)
            bar.start(start, total)
            first = start == 0
            with open(part.path, "ab") as file:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    if first:
                        _check_beginning(block, part, response.url)
                        first = False
                    file.write(block)
                    bar.show(file.tell())
                file.flush()
                os.fsync(file.fileno())
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(_short(error)) from error
    except requests.RequestException as error:
        raise _Useless(_short(error)) from error
    if part.size() < total:
        raise _Interrupted(f"cut after {part.size()} of {total} bytes")
    if part.size() > total:
        part.forget()
        raise _Useless(f"sent more than the {total} bytes it announced")


def _copy(url: str, part: "_Part", wanted: _Wanted, bar: "_Progress") -> None:
    """A mirror on a disk of this machine."""
    mirror = local_path(url)
    if not (mirror.is_file() and os.access(mirror, os.R_OK)):
        raise _Useless("no file that can be read")
    with open(mirror, "rb") as source:
        total = mirror.stat().st_size
        if reason := _wrong_length(total, wanted) or _wrong_beginning(source.read(_BLOCK), part.suffix):
            raise _Useless(f"it is {reason}")
        _check_space(part.path, total - part.size())
        part.forget()  # only now: a useless mirror costs nothing that has arrived
        bar.start(0, total)
        source.seek(0)
        with open(part.path, "wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
                bar.show(file.tell())


def _begin(response: requests.Response, part: "_Part", wanted: _Wanted) -> tuple[int, int]:
    """The byte that the answer starts at and the length of the whole file, after a look at status and headers."""
    if response.status_code == 416:  # what we hold is no beginning of theirs
        part.forget()
        raise _Interrupted("HTTP 416, the part was dropped")
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise _Interrupted(f"HTTP {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise _Useless(f"HTTP {response.status_code} {response.reason}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Useless(f"sent as {response.headers['Content-Encoding']}, not as it is")
    if "html" in response.headers.get("Content-Type", "") and part.suffix != ".html":
        raise _Useless(f"{_where(response)} is an HTML page, not the file")
    length = response.headers.get("Content-Length", "")
    if not re.fullmatch("[0-9]{1,18}", length):
        raise _Useless("the server does not say how long the file is")
    start, total = 0, int(length)
    if response.status_code == 206:  # may be of less than the rest
        start = part.size() if "Range" in response.request.headers else 0
        place = re.fullmatch(f"bytes {start}-[0-9]+/([0-9]{{1,18}})", response.headers.get("Content-Range", ""))
        if place is None:
            part.forget()
            raise _Interrupted("sent another range than was asked for")
        total = int(place[1])
    reason = _wrong_length(total, wanted)
    if reason:
        raise _Useless(f"{_where(response)} is {reason}")
    return start, total


def _where(response: requests.Response) -> str:
    return f"redirected to {response.url}, which" if response.history else "it"


def _check_beginning(block: bytes, part: "_Part", url: str) -> None:
    if reason := _wrong_beginning(block, part.suffix):
        part.forget()
        raise _Useless(f"{url} is {reason}")


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(None, f"{needed} bytes are needed, {free} are free")


def _short(error: Exception) -> str:
    """The innermost reason, without the pool and the objects around it."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args[0] if error.args else None), Exception):
        error = inner
    return " ".join(str(error).split())


class _Part:
    """What has arrived of a file, and of which file; a part of another file is dropped."""

    def __init__(self, target: Path, wanted: _Wanted):
        self.path = target.with_name(f".{target.name}.part")
        self.suffix = target.suffix
        self._about = target.with_name(f".{target.name}.part.json")
        self._wanted = wanted

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def is_whole(self, url: str) -> bool:
        """Whether this is all of what `url` has; its hash is another question."""
        return self.size() == self._belonging(url).get("total")

    def range_for(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest, if this is a part of what `url` has."""
        about, size = self._belonging(url), self.size()
        if not 0 < size < about.get("total", 0):
            return {}  # the part stays until another answer begins
        condition = {"If-Range": about["etag"]} if about["sha256"] is None else {}
        return {"Range": f"bytes={size}-", **condition}

    def _belonging(self, url: str) -> dict:
        """What is noted of the part, if it is of the file that is wanted: by its sha256, else by URL and ETag."""
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if self._wanted.sha256 is not None:
            return about if about["sha256"] == self._wanted.sha256 else {}
        return about if about["sha256"] is None and about["url"] == url and about["etag"] else {}

    def begin(self, url: str, start: int, total: int, headers) -> None:
        """Notes what follows; from byte 0 the old part is dropped."""
        if start == 0:
            self.path.unlink(missing_ok=True)
        etag = headers.get("ETag", "")
        about = {"url": url, "total": total, "sha256": self._wanted.sha256, "etag": "" if etag.startswith("W/") else etag}
        files.write_json(self._about, about)


class _Progress:
    """How far a download is: one line that is redrawn on a terminal, a line every ten seconds in a log."""

    def __init__(self, name: str, shown: bool):
        self._name, self._shown = name, shown
        self._terminal = sys.stderr.isatty()
        self.start(0, 0)

    def start(self, first: int, total: int) -> None:
        self._first, self._total, self._began, self._last = first, total, time.monotonic(), -math.inf

    def show(self, done: int) -> None:
        now = time.monotonic()
        if not self._shown or (now - self._last < (0.2 if self._terminal else 10) and done < self._total):
            return
        self._last = now
        speed = (done - self._first) / max(now - self._began, 1e-3) / 1e6
        text = f"{self._name}: {done / self._total:4.0%} of {self._total / 1e6:.1f} MB, {speed:.1f} MB/s"
        end = "\n" if not self._terminal or done == self._total else ""
        print(f"\r\033[K{text}" if self._terminal else text, end=end, file=sys.stderr, flush=True)


# What an archive may hold


def _check_members(archive: Path, members: Iterable[zipfile.ZipInfo], limit: int, ratio: float) -> None:
    """Looks at every name and size before anything is written."""
    do = "do not use it; fetch it from its publisher"
    seen, total = set(), 0
    for member in members:
        name, path = member.filename, PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise BenchError(f"member '{name}' leads outside its folder", where=archive, do=do)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BenchError(f"member '{name}' is a link or a device", where=archive, do=do)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BenchError(f"member '{name}' is neither stored nor deflated", where=archive, do=do)
        if path in seen:
            raise BenchError(f"member '{name}' is there twice", where=archive, do=do)
        if member.flag_bits & 0x1:
            raise BenchError(f"member '{name}' is encrypted", where=archive, do=do)
        seen.add(path)
        total += member.file_size
    most = min(limit, ratio * archive.stat().st_size)
    if total > most:
        raise BenchError(f"unpacks to {total} bytes, more than the {most:.0f} that are let through", where=archive, do=do)


def _top_names(members: Iterable[zipfile.ZipInfo]) -> str:
    """The first folders of an archive, two deep, for a message."""
    names = sorted({"/".join(PurePosixPath(member.filename).parts[:2]) for member in members})
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"
