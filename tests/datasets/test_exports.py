"""Exports: what other readers find in them, and that an import gives back what was exported, bit for bit."""

import os
import subprocess
import sys

import h5py
import minari
import numpy as np
import pytest

from pjap_bench import config, files
from pjap_bench.datasets import exports, hdf5, imports
from pjap_bench.environments import get
from pjap_bench.errors import BenchError
from tests.datasets import toys

CASES = [(environment, layout) for environment in toys.ENVIRONMENTS for layout in hdf5.LAYOUTS]


def import_card(environment, **more):
    return toys.card("toy", environment, actions="refuse", dataset_return=3.0, **more)


@pytest.mark.parametrize("lengths", [toys.EQUAL, toys.UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize(("environment", "layout"), CASES)
def test_to_d4rl_and_back(tmp_path, environment, layout, lengths):
    dataset = toys.make(environment, layout, lengths)
    exports.to_d4rl(toys.write(tmp_path / "toy.h5", dataset), tmp_path / "flat.h5")
    found = imports.from_hdf5(import_card(environment, source="hdf5", format="d4rl"), tmp_path / "flat.h5")
    toys.assert_equal(found, dataset)
    assert found.attributes["origin"] == "hdf5"


@pytest.mark.parametrize("lengths", [toys.EQUAL, toys.UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize(("environment", "layout"), CASES)
def test_to_minari_and_back(tmp_path, environment, layout, lengths):
    dataset = toys.make(environment, layout, lengths)
    name = exports.to_minari(toys.write(tmp_path / "toy.h5", dataset), tmp_path / "minari")
    found = imports.from_minari(import_card(environment, source="minari", minari_id=name), tmp_path / "minari")
    toys.assert_equal(found, dataset)
    assert found.attributes["origin"] == "minari"


def test_what_a_reader_of_d4rl_finds(tmp_path):
    dataset = toys.make()
    path = toys.write(tmp_path / "toy.h5", dataset)
    exports.to_d4rl(path, tmp_path / "flat.h5")
    environment = get(dataset.attributes["environment"])
    with h5py.File(tmp_path / "flat.h5") as file:
        of_steps = {key: file[key][:] for key in [*file, "infos/qpos", "infos/qvel"] if isinstance(file[key], h5py.Dataset)}
        assert {len(values) for values in of_steps.values()} == {18}, "but for metadata/, one row a step"
        assert dict(file.attrs)["licence"] == "CC-BY-4.0"
        assert file.attrs["source_sha256"] == files.sha256(path)
        assert "abc" in file.attrs["stamp"]
    assert of_steps["observations"].shape == (18, 2, 13)
    ends = np.flatnonzero(of_steps["terminals"] | of_steps["timeouts"])
    assert ends.tolist() == [4, 5, 14, 17]
    assert np.flatnonzero(of_steps["terminals"]).tolist() == [5, 17]
    inside = np.setdiff1d(np.arange(17), ends)
    assert np.array_equal(of_steps["next_observations"][inside], of_steps["observations"][inside + 1])
    assert np.array_equal(of_steps["next_observations"][-1], environment.observations(dataset.physics[-1]))


def test_without_final_states_there_are_no_next_observations(tmp_path):
    exports.to_d4rl(toys.write(tmp_path / "toy.h5", toys.make(layout="observations")), tmp_path / "flat.h5")
    with h5py.File(tmp_path / "flat.h5") as file:
        assert sorted(file) == ["actions", "metadata", "observations", "rewards", "states", "terminals", "timeouts"]


def test_what_minari_itself_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    dataset = toys.make()
    path = toys.write(tmp_path / "toy.h5", dataset)
    assert exports.to_minari(path, tmp_path / "minari") == "pjap_bench/toy-v0"
    assert list(minari.list_local_datasets()) == ["pjap_bench/toy-v0"]
    found = minari.load_dataset("pjap_bench/toy-v0")
    assert (found.total_episodes, found.total_steps) == (4, 18)
    assert found.observation_space.shape == (2, 13)
    assert found.action_space.shape == (2, 3)
    for index, episode in enumerate(found.iterate_episodes()):
        rows = slice(dataset.offsets[index] + index, dataset.offsets[index + 1] + index + 1)
        observations = get("two_agent_halfcheetah").observations(dataset.physics[rows])
        assert np.array_equal(episode.observations, observations), "with the final one"
        assert all(action in found.action_space for action in episode.actions)
        assert all(observation in found.observation_space for observation in episode.observations)
        assert episode.terminations.tolist() == [False] * (len(episode) - 1) + [index % 2 == 1]
        assert (episode.terminations ^ episode.truncations).sum() == 1
    seeds = [each.get("seed") for each in found.storage.get_episode_metadata(range(4))]
    assert seeds == [0, None, 2, 3]
    metadata = found.storage.metadata
    assert metadata["licence"] == "CC-BY-4.0"
    assert metadata["pjap_bench"]["source_sha256"] == files.sha256(path)
    assert metadata["pjap_bench"]["stamp"] == {"code": "abc"}
    assert minari.get_normalized_score(found, 3.0) == pytest.approx(1.0)


def test_what_is_not_known_is_said(tmp_path):
    dataset = toys.make(layout="observations")
    dataset.attributes.update(noise=np.nan, actions="as stored")
    name = exports.to_minari(toys.write(tmp_path / "toy.h5", dataset), tmp_path, "toy-v3")
    found = minari.MinariDataset(tmp_path / name / "data")
    assert "repeated" in found.storage.metadata["final_observation"]
    assert np.array_equal(found[2].observations[-1], found[2].observations[-2])
    assert "noise" not in found.storage.metadata["pjap_bench"]
    assert np.isinf(found.action_space.high).all()


@pytest.mark.parametrize("name", ["toy", "../toy-v0", "a b-v0", ""])
def test_no_name_of_minari(tmp_path, name):
    path = toys.write(tmp_path / "toy.h5", toys.make())
    with pytest.raises(BenchError, match="is no name of a Minari dataset"):
        exports.to_minari(path, tmp_path / "minari", name)
    assert not (tmp_path / "minari").exists()


def test_nothing_is_overwritten(tmp_path):
    path = toys.write(tmp_path / "toy.h5", toys.make())
    exports.to_minari(path, tmp_path / "minari")
    before = files.sha256(tmp_path / "minari/pjap_bench/toy-v0/data/main_data.hdf5")
    with pytest.raises(BenchError, match="exists already"):
        exports.to_minari(path, tmp_path / "minari")
    assert files.sha256(tmp_path / "minari/pjap_bench/toy-v0/data/main_data.hdf5") == before


@pytest.mark.parametrize("name", ["toy.h5", "folder/../toy.h5", "link.h5", "toy.json"])
def test_a_dataset_is_not_exported_onto_itself(tmp_path, name):
    source = toys.write(tmp_path / "toy.h5", toys.make())
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.h5").symlink_to(source)
    with pytest.raises(BenchError, match=r"is the dataset itself. What to do: choose another file"):
        exports.to_d4rl(source, tmp_path / name)
    hdf5.read(source)


def test_without_minari(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(BenchError, match="Minari cannot be used"):
        exports.to_minari(toys.write(tmp_path / "toy.h5", toys.make()), tmp_path / "minari")
    assert not (tmp_path / "minari").exists()


def test_a_damaged_dataset_is_not_exported(tmp_path):
    path = toys.write(tmp_path / "toy.h5", toys.make())
    path.write_bytes(path.read_bytes()[:-1])
    for export in (exports.to_d4rl, exports.to_minari):
        with pytest.raises(BenchError, match="changed or truncated"):
            export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


FILL = """
import sys
from pathlib import Path
from pjap_bench.datasets import exports
from pjap_bench.errors import BenchError
source, disk = Path(sys.argv[1]), Path(sys.argv[2])
for export in (lambda: exports.to_minari(source, disk), lambda: exports.to_d4rl(source, disk / "flat.h5")):
    try:
        export()
    except BenchError as error:
        print(error)
print("left", [path.name for path in disk.rglob("*") if path.is_file()])
"""


def test_a_full_disk(tmp_path):
    """A limit on the size of files is the same error from the same system calls; HDF5 alone would kill the process."""
    path = toys.write(tmp_path / "toy.h5", toys.make(lengths=(1000,) * 5))
    disk, script = tmp_path / "disk", tmp_path / "fill.py"
    disk.mkdir()
    script.write_text(FILL)
    limited = f'ulimit -f 500 && trap "" XFSZ && exec "{sys.executable}" "{script}" "{path}" "{disk}"'
    environment = os.environ | {"PYTHONPATH": str(config.ROOT)}
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, check=False, env=environment)
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    assert all("cannot be written" in line and "free space" in line for line in lines[:2])
    assert lines[2] == "left []"
