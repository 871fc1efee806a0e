"""Imports: what is made of a user's files, and one clear error for each fault in them."""

import os

import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from minari.serialization import serialize_space

from pjap_bench import files
from pjap_bench.datasets import collection, exports, fetch, hdf5, imports
from pjap_bench.environments import TwoAgentHalfCheetah, get
from pjap_bench.errors import BenchError
from tests.datasets import toys


def d4rl(environment=toys.ENVIRONMENTS[0], **more):
    return toys.card(
        "mine", environment, **({"source": "hdf5", "format": "d4rl", "actions": "refuse", "dataset_return": 3.0} | more)
    )


def own(**more):
    return d4rl(format="pjap_bench", **more)


def of_minari(name="toy-v0"):
    return toys.card("mine", source="minari", minari_id=name, actions="refuse", dataset_return=3.0)


@pytest.fixture
def plain():
    """What a D4RL-style file of 6 steps in two episodes must hold; agents' data as flat rows."""
    random = np.random.default_rng(0)
    return {
        "observations": random.standard_normal((6, 26)).astype(np.float32),
        "actions": random.uniform(-1, 1, (6, 6)).astype(np.float32),
        "rewards": random.standard_normal(6).astype(np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], dtype=bool),
        "timeouts": np.array([0, 0, 0, 0, 0, 1], dtype=bool),
    }


def store(path, arrays, attributes=()):
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            file[key] = values
        file.attrs.update(dict(attributes))
    return path


def read(tmp_path, arrays, card=None, attributes=()):
    return imports.from_hdf5(card or d4rl(), store(tmp_path / "mine.h5", arrays, attributes))


# What is made of good files


@pytest.mark.parametrize("layout", hdf5.LAYOUTS)
def test_our_own_format(tmp_path, layout):
    dataset = toys.make(layout=layout)
    hdf5.write(tmp_path / "mine.h5", dataset)
    found = imports.from_hdf5(own(), tmp_path / "mine.h5")
    toys.assert_equal(found, dataset)
    assert found.attributes["dataset"] == "mine"
    assert found.attributes["origin"] == "hdf5"


def test_our_own_format_with_the_least_that_a_user_writes(tmp_path):
    dataset = toys.make(layout="observations")
    names = ("lengths", "terminated", "seed", "policy", "rewards", "actions", "observations", "states")
    arrays = {name: getattr(dataset, name) for name in names} | {"notes": np.bytes_(b"mine")}
    arrays["actions"] = arrays["actions"].astype(np.float64)
    attributes = {"format": hdf5.FORMAT, "environment": "two_agent_halfcheetah", "dataset": "?", "layout": "observations"}
    store(tmp_path / "mine.h5", arrays, attributes | {"policies": ["first", "second"]})
    imports.import_dataset(own(), tmp_path / "mine.h5", tmp_path / "out" / "mine.h5", {"code": "abc"})
    found = hdf5.read(tmp_path / "out" / "mine.h5")
    for name in names:
        assert np.array_equal(getattr(found, name), getattr(dataset, name))
    assert found.attributes["seam"] == [0]
    assert np.isnan(found.attributes["noise"])
    summary = hdf5.read_summary(tmp_path / "out" / "mine.h5")
    assert (summary["noise_floor"], summary["stamp"], summary["origin"]) == (None, {"code": "abc"}, "hdf5")


def test_flat_rows_are_cut_by_the_agents(tmp_path, plain):
    found = read(tmp_path, plain)
    assert np.array_equal(found.observations, plain["observations"].reshape(6, 2, 13))
    assert np.array_equal(found.actions[:, 1], plain["actions"][:, 3:])
    assert found.lengths.tolist() == [2, 4]
    assert found.terminated.tolist() == [True, False]
    assert found.seed.tolist() == [-1, -1]
    assert found.attributes["policies"] == ["unknown"]
    assert found.attributes["tail"] == 0


def test_the_state_is_copied_out_of_what_agents_see(tmp_path, plain):
    physics = np.random.default_rng(1).standard_normal((6, 18)).astype(np.float32)
    plain["observations"] = TwoAgentHalfCheetah.observations(physics)
    assert np.array_equal(read(tmp_path, plain).states, TwoAgentHalfCheetah.state(physics))
    plain["infos/state"] = np.ones((6, 17), dtype=np.float32)
    assert (read(tmp_path, plain).states == 1).all(), "a stated one is taken"
    plain["states"] = np.zeros((6, 17), dtype=np.float32)
    assert (read(tmp_path, plain).states == 0).all(), "this key comes first"


def test_a_state_that_no_agent_sees_must_be_there(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "state", staticmethod(lambda physics: np.square(physics[..., 1:])))
    with pytest.raises(BenchError, match=r"do not see all that the state holds.*add the key 'states'"):
        read(tmp_path, plain)


def test_data_of_a_single_agent_task(tmp_path):
    hopper = get("three_agent_hopper")
    physics = np.random.default_rng(1).standard_normal((4, 12)).astype(np.float32)
    arrays = {
        "observations": hopper.state(physics),
        "actions": np.zeros((4, 3), dtype=np.float32),
        "rewards": np.zeros((4, 1)),
        "terminals": np.array([0, 0, 0, 1]),
        "timeouts": np.zeros(4),
    }
    found = read(tmp_path, arrays, d4rl("three_agent_hopper"))
    assert np.array_equal(found.observations, hopper.observations(physics))
    assert np.array_equal(found.states, hopper.state(physics))
    arrays |= {"observations": np.zeros((4, 17), dtype=np.float32), "actions": np.zeros((4, 6), dtype=np.float32)}
    with pytest.raises(BenchError, match="in which not all is that the agents see"):
        read(tmp_path, arrays)


@pytest.mark.parametrize("environment", toys.ENVIRONMENTS)
def test_physics_without_final_states(tmp_path, environment):
    """As in D4RL's own files of the Gymnasium tasks."""
    dataset, sizes = toys.make(environment), get(environment)
    exports.to_d4rl(toys.write(tmp_path / "toy.h5", dataset), tmp_path / "flat.h5")
    with h5py.File(tmp_path / "flat.h5", "r+") as file:
        del file["metadata"], file["next_observations"], file["observations"]
        before = dataset.physics[hdf5.before_actions(dataset.lengths)]
        file["observations"] = sizes.state(before)
    found = imports.from_hdf5(d4rl(environment), tmp_path / "flat.h5")
    assert found.layout == "observations"
    for values, expected in zip(found.observed(), dataset.observed(), strict=True):
        assert np.array_equal(values, expected)
        assert values.dtype == np.float32
    assert found.attributes["policies"] == ["unknown"]


def test_steps_after_the_last_end_are_a_cut_episode(tmp_path, plain):
    plain["timeouts"][-1] = False
    found = read(tmp_path, plain)
    assert found.lengths.tolist() == [2, 4]
    assert found.terminated.tolist() == [True, False]
    assert found.attributes["tail"] == 4


def test_offsets_say_where_episodes_begin(tmp_path, plain):
    plain["timeouts"][:] = False
    plain["metadata/offsets"] = np.array([0, 2, 3])
    found = read(tmp_path, plain)
    assert found.lengths.tolist() == [2, 1, 3]
    assert found.terminated.tolist() == [True, False, False]


def test_policies_and_seeds_of_episodes(tmp_path, plain):
    plain |= {"metadata/seed": np.array([7, 8]), "metadata/policy": np.array([1, 0])}
    found = read(tmp_path, plain, attributes={"policies": ["a", "b"]})
    assert (found.seed.tolist(), found.policy.tolist(), found.attributes["policies"]) == ([7, 8], [1, 0], ["a", "b"])
    assert read(tmp_path, plain).policy.tolist() == [0, 0], "policies without names are not known"


@pytest.mark.parametrize(("policy", "stated"), [("clip", hdf5.CLIPPED), ("keep", "as stored")])
@pytest.mark.parametrize("form", ["d4rl", "pjap_bench", "minari"])
def test_actions_outside_by_the_cards_policy(tmp_path, form, policy, stated):
    dataset = toys.make()
    dataset.actions[3, 1, 2] = -1.5
    dataset.attributes["actions"] = "as stored"
    path = toys.write(tmp_path / "toy.h5", dataset)
    card = (of_minari if form == "minari" else d4rl)() | {"format": form}
    if form == "minari":
        exports.to_minari(path, tmp_path / "folder", "toy-v0")
        path = tmp_path / "folder"
    elif form == "d4rl":
        exports.to_d4rl(path, path := tmp_path / "flat.h5")
    imports.import_dataset(card | {"actions": policy}, path, tmp_path / "mine.h5", {})
    found = hdf5.read(tmp_path / "mine.h5")
    assert found.attributes["actions"] == stated
    assert found.actions[3, 1, 2] == (-1.0 if policy == "clip" else -1.5)
    with pytest.raises(BenchError, match=r"1 of 108 numbers of actions are outside \[-1, 1\], up to 1.5.*'actions: clip'"):
        imports.import_dataset(card, path, tmp_path / "other.h5", {})
    assert not (tmp_path / "other.h5").exists()


@pytest.mark.parametrize("form", ["d4rl", "pjap_bench", "minari"])
def test_returns_that_are_not_the_published_ones(tmp_path, form):
    dataset = toys.make()
    dataset.rewards[-3:] = 1000.0  # of the cut episode, which has no published return
    path, card = toys.write(tmp_path / "toy.h5", dataset), d4rl(format=form)
    if form == "minari":
        card, path = of_minari(exports.to_minari(path, tmp_path)), tmp_path
    elif form == "d4rl":
        exports.to_d4rl(path, path := tmp_path / "flat.h5")
    returns = dataset.returns[:-1]
    published = {"mean": returns.mean(), "sd": returns.std(), "min": returns.min(), "max": returns.max(), "origin": "here"}
    for changed in ({"tolerance": 0.1}, {"mean": 1e6}):
        imports.import_dataset(card | {"published": published | changed}, path, tmp_path / "out.h5", {})
    with pytest.raises(BenchError, match=r"differ from the published ones by more than 1.0: mean .* instead of 1000000.00"):
        imports.import_dataset(card | {"published": published | {"mean": 1e6, "tolerance": 1.0}}, path, tmp_path / "no.h5", {})
    assert not (tmp_path / "no.h5").exists()


def test_returns_of_a_rule_that_are_not_the_published_ones(tmp_path):
    published = {"mean": 1e6, "sd": 1.0, "min": 0.0, "max": 0.0, "origin": "here", "tolerance": 1.0}
    card = toys.card("own", source="rule", dataset_return=3.0, published=published)
    with pytest.raises(BenchError, match=r"own.*instead of 1000000.00"):
        collection.finish(tmp_path / "own.h5", toys.make(), card, {}, noise_floor=None)
    assert not list(tmp_path.iterdir())


# Faults of flat files


def cut(key, rows=slice(None), *more):
    return lambda arrays: arrays.update({key: arrays[key][(rows, *more)]})


def put(key, values):
    return lambda arrays: arrays.update({key: np.array(values)})


def spoil(key, value, at=4):
    def change(arrays):
        arrays[key] = arrays[key].astype(np.float64)
        arrays[key][at] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("timeouts"),
            r"key 'timeouts' is missing \(there: actions, observations, rewards, terminals\)",
        ),
        (lambda arrays: arrays.clear(), r"key 'rewards' is missing \(there: nothing\)"),
        (lambda arrays: arrays.update({key: values[:0] for key, values in arrays.items()}), "no steps"),
        (lambda arrays: [put(key, [0] * 6)(arrays) for key in ("terminals", "timeouts")], "no ends"),
        (put("terminals", [0, 1, 0, 2, 0, 0]), "terminals holds other values than 0 and 1"),
        (put("terminals", [0, 0.5, 0, 0, 0, 0]), "terminals holds other values than 0 and 1"),
        (cut("observations", slice(5)), "observations has 5 rows, not 6"),
        (cut("observations", slice(None), slice(25)), r"observations has shape \(6, 25\), not \(6, 2, 13\) or \(6, 26\)"),
        (cut("actions", slice(None), slice(5)), r"actions has shape \(6, 5\), not \(6, 2, 3\) or \(6, 6\)"),
        (cut("actions", slice(None), 0), r"actions has shape \(6,\)"),
        (put("rewards", np.zeros((6, 2, 2))), r"rewards has shape \(6, 2, 2\)"),
        (put("rewards", 1.0), "key 'rewards' is not an array"),
        (put("rewards", [[0.0, 1.0]] + [[2.0, 2.0]] * 5), "agents differ in 'rewards' at 1 of 6 steps, first at step 0"),
        (put("terminals", [[0, 1]] + [[0, 0]] * 5), "agents differ in 'terminals'"),
        (put("actions", np.zeros((6, 6), dtype=int)), "actions is of dtype int64, not an array of floating-point numbers"),
        (put("rewards", [b"1"] * 6), r"rewards is of dtype \|S1, not an array of floating-point numbers"),
        (spoil("actions", np.nan), "actions holds values that are not finite, first in row 4"),
        (spoil("observations", np.inf), "observations holds values that are not finite, first in row 4"),
        (spoil("observations", 1e300), "observations holds values that are not finite"),
        (spoil("rewards", -np.inf), "rewards holds values that are not finite, first in row 4"),
        (put("rewards", [[1.0, 1.0]] * 5 + [[1.0, np.nan]]), "rewards holds values that are not finite, first in row 5"),
        (put("states", np.zeros((6, 16))), r"states have shape \(6, 16\), not \(6, 17\)"),
        (put("states", np.full((6, 17), np.nan)), "states holds values that are not finite"),
        (put("metadata/offsets", [0, 3, 2]), "overlap or are out of order"),
        (put("metadata/offsets", [0, 2, 2]), "overlap or are out of order"),
        (put("metadata/offsets", [1, 2]), "must rise from 0 to less than 6"),
        (put("metadata/offsets", [0, 6]), "must rise from 0 to less than 6"),
        (put("metadata/offsets", [0.0, 2.0]), "metadata/offsets is of dtype float64, not an array of whole numbers"),
        (put("metadata/offsets", [0, 3]), "end an episode at step 1, metadata/offsets do not"),
        (put("metadata/seed", [1, 2, 3]), "metadata/seed has 3 rows, not 2"),
        (
            lambda arrays: (put("infos/qpos", np.zeros((6, 9)))(arrays), put("infos/qvel", np.zeros((6, 8)))(arrays)),
            "are 18 numbers",
        ),
        (
            lambda arrays: (put("infos/qpos", np.zeros((6, 9)))(arrays), put("infos/qvel", np.zeros((6, 9)))(arrays)),
            "observations differ from what infos/qpos and infos/qvel give, first at step 0",
        ),
    ],
)
def test_faults_of_flat_files(tmp_path, plain, change, message):
    change(plain)
    with pytest.raises(BenchError, match=message) as caught:
        read(tmp_path, plain)
    assert "mine.h5" in str(caught.value)
    assert "What to do" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable HDF5 file"),
        (b"<html>404</html>", "not a readable HDF5 file"),
        (None, "cannot be read|not a readable HDF5 file"),
    ],
)
@pytest.mark.parametrize("form", [{"format": "d4rl"}, {"format": "pjap_bench"}])
def test_files_that_are_none(tmp_path, form, content, message):
    path = tmp_path / "mine.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        imports.from_hdf5(d4rl(**form), path)


@pytest.mark.parametrize(
    ("pinned", "message"),
    [({"sha256": "0" * 64}, "sha256 is .*, but the card says 0000"), ({"size": 10}, "9 bytes, but the card says 10")],
)
def test_another_file_than_the_cards(tmp_path, pinned, message):
    path = tmp_path / "mine.h5"
    path.write_bytes(b"something")
    with pytest.raises(BenchError, match=message):
        imports.from_hdf5(d4rl(**pinned), path)


@pytest.mark.parametrize("recorded", ["9", "123"])
def test_another_file_than_the_first_download(tmp_path, monkeypatch, recorded):
    """Of a card without a sha256: the file may have been put there by hand."""
    monkeypatch.setattr(fetch, "RECORDS", tmp_path)
    (tmp_path / "a.h5.yaml").write_text(f"size: {recorded}\nsha256: {'a' * 64}\n")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n.")
    with pytest.raises(BenchError, match=r"(sha256 is|9 bytes long).*, but .*a\.h5\.yaml says (aaaa|123)"):
        imports.from_hdf5(d4rl(urls=["http://nowhere"]), tmp_path / "a.h5")
    with pytest.raises(BenchError, match=r"b.h5: is not there. What to do: check the path, or fetch it first"):
        imports.from_hdf5(d4rl(urls=["http://nowhere"]), tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("key", "new", "message"),
    [
        ("rewards", h5py.SoftLink("/nowhere"), "mine.h5: not a readable HDF5 file"),
        ("rewards", lambda file, key: huge(file, key), r"mine.h5: not a readable HDF5 file \(.*allocate"),
        ("seeds", lambda file, _: file.create_dataset("metadata/seed", data=np.full(2, 2**63, np.uint64)), "a seed beyond"),
    ],
)
def test_flat_files_that_numpy_or_hdf5_do_not_take(tmp_path, plain, key, new, message):
    path = store(tmp_path / "mine.h5", plain | {"seeds": []})
    with h5py.File(path, "r+") as file:
        in_place_of(key, new)(file)
    with pytest.raises(BenchError, match=message):
        imports.import_dataset(d4rl(), path, tmp_path / "out.h5", {})


def test_nothing_is_written_of_a_file_with_a_fault(tmp_path, plain):
    plain["rewards"] = np.full(6, np.nan)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for key, values in plain.items():
            file[key] = values
    with pytest.raises(BenchError, match="not finite"):
        imports.import_dataset(d4rl(), tmp_path / "mine.h5", tmp_path / "out" / "mine.h5", {})
    assert not (tmp_path / "out").exists()


def test_no_dataset_is_left_without_its_summary(tmp_path, plain):
    (tmp_path / "out.json").mkdir()  # which refuses to be replaced by a file
    with pytest.raises(BenchError, match=r"out.json: cannot be written"):
        imports.import_dataset(d4rl(), store(tmp_path / "mine.h5", plain), tmp_path / "out.h5", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.h5", "out.json"]


# Faults of our own format


def set_attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def replace(key, change):
    """Another array in the place of this one."""

    def in_file(file):
        values = change(file[key][:])
        del file[key]
        file[key] = values

    return in_file


def in_place_of(key, new):
    """A link, or what makes a dataset of this name."""

    def in_file(file):
        file.move(key, "kept")
        if callable(new):
            new(file, key)
        else:
            file[key] = new

    return in_file


def huge(file, key):
    file.create_dataset(key, (10**14,), np.float32, chunks=(1000,))


def raw(file, key):
    file.create_dataset(key, (18,), np.float32, external=[("other.bin", 0, 72)])


def virtual(file, key):
    layout = h5py.VirtualLayout((18,), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "rewards", (18,))
    file.create_virtual_dataset(key, layout)


@pytest.mark.parametrize("new", [h5py.ExternalLink("other.h5", "rewards"), raw, virtual])
@pytest.mark.parametrize("form", ["pjap_bench", "d4rl", "minari"])
def test_what_lies_in_another_file_is_not_read(tmp_path, form, new):
    """No sha256 of the file would cover it."""
    path, key = toys.write(tmp_path / "toy.h5", toys.make(layout="observations")), "rewards"
    if form == "d4rl":
        exports.to_d4rl(path, path := tmp_path / "flat.h5")
    if form == "minari":
        name, key = exports.to_minari(path, tmp_path), "episode_0/rewards"
        path = tmp_path / name / "data" / "main_data.hdf5"
    with h5py.File(path, "r+") as file:
        in_place_of(key, new)(file)
    card = of_minari(name) if form == "minari" else d4rl(format=form)
    with pytest.raises(BenchError, match=f"{path.name}: key '{key}' lies in another file. What to do: correct the file"):
        imports.import_dataset(card, tmp_path if form == "minari" else path, tmp_path / "out.h5", {})


def filled(value):
    return lambda values: np.full_like(values, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_attribute("format", "pjap_bench 1"), "format is 'pjap_bench 1', not 'pjap_bench 2'"),
        (set_attribute("layout", "flat"), "layout 'flat'"),
        (set_attribute("environment", ["two_agent_halfcheetah"] * 2), "attributes environment are missing or not text"),
        (set_attribute("policies", "first"), "attributes policies are missing or not text"),
        (lambda file: file.attrs.__delitem__("dataset"), "attributes dataset are missing or not text"),
        (set_attribute("environment", "three_agent_hopper"), r"actions has shape \(18, 2, 3\), not \(18, 3, 1\)"),
        (set_attribute("seam", [0, 4]), r"seam \[0, 4\] does not rise from 0 to less than 4 episodes"),
        (set_attribute("seam", [0, 2, 1]), "does not rise"),
        (set_attribute("seam", 0), "does not rise"),
        (set_attribute("tail", 2), "tail 2 is not the 3 steps of the last episode, nor 0"),
        (set_attribute("tail", [3, 3]), r"tail \[3, 3\] is not"),
        (lambda file: file.__delitem__("rewards"), "not a readable HDF5 file"),
        (in_place_of("rewards", h5py.SoftLink("/nowhere")), "not a readable HDF5 file"),
        (in_place_of("rewards", huge), r"not a readable HDF5 file \(.*allocate"),
        (replace("seed", lambda values: values.astype(np.uint64) + 2**63), "a seed beyond 9223372036854775807"),
        (replace("terminated", filled(5)), "terminated holds other values than 0 and 1"),
        (replace("policy", filled(2)), "a policy index without a name"),
        (replace("seed", lambda values: values + 0.5), "seed is of dtype float64, not whole numbers"),
        (replace("actions", lambda values: values.astype(int)), "actions is of dtype int64, not floating-point numbers"),
        (replace("rewards", lambda values: values.astype(float) + 1e300), "rewards holds values that are not finite"),
        (replace("rewards", filled(np.nan)), "rewards holds values that are not finite"),
        (replace("states", lambda values: values[:, 1:]), r"states has shape \(18, 16\), not \(18, 17\)"),
    ],
)
def test_faults_of_our_own_format_are_the_files_to_correct(tmp_path, change, message):
    hdf5.write(tmp_path / "mine.h5", toys.make(layout="observations"))
    with h5py.File(tmp_path / "mine.h5", "r+") as file:
        change(file)
    with pytest.raises(BenchError, match=message) as caught:
        imports.from_hdf5(own(), tmp_path / "mine.h5")
    assert "mine.h5" in str(caught.value)
    assert "What to do: correct the file, or use another" in str(caught.value)


@pytest.mark.parametrize("kind", [np.uint64, np.uint8])
def test_whole_numbers_of_any_kind(tmp_path, kind):
    dataset = toys.make()
    hdf5.write(tmp_path / "mine.h5", dataset)
    with h5py.File(tmp_path / "mine.h5", "r+") as file:
        for key in ("lengths", "policy", "terminated"):
            replace(key, lambda values: values.astype(kind))(file)
    imports.import_dataset(own(), tmp_path / "mine.h5", tmp_path / "out.h5", {})
    toys.assert_equal(hdf5.read(tmp_path / "out.h5"), dataset)


# Faults of Minari datasets


def in_episode(key, change, episode=1):
    """Another array in the place of this one of an episode; toys have 5, 1, 9 and 3 steps."""
    return lambda file, _: replace(f"episode_{episode}/{key}", change)(file)


def at(index, value):
    def change(values):
        values[index] = value
        return values

    return change


def without(*keys):
    def change(_, metadata):
        for key in keys:
            del metadata[key]

    return change


def minari_with(folder, change, layout="observations"):
    """A toy as Minari dataset in folder/minari, whose HDF5 file and metadata (a dict) `change` alters; its card."""
    name = exports.to_minari(toys.write(folder / "toy.h5", toys.make(layout=layout)), folder / "minari")
    data = folder / "minari" / name / "data"
    metadata = files.read_json(data / "metadata.json")
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        change(file, metadata)
    files.write_json(data / "metadata.json", metadata)
    return of_minari(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_episode("observations", filled(np.nan)), "observations holds values that are not finite, first in row 5"),
        (in_episode("infos/state", filled(np.inf)), "states holds values that are not finite, first in row 5"),
        (in_episode("actions", filled(np.nan)), "actions holds values that are not finite, first in row 5"),
        (in_episode("rewards", filled(np.nan)), "rewards holds values that are not finite, first in row 5"),
        (in_episode("terminations", at(1, True), 2), "episode 2: an end in the middle of the episode"),
        (in_episode("truncations", at(7, True), 2), "episode 2: an end in the middle of the episode"),
        (in_episode("terminations", lambda values: values + 2), "episode 1: terminations holds other values than 0 and 1"),
        (in_episode("observations", lambda values: values[:1]), "episode 1: observations has 1 rows, not 2"),
        (in_episode("actions", lambda values: values.astype(int)), "episode 1: actions is of dtype int64"),
        (in_episode("observations", lambda values: values[..., 1:]), "observations changes its shape"),
        (lambda file, _: file.__delitem__("episode_1/infos"), "infos/state is in 3 of 4 episodes"),
        (lambda file, _: file.__delitem__("episode_1/actions"), "Minari cannot read this dataset .*actions"),
        (lambda file, _: file.__delitem__("episode_3"), "Minari cannot read this dataset .*episode_3"),
        (without("observation_space"), "metadata.json: the dataset does not state its spaces"),
        (without("action_space"), "metadata.json: the dataset does not state its spaces"),
        (lambda _, metadata: metadata["pjap_bench"].update(seam=[1]), r"seam \[1\] does not rise"),
    ],
)
def test_faults_of_minari_datasets(tmp_path, change, message):
    card = minari_with(tmp_path, change)
    with pytest.raises(BenchError, match=message) as caught:
        imports.from_minari(card, tmp_path / "minari")
    assert str(tmp_path / "minari") in str(caught.value)
    assert "What to do: correct the file, or use another" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("infos/qpos", lambda values: values[:, 1:], "infos/qpos and infos/qvel have 17 numbers, two_agent_halfcheetah has 18"),
        ("infos/qvel", lambda values: values + 1, "observations differ from what infos/qpos and infos/qvel give"),
        ("observations", lambda values: values[..., 1:], "24 numbers a step, not 26"),
    ],
)
def test_faults_of_the_physics_in_minari_datasets(tmp_path, key, change, message):
    card = minari_with(tmp_path, in_episode(key, change), layout="physics")
    with pytest.raises(BenchError, match=f"episode 1: .*{message}"):
        imports.from_minari(card, tmp_path / "minari")


@pytest.mark.parametrize("names", [("agent_0", "agent_1"), ("agent_0", "agent_2")])
def test_agents_of_minari_as_a_dict(tmp_path, names):
    dataset = toys.make(layout="observations")

    def apart(file, metadata):
        for key, space in (("observations", "observation_space"), ("actions", "action_space")):
            for episode in file.values():
                values = episode[key][:]
                del episode[key]
                for agent, name in enumerate(names):
                    episode[f"{key}/{name}"] = values[:, agent]
            spaces = Dict(dict.fromkeys(names, Box(-9, 9, values.shape[2:], np.float32)))
            metadata[space] = serialize_space(spaces, to_string=True)

    card = minari_with(tmp_path, apart)
    if names[1] == "agent_1":
        toys.assert_equal(imports.from_minari(card, tmp_path / "minari"), dataset)
    else:
        with pytest.raises(BenchError, match="a Dict of agent_0, agent_2; needed are agent_0, agent_1"):
            imports.from_minari(card, tmp_path / "minari")


@pytest.mark.parametrize("form", ["d4rl", "pjap_bench", "minari"])
def test_data_of_another_environment_than_the_cards(tmp_path, form):
    path = toys.write(tmp_path / "toy.h5", toys.make("three_agent_hopper"))
    if form == "minari":
        card, path = of_minari(exports.to_minari(path, tmp_path)), tmp_path
    else:
        card = d4rl(format=form)
    if form == "d4rl":
        exports.to_d4rl(path, path := tmp_path / "flat.h5")
    with pytest.raises(BenchError, match=r"environment three_agent_hopper.*correct the file, or the card's environment"):
        imports.import_dataset(card, path, tmp_path / "out.h5", {})


def test_a_minari_dataset_that_is_not_there(tmp_path):
    with pytest.raises(BenchError, match="nowhere"):
        imports.from_minari(of_minari("nowhere/to-be-found-v0"), tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: os.truncate(data / "main_data.hdf5", 500), "main_data.hdf5: not a readable HDF5 file .*truncated"),
        (lambda data: (data / "main_data.hdf5").unlink(), "Minari cannot read this dataset .*No data found"),
        (lambda data: (data / "metadata.json").write_text("{"), "metadata.json: Minari cannot read this dataset"),
        (lambda data: (data / "metadata.json").unlink(), "metadata.json: Minari cannot read this dataset .*No such file"),
    ],
)
def test_a_damaged_minari_dataset(tmp_path, damage, message):
    source = toys.write(tmp_path / "toy.h5", toys.make())
    name = exports.to_minari(source, tmp_path / "minari")
    damage(tmp_path / "minari" / name / "data")
    with pytest.raises(BenchError, match=message) as caught:
        imports.from_minari(of_minari(name), tmp_path / "minari")
    assert "What to do: correct the file, or use another" in str(caught.value)
