"""A release is checked whenever it is used."""

import pytest

from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.releases import manifest
from tests.releases.conftest import change

RUN = "runs/good/maddpg_cql/seeds-0-0/evaluations.csv"


def test_a_whole_release(pinned):
    about = manifest.read(pinned)
    assert set(about["files"]) == {path.relative_to(pinned).as_posix() for path in pinned.rglob("*") if path.is_file()} - {
        "release.json"
    }
    assert about["files"][RUN] == {"sha256": files.sha256(pinned / RUN), "bytes": (pinned / RUN).stat().st_size}


def flip(release):
    content = bytearray((release / RUN).read_bytes())
    content[len(content) // 2] ^= 1
    (release / RUN).write_bytes(content)


def link(release):
    (release / RUN).rename(release.parent / "elsewhere")
    (release / RUN).symlink_to(release.parent / "elsewhere")


def link_folder(release):
    (release / "games").rename(release.parent / "elsewhere")
    (release / "games").symlink_to(release.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, rf"{RUN}: was changed"),
        (lambda release: (release / RUN).write_bytes((release / RUN).read_bytes()[:-1]), rf"{RUN}: was changed"),
        (lambda release: (release / RUN).unlink(), rf"{RUN}: is missing"),
        (
            lambda release: (release / "games" / "more.json").write_text("{}"),
            "holds 'games/more.json', which release.json does not",
        ),
        (link, rf"{RUN}: is a link"),
        (link_folder, "holds 'games', which release.json does not name"),
        (lambda release: (release / "release.json").write_text("{"), r"release\.json: not valid JSON"),
        (lambda release: change(release / "release.json", files={}), r"release\.json: key 'files'"),
        (lambda release: change(release / "release.json", format=2), r"release\.json: unknown key 'format'"),
    ],
)
def test_a_damaged_release(damage, message, release):
    damage(release)
    with pytest.raises(BenchError, match=message):
        manifest.read(release)


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "games/../../outside", "games//figure1.npz", "a\\b", "release.json", "."]
)
def test_a_path_outside(name, release):
    (release.parent / "outside").write_bytes(b"")
    about = files.read_json(release / "release.json")
    empty = {"sha256": files.sha256(release.parent / "outside"), "bytes": 0}
    change(release / "release.json", files=about["files"] | {name: empty})
    with pytest.raises(BenchError, match="which is no path inside the release"):
        manifest.read(release)


def test_a_release_that_does_not_exist(release):
    with pytest.raises(BenchError, match=r"second: there is no such release.*use one of: .*first"):
        manifest.read(release.parent / "second")
    with pytest.raises(BenchError, match=r"make one with `make pin NAME=\.\.\.`"):
        manifest.read(release.parent / "nowhere" / "second")


@pytest.mark.parametrize(
    ("folder", "settings"),
    [("quick", "SCALE=quick"), ("quick/sweeps/what_decides", "SWEEP=what_decides SCALE=quick")],
)
def test_results_are_no_release_yet(tmp_path, folder, settings):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "configuration.json").write_text("{}")
    with pytest.raises(BenchError, match=rf"a folder of results; pin it first: make pin NAME=\.\.\. {settings}"):
        manifest.read(tmp_path / folder)
