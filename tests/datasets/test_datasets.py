"""Cards, behaviour policies, HDF5 files and collection: what they promise and what they refuse."""

import functools
import json
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import safetensors.numpy

from pjap_bench import config, files
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import play
from pjap_bench.datasets import cards, collection, hdf5, vault
from pjap_bench.environments import TwoAgentHalfCheetah, get
from pjap_bench.errors import BenchError

GENERATED = [name for name in cards.names() if cards.load(name)["source"] == "generated"]
SIZES = {"agents": 2, "observation": 13, "action": 3, "masked": (10,)}


@pytest.mark.parametrize("name", cards.names())
def test_every_card(name):
    card = cards.load(name)
    assert card["environment"] == get(card["environment"]).name
    if card["source"] == "generated":
        assert len({policy["seed"] for policy in card["policies"]}) == len(card["policies"]), "independent seeds"
        settings = config.load("paper")["behaviour"] | card.get("training", {})
        for index, pinned in enumerate(card["policies"]):
            policy = collection._load_policy(card, index)
            assert float(policy.metadata["mean_return"]) == pytest.approx(pinned["mean_return"], abs=0.5)
            assert pinned["upright"] >= settings["upright_share"] and pinned["sd_return"] <= settings["steady_sd"]
            assert abs(pinned["mean_return"] - pinned["level"]) <= settings["tolerance"] * max(abs(pinned["level"]), 1000)


@pytest.mark.parametrize("name", GENERATED)
def test_the_first_episode_of_every_policy_is_near_its_stated_return(name):
    card = cards.load(name)
    for index, pinned in enumerate(card["policies"]):
        episodes, floor = collection._collect_block(name, index, range(2))
        assert abs(episodes.returns.mean() - pinned["mean_return"]) < max(4 * pinned["sd_return"], 200)
        assert 0.05 < floor < 0.16  # mean |N(0, 0.2)| is 0.16, clipping takes some


@functools.cache
def random_play(environment: str) -> tuple[float, float]:
    """Mean return of random actions, and its standard error: about 11 in HalfCheetah, 1 in Hopper."""
    episodes = 50 if environment == "three_agent_hopper" else 5  # a hopper falls soon
    groups = [collection.random_return(environment, episodes, seed) for seed in range(1, 9)]
    return float(np.mean(groups)), float(np.std(groups, ddof=1) / len(groups) ** 0.5)


@pytest.mark.parametrize("name", cards.names())
def test_the_reference_returns_are_measured_ones(name):
    mean, error = random_play(cards.load(name)["environment"])
    assert cards.reference_returns(cards.load(name))["random_return"] == pytest.approx(mean, abs=4 * error)


def test_the_one_of_normalised_returns_is_the_mean_of_the_policies_or_what_the_card_states():
    good, medium = (np.mean([policy["mean_return"] for policy in cards.load(name)["policies"]]) for name in ("good", "medium"))
    assert cards.reference_returns(cards.load("good"))["dataset_return"] == pytest.approx(good)
    assert cards.reference_returns(cards.load("good_medium"))["dataset_return"] == pytest.approx((good + medium) / 2)
    assert cards.reference_returns(cards.load("og_marl_good"))["dataset_return"] == 6924.11
    assert cards.reference_returns(cards.load("og_marl_good_medium"))["dataset_return"] == pytest.approx((6924.11 + 1485) / 2)


# Poor's mean is near zero beside its spread, so it takes more episodes to tell 5 % of it.
@pytest.mark.parametrize(("name", "episodes"), [("good", 8), ("medium", 8), ("poor", 32)])
def test_the_generated_namesakes_are_like_the_published_ones(name, episodes):
    """The 95 % interval of what was played, resampled within policies, reaches into 5 % of the mean and 15 % of the sd."""
    card = cards.load(name)
    played = [collection._collect_block(name, index, range(episodes))[0].returns for index in range(len(card["policies"]))]
    random = np.random.default_rng(0)
    resampled = np.concatenate([random.choice(own, (1000, episodes)) for own in played], axis=1)
    for key, found, target in (("mean", resampled.mean(axis=1), 0.05), ("sd", resampled.std(axis=1), 0.15)):
        low, high = np.quantile(found, [0.025, 0.975]) / card["published"][key]
        assert low < 1 + target and high > 1 - target, key
        assert high - low < 3 * target, "few enough to say nothing"


def test_collection_does_not_depend_on_processes_or_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    name = GENERATED[0]
    for folder, processes in (("one", 1), ("two", 2)):
        collection.collect(name, 18, tmp_path / folder / f"{name}.h5", {}, processes)
    assert files.sha256(tmp_path / "one" / f"{name}.h5") == files.sha256(tmp_path / "two" / f"{name}.h5")
    few = tmp_path / "few" / f"{name}.h5"
    collection.collect(name, 3, few, {})
    whole, start = hdf5.read(tmp_path / "one" / f"{name}.h5"), hdf5.read(few)
    for policy in range(len(start.attributes["policies"])):
        longer, shorter = (dataset.episodes(np.flatnonzero(dataset.policy == policy)[:3]) for dataset in (whole, start))
        assert np.array_equal(longer.physics, shorter.physics), "more episodes continue the same data"


def test_stored_data_obeys_the_environment():
    card = cards.load(GENERATED[0])
    policy = collection._load_policy(card, 0)
    episodes = play(policy, get(card["environment"])(1), [3], card["noise"])
    velocity = np.diff(episodes.physics[:, 0]) / 0.05
    expected = velocity - 0.1 * np.square(episodes.actions).sum(axis=-1)
    assert np.allclose(episodes.rewards, expected, atol=2e-2)  # x is stored in float32
    assert np.abs(episodes.actions).max() <= 1.0


def test_mixture_is_its_parts_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 10)
    card = cards.load("good_medium")
    parts = {part: tmp_path / f"{part}.h5" for part in card["parts"]}
    for part, path in parts.items():
        collection.collect(part, 2, path, {})
    collection.mix("good_medium", parts, tmp_path / "good_medium.h5", {})
    mixed, first, second = (hdf5.read(tmp_path / f"{name}.h5") for name in ("good_medium", *card["parts"]))
    assert np.array_equal(mixed.physics, np.concatenate([first.physics, second.physics]))
    assert mixed.attributes["seam"] == [0, len(first.lengths)]
    assert mixed.attributes["policies"] == first.attributes["policies"] + second.attributes["policies"]
    assert sorted(set(mixed.policy)) == list(range(len(mixed.attributes["policies"])))
    summary = hdf5.read_summary(tmp_path / "good_medium.h5")
    assert summary["return"]["mean"] == pytest.approx(mixed.returns.mean())


def test_same_content_same_bytes(tmp_path, noise_dataset):
    for name in ("a", "b"):
        hdf5.write(tmp_path / f"{name}.h5", noise_dataset)
    assert files.sha256(tmp_path / "a.h5") == files.sha256(tmp_path / "b.h5")


def test_reading_gives_back_what_was_written(noise_file, noise_dataset):
    found = hdf5.read(noise_file)
    for name in ("lengths", "terminated", "physics", "actions", "rewards", "seed", "policy"):
        assert np.array_equal(getattr(found, name), getattr(noise_dataset, name))
    assert found.attributes["policies"] == ["first", "second"]


def with_hash(path):
    """Pretends that the present content is what was written."""
    files.write_json(hdf5.summary_path(path), {"sha256": files.sha256(path)})


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    with_hash(path)


def test_missing(tmp_path):
    with pytest.raises(BenchError, match=r"good\.json: cannot be read"):
        hdf5.read(tmp_path / "good.h5")


def test_missing_data_beside_a_summary(noise_file):
    noise_file.unlink()
    with pytest.raises(BenchError, match=r"noise\.h5: cannot be read"):
        hdf5.read(noise_file)


def test_truncated(noise_file):
    noise_file.write_bytes(noise_file.read_bytes()[:2000])
    with pytest.raises(BenchError, match=r"changed or truncated.*delete it"):
        hdf5.read(noise_file)
    with_hash(noise_file)
    with pytest.raises(BenchError, match="not a readable HDF5 file"):
        hdf5.read(noise_file)


def test_another_hash(noise_file):
    damage(noise_file, lambda file: None)
    files.write_json(hdf5.summary_path(noise_file), {"sha256": "0" * 64})
    with pytest.raises(BenchError, match=r"sha256 is .* but noise.json says 0000"):
        hdf5.read(noise_file)


def test_summary_of_something_else(noise_file):
    hdf5.summary_path(noise_file).write_text("[1]")
    with pytest.raises(BenchError, match="not the summary of a dataset"):
        hdf5.read(noise_file)
    hdf5.summary_path(noise_file).write_text("{")
    with pytest.raises(BenchError, match="not valid JSON"):
        hdf5.read(noise_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.__delitem__("rewards"), "not a readable HDF5 file"),
        (lambda file: file.attrs.__setitem__("format", "other 7"), "format is 'other 7'"),
        (lambda file: file["physics"].__setitem__((0, 0), np.nan), "physics holds values that are not finite"),
        (lambda file: file["rewards"].__setitem__(0, np.inf), "rewards holds values that are not finite"),
        (
            lambda file: (file.__delitem__("actions"), file.create_dataset("actions", data=np.zeros((3000, 2, 5)))),
            "actions has shape",
        ),
        (lambda file: file["lengths"].__setitem__(0, 999), "2999 in all, do not fit 3000 steps"),
        (lambda file: file["lengths"].__setitem__(slice(0, 2), [0, 2000]), "episodes of 0 to 2000 steps"),
        (lambda file: file["policy"].__setitem__(0, 2), "a policy index without a name"),
        (lambda file: file.attrs.__setitem__("layout", "pixels"), "layout 'pixels'"),
        (lambda file: file.attrs.__delitem__("policies"), "attributes policies are missing"),
        (
            lambda file: (file["actions"].__setitem__((0, 0, 0), 1.5), file.attrs.__setitem__("actions", hdf5.CLIPPED)),
            "actions beyond 1",
        ),
        (lambda file: file.attrs.__setitem__("environment", "ant"), "unknown environment 'ant'"),
    ],
)
def test_wrong_content(noise_file, change, message):
    damage(noise_file, change)
    with pytest.raises(BenchError, match=message):
        hdf5.read(noise_file)


@pytest.fixture
def policy_file(tmp_path):
    card = cards.load(GENERATED[0])
    copy = tmp_path / "policy.safetensors"
    shutil.copy(cards.policy_files(card)[0], copy)
    return copy


def test_policy_with_the_wrong_hash(policy_file):
    with pytest.raises(BenchError, match="card pins 1111"):
        policies.load(policy_file, sha256="1" * 64, **SIZES)


def test_policy_with_the_wrong_shape(policy_file):
    with pytest.raises(BenchError, match="do not fit 2 agents with 12 observations"):
        policies.load(policy_file, sha256=None, **(SIZES | {"observation": 12}))
    tensors = safetensors.numpy.load_file(policy_file)
    del tensors["bias_2"]
    safetensors.numpy.save_file(tensors, policy_file)
    with pytest.raises(BenchError, match="do not fit"):
        policies.load(policy_file, sha256=None, **SIZES)


def test_policy_that_is_missing_or_truncated(policy_file):
    policy_file.write_bytes(policy_file.read_bytes()[:50])
    with pytest.raises(BenchError, match="not a readable safetensors file"):
        policies.load(policy_file, sha256=None, **SIZES)
    policy_file.unlink()
    with pytest.raises(BenchError, match="cannot be read"):
        policies.load(policy_file, sha256=None, **SIZES)


def test_blocks_do_not_change_actions():
    card = cards.load(GENERATED[0])
    policy = collection._load_policy(card, 0)
    observations = np.random.default_rng(0).standard_normal((37, 2, 13))
    together = policy(observations)
    assert all(np.array_equal(policy(observations[i : i + 1])[0], together[i]) for i in range(37))
    shifted = observations.copy()
    shifted[..., 10] += 100.0
    assert np.array_equal(policy(shifted), together), "x is masked"


@pytest.fixture
def card_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cards"
    shutil.copytree(cards.FOLDER, folder, ignore=shutil.ignore_patterns("policies"))
    monkeypatch.setattr(cards, "FOLDER", folder)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("noise: 0.2", "nois: 0.2", "unknown key 'nois'"),
        ("id: good", "id: better", "differs from the file's name"),
        ("environment: two_agent_halfcheetah", "environment: 7", "key 'environment'"),
        ("source: generated", "source: found", "key 'source'"),
        ("licence: Apache-2.0", "", "key 'licence' is missing. What to do: add it"),
        ("seed: 1", "", "key 'seed' is missing, which 'source: generated' needs. What to do: add it"),
        ("seed: 1", "seed: 1\nsize: 3", "key 'size' does not go with 'source: generated'. What to do: remove it"),
        ("    level: 5200", "    levl: 5200", "unknown key 'policies.0.levl'"),
        ("    level: 5200 # the return that was aimed at\n", "", "key 'policies.0.level' is missing"),
        ("published:", "published:\n  tolerance: 1.0", "key 'published'"),
        ("    sha256: ", "    # ", "key 'policies.0': 'sha256' is a dependency of 'mean_return'"),
        ("    upright: ", "    # ", "key 'policies.0': 'upright' is a dependency of 'sha256'"),
        ("seed: 1", "seed: 1.0", "key 'seed': 1.0 is not of type 'integer'"),
        ("noise: 0.2", "noise: .nan", "key 'noise': nan is not of type 'number'"),
        ("noise: 0.2", "noise: .inf", "key 'noise': inf is not of type 'number'"),
        ("random_return: -288.8", "random_return: -.inf", "key 'random_return': -inf is not of type 'number'"),
        ("noise: 0.2", "noise: 0.2\nnoise: 0.9", "not valid YAML .key 'noise' is there twice .* line"),
        ("name: good_1", "name: good_0", "key 'policies': two are named 'good_0'"),
        ("environment: two_agent_halfcheetah", "environment: cheetah", "unknown environment 'cheetah'.*: two_agent_halfcheetah"),
    ],
)
def test_bad_cards(card_folder, old, new, message):
    path = card_folder / "good.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError, match=message) as caught:
        cards.load("good")
    assert "good.yaml" in str(caught.value)


def keys(schema: dict, place: str = "") -> dict[str, str]:
    """Every key that the schema names, with what it says of it."""
    found = {}
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{place}{name}": inner.get("description", "")} | keys(inner, f"{place}{name}.")
    for inner in [schema["items"]] if "items" in schema else schema.get("anyOf", []):
        found |= keys(inner, place)
    return found


def test_the_schema_says_what_every_key_of_a_card_means():
    found = keys(files.read_json(config.SCHEMAS / "card.schema.json"))
    assert {"licence", "published.tolerance", "policies.level", "parts.episodes", "training.patience"} <= set(found)
    assert not [key for key, text in found.items() if not re.fullmatch(r"[A-Z`].*\w.*[.]", text)]


@pytest.mark.parametrize("source", ["", "file: x.hdf5\nurls: [file:///x.hdf5]\n"])
def test_a_file_or_addresses(card_folder, source):
    words = "".join(f"{key}: x\n" for key in ("id", "title", "description", "licence", "citation"))
    rest = "source: hdf5\nformat: d4rl\nactions: keep\nenvironment: three_agent_hopper\nrandom_return: 0\ndataset_return: 1\n"
    (card_folder / "x.yaml").write_text(words + rest + source)
    with pytest.raises(BenchError, match="of the keys 'urls' and 'file' 'source: hdf5' needs one, and only one"):
        cards.load("x")


def test_a_mixture_of_itself(card_folder):
    path = card_folder / "good_medium.yaml"
    path.write_text(path.read_text().replace("parts: [good, medium]", "parts: [good, good_medium]"))
    with pytest.raises(BenchError, match="names the mixture itself"):
        cards.load("good_medium")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda out: collection.collect("og_marl_good", 1, out, {}), "og_marl_good.yaml: .*og_marl_vault', not generated"),
        (lambda out: collection.collect("good_medium", 1, out, {}), "'source: mixture', not generated.*one of: .*good, .*medium"),
        (lambda out: collection.mix("good", {}, out, {}), "'source: generated', not mixture.*one of: good_medium, og_marl_good_"),
        (lambda out: vault.convert_archive("good", out, out, {}), "'source: generated', not og_marl_vault"),
    ],
)
def test_a_card_of_another_source(tmp_path, make, message):
    with pytest.raises(BenchError, match=message):
        make(tmp_path / "out.h5")


def test_unknown_dataset_on_the_command_line(tmp_path, label):
    command = [sys.executable, "-m", "pjap_bench", "collect", "--dataset", "perfect", "--episodes", "1", "--label", label]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "x.h5")], capture_output=True, text=True, check=False, cwd=config.ROOT
    )
    assert done.returncode == 2
    assert "unknown dataset 'perfect'" in done.stderr
    assert "good_medium" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_summary_carries_the_stamp(tmp_path, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 5)
    path = tmp_path / f"{GENERATED[0]}.h5"
    collection.collect(GENERATED[0], 1, path, {"code": "abc"})
    summary = json.loads(path.with_suffix(".json").read_text())
    assert summary["stamp"] == {"code": "abc"}
    assert summary["sha256"] == files.sha256(path)
    assert summary["origin"] == "generated"
