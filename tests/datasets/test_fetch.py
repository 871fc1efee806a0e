"""Downloads and archives: what arrives whole, and every fault that leaves nothing under the final name."""

import contextlib
import hashlib
import http.server
import io
import itertools
import multiprocessing
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import h5py
import pytest
import yaml

from pjap_bench import config, files
from pjap_bench.datasets import cards, fetch
from pjap_bench.errors import BenchError


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w", compression) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)  # without the time of day: the same bytes in every process
            member.compress_type = compression
            archive.writestr(member, content)
    return image.getvalue()


BODY = zipped({"tiny.vlt/Good/data": hashlib.shake_256(b"pjap").digest(300_000)})
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
PAGE = b"<!DOCTYPE html><html><title>Please sign in</title></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """/good/a.zip serves BODY; the first part of other paths names what goes wrong."""

    def do_GET(self):
        kind = self.path.split("/")[1]
        self.server.requests.append((self.path, self.headers.get("Range")))
        getattr(self, f"get_{kind}")()

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes, **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body)), "Content_Type": "application/zip"} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def get_good(self, body: bytes = BODY, **headers):
        wanted = self.headers.get("Range")
        if wanted is None or self.headers.get("If-Range", headers.get("ETag")) != headers.get("ETag"):
            return self.answer(200, body, **headers)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        place = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.answer(206, body[start:], Content_Range=place, **headers)

    def get_plain(self):
        """A server without ranges."""
        self.answer(200, BODY)

    def get_tagged(self):
        self.get_good(ETag='"one"')

    def get_missing(self):
        self.answer(404, PAGE, Content_Type="text/html")

    def get_broken(self):
        self.answer(500, b"")

    def get_shaky(self):
        """Fails twice, then works."""
        if len([path for path, _ in self.server.requests if path == self.path]) <= 2:
            return self.answer(503, b"")
        return self.get_good()

    def get_redirected(self):
        self.send_response(302)
        self.send_header("Location", "/login/page")
        self.end_headers()

    def get_login(self):
        self.answer(200, PAGE, Content_Type="text/html; charset=utf-8")

    def get_page(self):
        """A page that says it is a zip."""
        self.answer(200, PAGE)

    def get_text(self):
        self.answer(200, b"not found, sorry")

    def get_empty(self):
        self.answer(200, b"")

    def get_short(self):
        self.answer(200, BODY[:-10])

    def get_other(self):
        self.get_good(BODY[:-1] + b"x")

    def get_endless(self):
        """Says nothing of a length."""
        self.answer(200, BODY, Content_Length=None)

    def get_cut(self):
        """Half of the file, then the connection ends; later requests find nobody."""
        if self.server.requests[:-1]:
            return self.connection.close()
        return self.answer(200, BODY[: SIZE // 2], Content_Length=str(SIZE), ETag='"one"')

    def get_halves(self):
        """Every answer but the last brings half of what is missing."""
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        rest = BODY[start:]
        part = rest if len(rest) < 50_000 else rest[: len(rest) // 2]
        place = {"Content_Range": f"bytes {start}-{SIZE - 1}/{SIZE}"} if start else {}
        self.answer(206 if start else 200, part, Content_Length=str(len(rest)), **place)

    def get_capped(self):
        """Cut at first, then ranges of at most 50000 bytes."""
        if (asked := self.headers.get("Range")) is None:
            return self.answer(200, BODY[:1000], Content_Length=str(SIZE), ETag='"one"')
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        part = BODY[start : start + 50_000]
        self.answer(206, part, Content_Range=f"bytes {start}-{start + len(part) - 1}/{SIZE}", ETag='"one"')

    def get_unsteady(self):
        """No ranges; every other answer is cut a little later."""
        if len(self.server.requests) > 50:
            return self.get_missing()
        return self.answer(200, BODY[: 2000 + len(self.server.requests) % 2], Content_Length=str(SIZE))

    def get_squared(self):
        self.answer(200, BODY, Content_Length="\xb2")

    def get_slow(self):
        """Waits until the test says so."""
        self.server.may_go_on.wait(20)
        self.answer(200, BODY)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "_WAITS", (0, 0))
    monkeypatch.setattr(fetch, "RECORDS", tmp_path / "repository" / "locks")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        running.may_go_on = threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.may_go_on.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "a.zip"


def get(server, target, *kinds, size=SIZE, sha256=SHA256, progress=False):
    return fetch.fetch([f"{server.url}/{kind}/a.zip" for kind in kinds], target, size=size, sha256=sha256, progress=progress)


def visible(target) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if not path.name.startswith("."))


def test_a_file_arrives_whole_and_once(server, target):
    assert get(server, target, "good") == target
    assert target.read_bytes() == BODY
    get(server, target, "good")
    assert len(server.requests) == 1, "a file that is there is not fetched again"
    assert sorted(path.name for path in target.parent.iterdir()) == [".a.zip.lock", "a.zip"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~files._umask()


def test_mirrors_in_order_and_retries(server, target):
    get(server, target, "missing", "broken", "shaky", "good")
    assert target.read_bytes() == BODY
    asked = [path.split("/")[1] for path, _ in server.requests]
    assert asked == ["missing", *["broken"] * fetch._ATTEMPTS, "shaky", "shaky", "shaky"]


def test_a_mirror_on_disk(server, target, tmp_path):
    mirror = tmp_path / "a mirror.zip"
    mirror.write_bytes(BODY)
    urls = [(tmp_path / "none.zip").as_uri(), mirror.as_uri()]
    assert fetch.fetch(urls, target, size=SIZE, sha256=SHA256, progress=False).read_bytes() == BODY
    target.unlink()
    mirror.write_bytes(BODY[:-1])
    with pytest.raises(BenchError, match=r"no file that can be read.*bytes long, but the card says"):
        fetch.fetch(urls, target, size=SIZE, sha256=SHA256, progress=False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"missing/a\.zip: HTTP 404"),
        ("broken", r"broken/a\.zip: HTTP 500 Internal Server Error; 5 attempts"),
        ("redirected", r"redirected to http://[^ ]*/login/page, which is an HTML page"),
        ("login", "it is an HTML page, not the file"),
        ("page", "is an HTML page"),
        ("text", "is no zip archive"),
        ("empty", "it is 0 bytes long"),
        ("short", rf"it is {SIZE - 10} bytes long, but the card says {SIZE}"),
        ("other", f"sha256 is [0-9a-f]{{64}}, but the card says {SHA256}"),
        ("endless", "does not say how long the file is"),
        ("squared", "does not say how long the file is"),
    ],
)
def test_every_fault_is_one_error_and_no_file(server, target, kind, message):
    with pytest.raises(BenchError, match=message) as caught:
        get(server, target, kind, size=SIZE if kind == "short" else None)
    assert "a.zip: no URL gave it" in str(caught.value)
    assert "What to do: check the network" in str(caught.value)
    assert visible(target) == []
    assert not target.with_name(".a.zip.part").exists()


@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "a.tar.gz", "a.zip"])
@pytest.mark.parametrize("content", [PAGE, b"\n" + PAGE, b""])
def test_a_page_or_nothing_is_no_file_of_any_kind(server, target, tmp_path, monkeypatch, name, content):
    """Of a file that nothing is known of, from a server, from a mirror on disk or put there by hand."""
    target, mirror = target.with_name(name), tmp_path / "mirror"
    mirror.write_bytes(content)
    monkeypatch.setattr(Handler, "get_page", lambda self: self.answer(200, content))
    for url in (f"{server.url}/page/{name}", mirror.as_uri()):
        with pytest.raises(BenchError, match=f"{name}: no URL gave it .*(an HTML page|0 bytes long)"):
            fetch.fetch([url], target, size=None, sha256=None, progress=False)
        assert visible(target) == []
    target.write_bytes(content)
    with pytest.raises(BenchError, match=f"{name}: (an HTML page|0 bytes long). What to do: delete it, then run again"):
        fetch.fetch([], target, size=None, sha256=None, progress=False)
    assert not fetch.RECORDS.exists()


@pytest.mark.parametrize(("name", "before"), [("a.hdf5", 0), ("a.h5", 0), ("a.h5", 512), ("a.h5", 1024), ("a.h5", 2**19)])
def test_an_hdf5_file_begins_like_one(server, target, tmp_path, monkeypatch, name, before):
    """At once or after so many bytes of the user's."""
    with h5py.File(tmp_path / "mine.h5", "w", userblock_size=before) as file:
        file["rewards"] = [1.0]
    image = (tmp_path / "mine.h5").read_bytes()
    target = target.with_name(name)
    with pytest.raises(BenchError, match="is no HDF5 file"):
        fetch.fetch([f"{server.url}/good/{name}"], target, size=None, sha256=None, progress=False)
    monkeypatch.setattr(Handler, "get_plain", lambda self: self.answer(200, bytes(100) + image))
    with pytest.raises(BenchError, match="is no HDF5 file"):
        fetch.fetch([f"{server.url}/plain/{name}"], target, size=None, sha256=None, progress=False)
    monkeypatch.setattr(Handler, "get_plain", lambda self: self.answer(200, image))
    for _ in range(2):  # fetched, then found
        fetch.fetch([f"{server.url}/plain/{name}"], target, size=None, sha256=None, progress=False)
    assert target.read_bytes() == image


def test_a_page_is_fetched_where_a_page_is_wanted(server, target):
    target = target.with_name("a.html")
    fetch.fetch([f"{server.url}/login/a.html"], target, size=None, sha256=None, progress=False)
    assert target.read_bytes() == PAGE


def test_no_url_works_and_each_says_why(server, target):
    with pytest.raises(BenchError) as caught:
        fetch.fetch(
            [f"{server.url}/missing/a.zip", "http://127.0.0.1:9/a.zip", "gopher://127.0.0.1/a.zip"],
            target,
            size=None,
            sha256=None,
            progress=False,
        )
    for reason in ("missing/a.zip: HTTP 404", "127.0.0.1:9/a.zip: ", "refused", "5 attempts", "No connection adapters"):
        assert reason in str(caught.value)
    with pytest.raises(BenchError, match="the card lists none"):
        fetch.fetch([], target, size=None, sha256=None, progress=False)


def test_a_cut_connection_is_resumed_by_the_next_call(server, target):
    with pytest.raises(BenchError, match=r"cut/a\.zip: .*5 attempts"):
        get(server, target, "cut")
    part = target.with_name(".a.zip.part")
    half = SIZE // 2
    assert visible(target) == []
    assert part.read_bytes() == BODY[:half]
    get(server, target, "good")
    assert target.read_bytes() == BODY
    assert server.requests[-1] == ("/good/a.zip", f"bytes={half}-")
    assert not part.exists()


def test_a_cut_connection_is_resumed_within_a_call(server, target):
    get(server, target, "halves")
    assert target.read_bytes() == BODY
    starts = [int(asked[6:-1]) for _, asked in server.requests[1:]]
    assert starts == sorted(set(starts)) and len(starts) > 1


@pytest.mark.parametrize("known", [{}, {"size": None, "sha256": None}])
def test_a_server_that_sends_less_than_the_rest_is_asked_again(server, target, known):
    get(server, target, "capped", **known)
    assert target.read_bytes() == BODY


def test_a_server_that_cuts_now_here_now_there_is_given_up(server, target):
    with pytest.raises(BenchError, match="5 attempts"):
        get(server, target, "unsteady")
    assert len(server.requests) <= 2 + fetch._ATTEMPTS


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"sha256": None}])
@pytest.mark.parametrize("content", [None, BODY[:-1], PAGE.ljust(SIZE)])
def test_a_useless_mirror_leaves_what_has_arrived(server, target, tmp_path, known, content):
    mirror = tmp_path / "mirror.zip"
    if content:
        mirror.write_bytes(content)
    urls = [f"{server.url}/cut/a.zip", mirror.as_uri(), f"{server.url}/missing/a.zip"]
    with pytest.raises(BenchError, match=r"mirror\.zip: .*HTTP 404"):
        fetch.fetch(urls, target, size=SIZE, progress=False, **known)
    assert target.with_name(".a.zip.part").read_bytes() == BODY[: SIZE // 2]


def test_a_server_without_ranges_starts_again(server, target):
    with pytest.raises(BenchError):
        get(server, target, "cut")
    get(server, target, "plain")
    assert target.read_bytes() == BODY


def test_a_part_that_was_damaged_is_dropped_and_fetched_again(server, target):
    with pytest.raises(BenchError):
        get(server, target, "cut")
    part = target.with_name(".a.zip.part")
    part.write_bytes(b"x" * part.stat().st_size)
    get(server, target, "good")
    assert target.read_bytes() == BODY
    assert [asked for path, asked in server.requests if "good" in path] == [f"bytes={SIZE // 2}-", None]


def test_a_part_that_is_all_there_is_only_checked(server, target):
    """As left by a process that was ended between the last byte and the new name."""
    with pytest.raises(BenchError):
        get(server, target, "cut")
    target.with_name(".a.zip.part").write_bytes(BODY)
    asked = len(server.requests)
    get(server, target, "good")
    assert target.read_bytes() == BODY
    assert len(server.requests) == asked


def test_a_part_without_a_hash_needs_the_same_answer(server, target):
    """Nothing is known of the file: its beginning counts only with the same URL and ETag."""
    with pytest.raises(BenchError):
        get(server, target, "cut", size=None, sha256=None)
    part = target.with_name(".a.zip.part")
    about = target.with_name(".a.zip.part.json")
    url = f"{server.url}/tagged/a.zip"
    for etag, range_asked in (('"one"', True), ('"two"', True), ("", False)):
        part.write_bytes(BODY[:1000])
        files.write_json(about, {"url": url, "total": SIZE, "sha256": None, "etag": etag})
        get(server, target, "tagged", size=None, sha256=None)
        assert (server.requests[-1][1] == "bytes=1000-") == range_asked
        assert target.read_bytes() == BODY, "another ETag is another file: sent from its beginning"
        target.unlink()
        shutil.rmtree(fetch.RECORDS)


def test_the_first_download_is_recorded_and_later_ones_must_match(server, target):
    get(server, target, "good", size=None, sha256=None)
    record = fetch.RECORDS / "a.zip.yaml"
    found = yaml.safe_load(record.read_text())
    assert (found["size"], found["sha256"], found["urls"]) == (SIZE, SHA256, [f"{server.url}/good/a.zip"])
    target.unlink()
    with pytest.raises(BenchError, match=rf"sha256 is .*locks/a\.zip\.yaml says {SHA256}"):
        get(server, target, "other", size=None, sha256=None)
    with pytest.raises(BenchError, match=r"locks/a\.zip\.yaml: records .* bytes, but the card says 7"):
        get(server, target, "good", size=7, sha256=None)
    assert visible(target) == []
    record.write_text("sha256: 5")
    with pytest.raises(BenchError, match="not the record of a download"):
        get(server, target, "good", size=None, sha256=None)


@pytest.mark.parametrize("kind", ["good", "other"])
def test_two_folders_that_record_the_same_file_at_once(server, target, monkeypatch, kind):
    """Neither takes the other's temporary file for one that a dead process left, nor replaces the other's record."""
    real, other = os.replace, target.parents[1] / "other" / "a.zip"

    def replace(source, destination):
        if Path(destination).parent == fetch.RECORDS and not other.exists():
            get(server, other, "good", size=None, sha256=None)
        real(source, destination)

    monkeypatch.setattr(os, "replace", replace)
    differs = pytest.raises(BenchError, match=rf"a\.zip: sha256 is .*locks/a\.zip\.yaml says {SHA256}.*delete it")
    with differs if kind == "other" else contextlib.nullcontext():
        get(server, target, kind, size=None, sha256=None)
    assert yaml.safe_load((fetch.RECORDS / "a.zip.yaml").read_text())["sha256"] == SHA256
    assert other.read_bytes() == BODY
    assert [path.name for path in fetch.RECORDS.iterdir()] == ["a.zip.yaml"]
    assert visible(target) == visible(other) == ["a.zip"]  # no record beside it


def test_files_that_differ_in_their_suffix_have_records_of_their_own(server, target, monkeypatch):
    get(server, target, "good", size=None, sha256=None)
    fetch.fetch([f"{server.url}/login/a.html"], target.with_name("a.html"), size=None, sha256=None, progress=False)
    assert sorted(path.name for path in fetch.RECORDS.iterdir()) == ["a.html.yaml", "a.zip.yaml"]


def test_the_record_lies_beside_the_file_if_the_repository_is_read_only(server, target, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(fetch, "RECORDS", tmp_path / "file" / "locks")
    get(server, target, "good", size=None, sha256=None)
    assert visible(target) == ["a.zip", "a.zip.record.yaml"]
    target.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(BenchError, match=r"a\.zip: sha256 is .*a\.zip\.record\.yaml says"):
        get(server, target, "good", size=None, sha256=None)


def test_a_wrong_file_that_is_there_is_left_and_named(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(BenchError, match=r"a\.zip: 4 bytes long, but the card says .*delete it"):
        get(server, target, "good")
    assert target.read_bytes() == b"mine"
    assert server.requests == []


def test_too_little_room_is_said_before_the_download(server, target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, 2))
    with pytest.raises(BenchError, match=rf"a\.zip: cannot be written \({SIZE} bytes are needed, 2 are free\)"):
        get(server, target, "good")
    assert visible(target) == []


FILL = """
import shutil, sys
from pjap_bench.datasets import fetch
from pjap_bench.errors import BenchError
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40)  # others fill the disk meanwhile
try:
    fetch.fetch([sys.argv[1]], sys.argv[2] + "/a.zip", size=None, sha256="0" * 64, progress=False)
except BenchError as error:
    print(error)
"""


def test_a_disk_that_fills_up(server, tmp_path):
    """On a tmpfs of 100 kB in a mount namespace of its own; without the right to mount, under a limit on a file's size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "fill.py"
    script.write_text(FILL)
    run = f'exec "{sys.executable}" "{script}" {server.url}/good/a.zip "{disk}"'
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    environment = os.environ | {"PYTHONPATH": str(config.ROOT)}
    mounted = f'mount -t tmpfs -o size=100k none "{disk}" && {run}'
    done = subprocess.run([*unshare, "sh", "-c", mounted], capture_output=True, text=True, check=False, env=environment)
    if not done.stdout:
        limited = f'ulimit -f 100 && trap "" XFSZ && {run}'
        done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=False, env=environment)
    assert "a.zip: cannot be written (" in done.stdout, done.stderr
    assert "free space" in done.stdout
    assert not (disk / "a.zip").exists()


@contextlib.contextmanager
def files_no_longer_than(length: int):
    """The system refuses what is longer, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_without_access(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"file/a\.zip: cannot be written \((File exists|Not a directory)\)"):
        get(server, tmp_path / "file" / "a.zip", "good")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(server, target):
    target.parent.mkdir(mode=0o500)
    with pytest.raises(BenchError, match=r"cannot be written \(Permission denied\)"):
        get(server, target, "good")


def _fetch_and_report(url, target, sha256, records, done):
    fetch.RECORDS = records
    fetch.fetch([url], target, size=None, sha256=sha256, progress=False)
    done.put(files.sha256(target))


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_two_processes_share_one_download(server, target, sha256):
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    arguments = (f"{server.url}/slow/a.zip", target, sha256, fetch.RECORDS, done)
    workers = [context.Process(target=_fetch_and_report, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    while not server.requests:
        workers[0].join(0.05)
    workers[0].join(0.5)  # the other has time to ask as well, if it would
    server.may_go_on.set()
    assert [done.get(timeout=30) for _ in workers] == [SHA256, SHA256]
    for worker in workers:
        worker.join()
    assert len(server.requests) == 1
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert fetch.RECORDS.exists() == (sha256 is None)


def test_a_process_that_waited_looks_at_the_record_of_the_other(server, target, monkeypatch):
    @contextlib.contextmanager
    def when_another_is_done(path, progress):
        files.write_text(fetch.RECORDS / "a.zip.yaml", yaml.safe_dump({"size": SIZE, "sha256": SHA256}))
        path.write_bytes(BODY[:-1] + b"x")  # damaged since
        yield

    monkeypatch.setattr(fetch, "_only_process", when_another_is_done)
    with pytest.raises(BenchError, match=rf"a\.zip: sha256 is .*a\.zip\.yaml says {SHA256}"):
        get(server, target, "good", size=None, sha256=None)


@pytest.fixture
def clock(monkeypatch):
    """Blocks of 10 kB, each of which takes three seconds."""
    monkeypatch.setattr(fetch, "_BLOCK", 10_000)
    seconds = itertools.count(0, 3)
    monkeypatch.setattr(fetch.time, "monotonic", lambda: next(seconds))


def test_progress_in_a_log(tmp_path, target, capfd, clock):
    """A line every ten seconds: of the first block, of every fourth after it and of the last."""
    (tmp_path / "a.zip").write_bytes(BODY)
    fetch.fetch([(tmp_path / "a.zip").as_uri()], target, size=SIZE, sha256=SHA256, progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"a.zip: {done / SIZE:4.0%} of 0.3 MB" for done in (*range(10_000, SIZE, 40_000), SIZE)
    ]
    assert "\r" not in "".join(lines)


def test_progress_on_a_terminal_is_one_line(tmp_path, target, monkeypatch, clock):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    (tmp_path / "a.zip").write_bytes(BODY)
    fetch.fetch([(tmp_path / "a.zip").as_uri()], target, size=SIZE, sha256=SHA256, progress=True)
    first, *redrawn = sys.stderr.getvalue().split("\r\033[K")
    assert first == ""
    assert [text.split(",")[0] for text in redrawn[::15]] == [
        "a.zip:   3% of 0.3 MB",
        "a.zip:  53% of 0.3 MB",
        "a.zip: 100% of 0.3 MB",
    ]
    assert [text.endswith("\n") for text in redrawn] == [False] * 30 + [True]


# What downloads are called


def card(source="og_marl_vault", urls=("https://a.org/x.zip",), **more):
    return {"source": source, "urls": list(urls)} | more


def test_a_download_is_named_by_what_it_is():
    known = card(size=5, sha256="0123456789abcdef" * 4)
    assert fetch.file_name(known) == "0123456789abcdef.zip"
    assert fetch.file_name(known | {"urls": ["https://b.org/mirror", *known["urls"]]}) == "0123456789abcdef.zip"
    assert fetch.file_name(known | {"source": "hdf5"}) == "0123456789abcdef.h5"
    assert fetch.file_name(card()) == fetch.file_name(card(urls=["https://a.org/x.zip", "https://b.org/x.zip"]))
    assert fetch.file_name(card()) != fetch.file_name(card(urls=["https://b.org/x.zip"]))


def test_cards_of_one_file_share_its_download():
    known = {"size": 5, "sha256": "0123456789abcdef" * 4}
    found = {"a": card(), "b": card(), "c": {"source": "generated"}, "d": card(urls=["https://b.org/y.zip"], **known)}
    assert fetch.downloads(found) == {fetch.file_name(card()): "a", "0123456789abcdef.zip": "d"}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"size": 5}, {"size": 6}, "'size' is 6, but 5 in the card 'one', which names https://a.org/x.zip too"),
        ({}, {"size": 6}, "'size' is 6, but None in"),
        ({"sha256": "a" * 64}, {"sha256": "b" * 64}, f"'sha256' is {'b' * 64}, but {'a' * 64} in"),
        ({"sha256": "a" * 64, "size": 5}, {"sha256": "a" * 64, "urls": ["https://b.org"]}, f"which names {'a' * 64} too"),
    ],
)
def test_cards_that_state_different_things_of_one_file(one, other, message):
    with pytest.raises(BenchError, match=rf"datasets/other\.yaml: .*{message}.*make the two cards agree"):
        fetch.downloads({"one": card(**one), "other": card(**other)})


def test_the_name_in_the_documentation_is_that_of_the_download():
    text = (config.ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert f"results/downloads/{fetch.file_name(cards.load('og_marl_good'))}" in text


# Archives


@pytest.fixture
def archive(tmp_path):
    def write(image: bytes):
        path = tmp_path / "a.zip"
        path.write_bytes(image)
        return path

    return write


def test_unpacks_what_was_packed(archive, tmp_path):
    path = archive(zipped({"a.vlt/Good/d/1": b"one", "a.vlt/Poor/d/2": b"two", "a.vlt/empty/": b""}))
    fetch.unpack(path, tmp_path / "all")
    assert (tmp_path / "all" / "a.vlt" / "Poor" / "d" / "2").read_bytes() == b"two"
    fetch.unpack(path, tmp_path / "some", only="*.vlt/Good/*")
    assert [found.name for found in (tmp_path / "some" / "a.vlt").iterdir()] == ["Good"]
    with pytest.raises(BenchError, match=r"holds nothing that fits '\*Best\*'.*a\.vlt/Good, a\.vlt/Poor"):
        fetch.unpack(path, tmp_path / "none", only="*Best*")
    with pytest.raises(BenchError, match="exists and is not empty"):
        fetch.unpack(path, tmp_path / "all")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.zip", "all", "some"]


def link(name: str) -> bytes:
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as opened:
        member = zipfile.ZipInfo(name)
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(member, "/etc/passwd")
    return image.getvalue()


def twice() -> bytes:
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened.writestr("a/b", b"1")
        opened.writestr("a//b", b"2")
    return image.getvalue()


def encrypted() -> bytes:
    image = bytearray(zipped({"a": b"secret"}))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        image[image.index(mark) + place] |= 1
    return bytes(image)


def damaged() -> bytes:
    image = bytearray(BODY)
    image[1000] ^= 1
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (zipped({"../outside": b"x"}), r"member '\.\./outside' leads outside its folder"),
        (zipped({"a/../../outside": b"x"}), "leads outside its folder"),
        (zipped({"/outside": b"x"}), "leads outside its folder"),
        (zipped({"a\\..\\outside": b"x"}), "leads outside its folder"),
        (link("a/link"), "member 'a/link' is a link or a device"),
        (twice(), "member 'a//b' is there twice"),
        (encrypted(), "member 'a' is encrypted"),
        (zipped({"a": b"1"}, zipfile.ZIP_LZMA), "member 'a' is neither stored nor deflated"),
        (zipped({"a": b"1"}, zipfile.ZIP_BZIP2), "member 'a' is neither stored nor deflated"),
        (zipped({"bomb": bytes(3_000_000)}, zipfile.ZIP_DEFLATED), r"unpacks to 3000000 bytes, more than the \d+ that are let"),
        (BODY[:-100], "not a whole zip archive"),
        (BODY[:100_000], "not a whole zip archive"),
        (damaged(), "not a whole zip archive"),
        (PAGE, "not a whole zip archive"),
        (b"", "not a whole zip archive"),
        (zipped({"a": b"1", "a/b": b"2"}), "cannot be unpacked"),
    ],
)
def test_archives_that_are_refused(archive, tmp_path, image, message):
    path = archive(image)
    with pytest.raises(BenchError, match=message) as caught:
        fetch.unpack(path, tmp_path / "out")
    assert str(path) in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["a.zip"], "nothing is left, and nothing outside"
    assert not (tmp_path.parent / "outside").exists()


def test_archives_larger_than_allowed(archive, tmp_path):
    with pytest.raises(BenchError, match="unpacks to 300000 bytes, more than the 299999"):
        fetch.unpack(archive(BODY), tmp_path / "out", limit=299_999)
    assert not (tmp_path / "out").exists()


def test_a_missing_archive(tmp_path):
    with pytest.raises(BenchError, match=r"no\.zip: cannot be unpacked .*No such file"):
        fetch.unpack(tmp_path / "no.zip", tmp_path / "out")


@pytest.mark.parametrize(("free", "reason"), [(2, "300004 bytes are needed, 2 are free"), (None, "File too large")])
def test_a_disk_that_is_full_leaves_nothing_unpacked(archive, tmp_path, monkeypatch, free, reason):
    path = archive(zipped({"a.vlt/first": b"fits", "a.vlt/second": bytes(300_000)}))
    if free:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 8, free))
    refused = pytest.raises(BenchError, match=rf"a\.zip: cannot be unpacked into .*out \({reason}\)\. What to do: free space")
    with refused, files_no_longer_than(100_000):
        fetch.unpack(path, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["a.zip"]
