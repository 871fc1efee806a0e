"""OG-MARL's vaults, read without flashbax: vaults that flashbax wrote, and everything that can be wrong with one."""

import functools
import http.server
import json
import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import yaml

from pjap_bench import files
from pjap_bench.datasets import cards, collection, fetch, hdf5, vault
from pjap_bench.errors import BenchError
from tests.datasets.test_fetch import files_no_longer_than
from tests.datasets.vaults import content

VAULTS = Path(__file__).parent / "vaults"
ENVIRONMENT = "two_agent_halfcheetah"
SHA256 = json.loads((VAULTS / "archives.json").read_text())["sha256"]


@functools.cache
def statistics(uid: str) -> dict:
    returns = content.returns(uid, tail=False)
    return {"mean": returns.mean(), "sd": returns.std(), "min": returns.min(), "max": returns.max()}


@pytest.fixture
def card():
    """The card of the vault Poor: its actions are clipped, its statistics known to two decimals."""
    return {
        "id": "tiny_poor",
        "title": "A tiny vault",
        "source": "og_marl_vault",
        "environment": ENVIRONMENT,
        "description": "For tests.",
        "licence": "Apache-2.0",
        "citation": "tests/datasets/vaults",
        "urls": ["http://127.0.0.1/tiny.zip"],
        "size": (VAULTS / "tiny.zip").stat().st_size,
        "sha256": SHA256["tiny.zip"],
        "uid": "Poor",
        "actions": "clip",
        "random_return": -288.8,
        "dataset_return": 10.0,
        "published": {name: round(float(value), 2) for name, value in statistics("Poor").items()}
        | {"origin": "content.py", "tolerance": 0.01},
    }


@pytest.fixture
def card_file(card, tmp_path, monkeypatch):
    """Writes a changed card where the project's cards are looked for."""
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "cards")
    cards.FOLDER.mkdir()

    def write(**changes):
        (cards.FOLDER / "tiny_poor.yaml").write_text(yaml.safe_dump(card | changes))
        return "tiny_poor"

    write()
    return write


@pytest.fixture
def folder(tmp_path):
    """The vaults tiny.vlt/{Good, Poor}, unpacked."""
    return fetch.unpack(VAULTS / "tiny.zip", tmp_path / "vaults") / "tiny.vlt"


@pytest.fixture
def odd(tmp_path):
    return fetch.unpack(VAULTS / "odd.zip", tmp_path / "odd") / "tiny.vlt"


def read(folder, uid="Good", actions="keep"):
    return vault.read_vault(folder, uid, ENVIRONMENT, actions=actions)


def store(base, name, **options):
    kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{base}/"}, "path": f"{name}/"}
    return tensorstore.open({"driver": "zarr", "kvstore": kvstore}, open=True, **options).result()


def change(base, name, where, value):
    store(base, name)[where].write(value).result()


def remake(base, name, values, chunk=None):
    """The array `name` with other values, another dtype, another shape."""
    kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{base}/"}, "path": f"{name}/"}
    tensorstore.KvStore.open(kvstore).result().delete_range(tensorstore.KvStore.KeyRange()).result()
    metadata = {"shape": values.shape, "dtype": values.dtype.str, "chunks": chunk or values.shape, "compressor": None}
    made = tensorstore.open({"driver": "zarr", "kvstore": kvstore, "metadata": metadata}, create=True).result()
    made.write(values).result()


@pytest.mark.parametrize("name", sorted(SHA256))
def test_the_archives_are_those_that_flashbax_wrote(name):
    assert files.sha256(VAULTS / name) == SHA256[name]


@pytest.mark.parametrize("uid", ["Good", "Poor"])
def test_what_flashbax_wrote_is_what_is_read(folder, uid, monkeypatch):
    written = content.experience(uid)
    monkeypatch.chdir(folder.parent)
    dataset = read(Path("tiny.vlt"), uid)  # a relative path, which the store itself would refuse
    assert np.array_equal(dataset.observations, written["observations"])
    assert np.array_equal(dataset.states, written["infos"]["state"])
    assert np.array_equal(dataset.actions, written["actions"])
    assert np.array_equal(dataset.rewards, written["rewards"][:, 0])
    assert {getattr(dataset, name).dtype for name in ("observations", "states", "actions", "rewards")} == {np.dtype("f4")}
    assert dataset.lengths.tolist() == [length for length, _ in content.EPISODES[uid]]
    assert dataset.terminated.tolist() == [kind == "terminals" for _, kind in content.EPISODES[uid]]
    assert dataset.returns == pytest.approx(content.returns(uid))
    assert dataset.attributes["tail"] == {"Good": 0, "Poor": 9}[uid]
    assert dataset.layout == "observations"
    assert set(dataset.seed) == {-1} and set(dataset.policy) == {0}


def test_reading_in_slices_gives_the_same(folder, monkeypatch):
    whole = read(folder)
    experience = content.experience("Good")
    for name in ("observations", "actions", "rewards", "terminals"):
        values = experience[name][None]
        remake(folder / "Good", f"{name}.", values, chunk=(1, 7, *values.shape[2:]))
    monkeypatch.setattr(vault, "_STEPS_AT_ONCE", 16)
    sliced = read(folder)
    for name in ("observations", "actions", "rewards", "lengths"):
        assert np.array_equal(getattr(sliced, name), getattr(whole, name))


def test_version_1_0_is_read_too(folder):
    path = folder / "Good" / "metadata.json"
    new = json.loads(path.read_text())
    both = {name: [shape, "float32"] for name, shape in new["structure_shape"].items()}
    files.write_json(path, {"version": 1.0, "structure": both})
    assert read(folder).transitions == 91


def test_ends_as_numbers(folder):
    remake(folder / "Good", "truncations.", content.experience("Good")["truncations"][None].astype(np.float32))
    assert read(folder).lengths.tolist() == [30, 24, 37]


def test_a_terminal_at_the_horizon_is_the_time_limit(folder, monkeypatch):
    monkeypatch.setattr(vault.get_environment(ENVIRONMENT), "horizon", 40)
    remake(folder / "Poor", "terminals.", (lambda e: e["terminals"] | e["truncations"])(content.experience("Poor"))[None])
    remake(folder / "Poor", "truncations.", np.zeros((1, 89, 2), dtype=bool))
    assert read(folder, "Poor").terminated.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("policy", "largest", "said"), [("clip", 1.0, "clipped to [-1, 1]"), ("keep", 1.2451171875, "as stored")]
)
def test_actions_outside_the_cube(folder, policy, largest, said):
    dataset = read(folder, "Poor", actions=policy)
    assert np.abs(dataset.actions).max() == largest
    assert dataset.attributes["actions"] == said


def test_actions_outside_the_cube_refused(folder):
    with pytest.raises(BenchError, match=r"Poor: \d+ of 534 numbers of actions are outside \[-1, 1\], up to 1\.245"):
        read(folder, "Poor", actions="refuse")
    assert read(folder, "Good", actions="refuse").attributes["actions"] == hdf5.CLIPPED


def test_a_leading_axis_of_five(odd):
    with pytest.raises(BenchError, match=r"Wide: array 'observations\.' has a leading axis of 5"):
        read(odd, "Wide")


def test_an_empty_vault(odd):
    with pytest.raises(BenchError, match=r"Empty: the vault is empty \(0 steps\)"):
        read(odd, "Empty")


def test_no_such_uid_or_vault(folder):
    with pytest.raises(BenchError, match=r"tiny\.vlt: no uid 'Best' \(there: Good, Poor\)"):
        read(folder, "Best")
    with pytest.raises(BenchError, match="there: no vault"):
        read(folder.parent / "none.vlt", "Good")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "metadata.json: cannot be read"),
        ("{", "metadata.json: not valid JSON"),
        ("[]", "metadata.json: flashbax vault of version null; versions 1.0 to 1.x"),
        ('{"version": 0.1}', r"version 0\.1; versions"),
        ('{"version": 2.0}', r"version 2\.0; versions"),
        ('{"version": "1.2"}', 'version "1.2"; versions'),
    ],
)
def test_other_versions(folder, text, message):
    path = folder / "Good" / "metadata.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BenchError, match=message):
        read(folder)


def drop(name):
    return lambda base: (
        tensorstore.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{base}/"}, "path": f"{name}/"})
        .result()
        .delete_range(tensorstore.KvStore.KeyRange())
        .result()
    )


def with_values(name, where, value):
    return lambda base: change(base, name, where, value)


def with_array(name, values):
    return lambda base: remake(base, name, values)


def without_data(base):
    shutil.rmtree(base / "d")


def with_half_of_the_data(base):
    for path in (base / "d").iterdir():
        if path.stat().st_size > 4000:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_bytes(base):
    (base / "manifest.ocdbt").write_bytes((base / "manifest.ocdbt").read_bytes()[:50])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("rewards."), r"array 'rewards\.' is missing"),
        (drop("infos.state."), r"array 'infos\.state\.' is missing"),
        (drop("vault_index"), "array 'vault_index' is missing"),
        (without_data, "array 'vault_index' cannot be read"),
        (without_bytes, "array 'vault_index' cannot be read"),
        (lambda base: shutil.move(base / "manifest.ocdbt", base / "lost"), "array 'vault_index' is missing"),
        (
            with_values("observations.", (0, 5, 1, 2), np.nan),
            r"'observations\.' holds values .* finite, first at step 5",
        ),
        (with_values("rewards.", (0, 7), -np.inf), r"'rewards\.' holds values that are not finite, first at step 7"),
        (with_values("actions.", (0, 90, 0, 0), np.inf), r"'actions\.' holds values that are not finite, first at step 90"),
        (with_values("rewards.", (0, 3, 1), 4.5), "agents differ in 'rewards' at 1 of 91 steps, first at step 3"),
        (with_values("truncations.", (0, 29, 0), False), "agents differ in 'truncations' at 1 of 91 steps, first at step 29"),
        (with_values("vault_index", 0, 95), r"step 91 of 95 holds nothing but zeros in 'observations\.'"),
        (with_values("vault_index", 0, 2**31 - 1), "array 'observations\\.': no memory for|step 91 of 2147483647 holds nothing"),
        (with_half_of_the_data, r"array '.*' cannot be read"),
        (with_values("vault_index", 0, -1), r"the vault is empty \(-1 steps\)"),
        (with_array("vault_index", np.array([91.0])), "vault_index is float64"),
        (with_array("actions.", np.ones((1, 91, 2, 3), np.int32)), r"'actions\.' is of int32, not float32"),
        (with_array("terminals.", np.full((1, 91, 2), 0.5)), r"'terminals\.' holds other values than 0 and 1"),
        (with_array("rewards.", np.ones((1, 91, 3), "f4")), r"'rewards\.' has \(3,\) numbers a step, not \(2,\)"),
        (with_array("infos.state.", np.ones((1, 91, 18), "f4")), r"'infos\.state\.' has \(18,\) numbers a step, not \(17,\)"),
        (with_array("rewards.", np.array(1, "f4")), r"'rewards\.' has \(\) numbers a step, not \(2,\)"),
        (with_array("rewards.", np.ones((1, 80, 2), "f4")), r"'rewards\.' has 80 steps, but vault_index says 91"),
    ],
)
def test_damaged_vaults(folder, damage, message):
    damage(folder / "Good")
    with pytest.raises(BenchError, match=message) as caught:
        read(folder)
    assert str(folder / "Good") in str(caught.value)
    assert "What to do" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ends_that_are_not_marked(folder, monkeypatch):
    monkeypatch.setattr(vault.get_environment(ENVIRONMENT), "horizon", 36)
    with pytest.raises(BenchError, match="an episode of 37 steps, but two_agent_halfcheetah ends after 36"):
        read(folder)


# Conversion


def test_from_the_url_to_our_file(card_file, tmp_path):
    """Fetched from a server on this machine, unpacked, compared with the card, written, read back."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=VAULTS)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        name = card_file(urls=[f"http://127.0.0.1:{server.server_port}/tiny.zip"])
        card = cards.load(name)
        archive = tmp_path / "downloads" / "tiny.zip"
        fetch.fetch(card["urls"], archive, size=card["size"], sha256=card["sha256"], progress=False)
        server.shutdown()
        thread.join()
    output = tmp_path / "out" / "tiny_poor.h5"
    vault.convert_archive(name, archive, output, {"code": "abc"})
    assert sorted(path.name for path in output.parent.iterdir()) == ["tiny_poor.h5", "tiny_poor.json"]
    dataset, summary = hdf5.read(output), hdf5.read_summary(output)
    assert np.array_equal(dataset.observed()[0], content.experience("Poor")["observations"])
    assert summary["return"]["mean"] == pytest.approx(content.returns("Poor").mean())
    assert (summary["origin"], summary["layout"], summary["noise_floor"]) == ("og_marl_vault", "observations", None)
    assert summary["stamp"] == {"code": "abc"}
    assert dataset.attributes["dataset"] == name
    assert dataset.attributes["licence"] == "Apache-2.0"
    assert (dataset.attributes["random_return"], dataset.attributes["dataset_return"]) == (-288.8, 10.0)


@pytest.mark.parametrize("key", ["mean", "sd", "min", "max"])
def test_statistics_that_are_not_the_published_ones(card, card_file, tmp_path, key):
    found = statistics("Poor")[key]
    name = card_file(published=card["published"] | {key: round(float(found) + 0.5, 2)})
    with pytest.raises(BenchError, match=rf"more than 0\.01: {key} {found:.2f} instead of {found + 0.5:.2f} \(4 episodes\)"):
        vault.convert_archive(name, VAULTS / "tiny.zip", tmp_path / "out" / "a.h5", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_the_tolerance_is_the_card_s(card, folder):
    dataset = read(folder, "Poor")
    published = {name: float(value) + 0.4 for name, value in statistics("Poor").items()} | {"origin": "x"}
    collection.check_published(dataset, card | {"published": published | {"tolerance": 0.5}})
    with pytest.raises(BenchError, match="mean"):
        collection.check_published(dataset, card | {"published": published | {"tolerance": 0.3}})
    del card["published"]
    collection.check_published(dataset, card)


def test_only_a_tail_cannot_be_compared(card, folder):
    remake(folder / "Good", "truncations.", np.zeros((1, 91, 2), dtype=bool))
    with pytest.raises(BenchError, match="tiny_poor: no episode ends"):
        collection.check_published(read(folder), card)


def test_an_archive_that_is_not_the_card_s(card_file, tmp_path):
    """It may have been put there by hand."""
    shutil.copy(VAULTS / "odd.zip", tmp_path / "a.zip")
    with pytest.raises(BenchError, match=r"a\.zip: \d+ bytes long, but the card says \d+\. What to do: delete it"):
        vault.convert_archive("tiny_poor", tmp_path / "a.zip", tmp_path / "out" / "a.h5", {})
    with pytest.raises(BenchError, match=rf"a\.zip: sha256 is .*, but the card says {SHA256['tiny.zip']}"):
        name = card_file(size=(tmp_path / "a.zip").stat().st_size)
        vault.convert_archive(name, tmp_path / "a.zip", tmp_path / "out" / "a.h5", {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("longest", "message"),
    [
        (8_000, r"out/a\.h5: cannot be written \(File too large\)"),  # unpacked files are shorter, ours is longer
        (4_000, r"tiny\.zip: cannot be unpacked into .* \(File too large\)"),
    ],
)
def test_a_disk_that_is_full_leaves_nothing_converted(card_file, tmp_path, longest, message):
    with pytest.raises(BenchError, match=f"{message}.*What to do: free space"), files_no_longer_than(longest):
        vault.convert_archive("tiny_poor", VAULTS / "tiny.zip", tmp_path / "out" / "a.h5", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_conversion_left_unpacked_goes_with_the_next(card_file, tmp_path, monkeypatch):
    given = ("tiny_poor", VAULTS / "tiny.zip", tmp_path / "out" / "a.h5", {})
    with monkeypatch.context() as patch:
        patch.setattr(fetch.shutil, "copyfileobj", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        process = multiprocessing.get_context("fork").Process(target=vault.convert_archive, args=given)
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL and len(list((tmp_path / "out").iterdir())) == 1
    vault.convert_archive(*given)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.h5", "a.json"]


def test_a_folder_that_cannot_be_made(card_file, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=r"file/a\.h5: cannot be written \((File exists|Not a directory)\)"):
        vault.convert_archive("tiny_poor", VAULTS / "tiny.zip", tmp_path / "file" / "a.h5", {})


def test_a_card_with_another_uid(card_file, tmp_path):
    name = card_file(uid="Best")
    with pytest.raises(BenchError, match=r"nothing that fits '\*\.vlt/Best/\*'.*tiny\.vlt/Good, tiny\.vlt/Poor"):
        vault.convert_archive(name, VAULTS / "tiny.zip", tmp_path / "out" / "a.h5", {})
    assert list((tmp_path / "out").iterdir()) == []


def test_two_vaults_with_the_uid(card, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "vaults" / "more" / "other.vlt")
    with pytest.raises(
        BenchError, match=r"2 vaults with the uid 'Poor' instead of one \(there: more/other\.vlt/Good, .*tiny\.vlt/Poor"
    ):
        vault.convert(card, tmp_path / "vaults", tmp_path / "a.h5", {})
    assert not (tmp_path / "a.h5").exists()
