"""Files appear whole or not at all, also when the disk is full."""

import os
import subprocess
import sys

import pytest

from pjap_bench import config, files
from pjap_bench.errors import BenchError


def test_written_whole(tmp_path):
    files.write_json(tmp_path / "new" / "a.json", {"b": 1})
    assert files.read_json(tmp_path / "new" / "a.json") == {"b": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.written_beside(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["a.csv", "a[1].b.csv", "a"])
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, name):
    kill = "import os, sys; from pjap_bench import files\nwith files.written_beside(sys.argv[1]): os.kill(os.getpid(), 9)"
    beside = {".a.b.12345678.csv", ".other.12345678.csv", ".a.12345678.txt", ".a.1234567.csv"}  # of other targets
    for each in beside:
        (tmp_path / each).write_text("")
    died = subprocess.run([sys.executable, "-c", kill, str(tmp_path / name)], cwd=config.ROOT, check=False)
    assert died.returncode == -9 and len(list(tmp_path.iterdir())) == len(beside) + 1
    files.write_text(tmp_path / name, "whole")
    assert {path.name for path in tmp_path.iterdir()} == beside | {name}


def test_a_folder_is_gone_afterwards_and_what_a_killed_process_left_too(tmp_path):
    kill = "import os, sys; from pjap_bench import files\nwith files.folder_beside(sys.argv[1]): os.kill(os.getpid(), 9)"
    beside = {".a.b.12345678.folder", ".a.12345678", ".a.1234567.folder"}  # of others
    for each in beside:
        (tmp_path / each).mkdir()
    died = subprocess.run([sys.executable, "-c", kill, str(tmp_path / "a.h5")], cwd=config.ROOT, check=False)
    assert died.returncode == -9 and len(list(tmp_path.iterdir())) == len(beside) + 1
    with pytest.raises(KeyboardInterrupt), files.folder_beside(tmp_path / "a.h5") as folder:
        assert {path.name for path in tmp_path.iterdir()} == beside | {folder.name}
        files.write_text(folder / "sub" / "file", "")
        files.write_text(tmp_path / "a.h5", "")  # leaves it alone
        assert (folder / "sub" / "file").exists()
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == beside | {"a.h5"}


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"b": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 2, c: 3}", "key 'c' is there twice .* line 2, column 11"),
        ("a: 1\n1: 2", "a key that is not text .* line 2"),
        ("no: 1", "a key that is not text"),
        ("date: 2020-13-45", "month must be in"),
        ("[" * 5000, "recursion"),
    ],
)
def test_yaml_that_is_not_what_it_seems(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BenchError, match=rf"a\.yaml: not valid YAML .*{message}"):
        files.read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nevery: {<<: *base}\n")
    assert files.read_yaml(tmp_path / "a.yaml")["more"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("text", ["[" * 100_000, f'{{"version": {"1" * 5000}}}', "\xff", "{"])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(BenchError, match=r"a\.json: not valid JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(BenchError, match=r"results/a\.json: cannot be written"):
        files.write_json(tmp_path / "results" / "a.json", {})


FILL = """
import sys
import numpy as np
from pjap_bench import files
from pjap_bench.datasets import hdf5
from pjap_bench.errors import BenchError
from pathlib import Path
folder = Path(sys.argv[1])
random = np.random.default_rng(0)
shapes = {"physics": (60_060, 18), "actions": (60_000, 2, 3), "rewards": (60_000,)}
arrays = {name: random.standard_normal(shape).astype("f4") for name, shape in shapes.items()}
of_episodes = {"lengths": np.full(60, 1000), "terminated": np.zeros(60), "seed": np.arange(60), "policy": np.zeros(60, dtype=int)}
attributes = {"environment": "two_agent_halfcheetah", "layout": "physics", "policies": ["one"]}
dataset = hdf5.Dataset(**arrays, **of_episodes, attributes=attributes)
for write in (lambda: hdf5.write(folder / "good.h5", dataset), lambda: files.write_text(folder / "big.csv", "x" * 2_000_000)):
    try:
        write()
    except BenchError as error:
        print(error)
left = sorted(path.name for path in folder.iterdir())
print("left", left)
"""


def test_a_full_disk(tmp_path):
    """On a tmpfs of 1 MiB: in a mount namespace of its own, so that it needs root or user namespaces."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "fill.py"
    script.write_text(FILL)
    inside = f'mount -t tmpfs -o size=1m none "{disk}" && exec "{sys.executable}" "{script}" "{disk}"'
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    environment = os.environ | {"PYTHONPATH": str(config.ROOT)}
    done = subprocess.run([*unshare, "sh", "-c", inside], capture_output=True, text=True, check=False, env=environment)
    if not done.stdout:
        # No right to mount here: a limit on the size of files is the same error from the same system call.
        limited = f'ulimit -f 1000 && trap "" XFSZ && exec "{sys.executable}" "{script}" "{disk}"'
        done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=False, env=environment)
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    assert "good.h5: cannot be written" in lines[0] and "free space" in lines[0]
    assert "big.csv: cannot be written" in lines[1]
    assert lines[2] == "left []"
