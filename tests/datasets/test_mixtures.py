"""Mixtures: what a recipe takes of its parts, and recipes that cannot be followed."""

import dataclasses

import numpy as np
import pytest

from pjap_bench import config, files
from pjap_bench.datasets import cards, collection, hdf5
from pjap_bench.errors import BenchError
from tests.datasets import toys


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Cards of two generated toys, a and b, in a folder of their own."""
    monkeypatch.setattr(cards, "FOLDER", tmp_path / "cards")
    cards.FOLDER.mkdir()
    for name in ("a", "b"):
        toys.write_card(cards.FOLDER, toys.generated(name))
    return tmp_path


def recipe(folder, *parts, name="mixed"):
    toys.write_card(folder / "cards", toys.card(name, source="mixture", parts=list(parts)))


def mixed(folder, *parts) -> hdf5.Dataset:
    """The mixture by this recipe of the toys, which are made by seeds 0 and 1."""
    recipe(folder, *parts)
    paths = {name: toys.write(folder / f"{name}.h5", toys.make(seed=seed)) for seed, name in enumerate("ab")}
    wanted = {part.dataset for part in cards.parts(cards.load("mixed"))}
    output = folder / "mixed.h5"
    collection.mix("mixed", {name: path for name, path in paths.items() if name in wanted}, output, {})
    return hdf5.read(output)


def test_whole_parts_one_after_another(folder):
    found = mixed(folder, "a", "b")
    first, second = toys.make(seed=0), toys.make(seed=1)
    np.testing.assert_array_equal(found.rewards, np.concatenate([first.rewards, second.rewards]))
    assert found.attributes["seam"] == [0, len(first.lengths)]
    assert found.attributes["policies"] == first.attributes["policies"]  # both have the same


def test_the_episodes_of_some_policies(folder):
    first = toys.make(seed=0)
    name = cards.load("a")["policies"][1]["name"]
    found = mixed(folder, {"dataset": "a", "policies": [name]}, "b")
    expected = first.episodes(np.flatnonzero(first.policy == first.attributes["policies"].index(name)))
    np.testing.assert_array_equal(found.rewards[: expected.transitions], expected.rewards)
    assert found.attributes["seam"] == [0, len(expected.lengths)]


def test_a_policy_that_several_parts_name_is_one(folder):
    """By its sha256, without one by its dataset: 'unknown' ones of different datasets are not the same."""
    found = mixed(folder, {"dataset": "a", "policies": ["second"]}, {"dataset": "a", "episodes": 3}, "b")
    assert found.attributes["policies"] == ["first", "second"]
    assert found.attributes["policy_sha256"] == ["1" * 64, "2" * 64]
    first, second = toys.make(seed=0), toys.make(seed=1)
    policy_of = dict(zip(first.rewards[first.offsets[:-1]], first.policy, strict=True))
    policy_of |= dict(zip(second.rewards[second.offsets[:-1]], second.policy, strict=True))
    assert found.policy.tolist() == [policy_of[reward] for reward in found.rewards[found.offsets[:-1]]]
    unknown = [dataclasses.replace(toys.make(), attributes=toys.make().attributes | {"policy_sha256": ["", ""]})] * 2
    other = dataclasses.replace(unknown[0], attributes=unknown[0].attributes | {"dataset": "other"})
    joined = hdf5.concatenate([*unknown, other], unknown[0].attributes)
    assert joined.attributes["policies"] == ["first", "second"] * 2
    assert joined.policy.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3]


def test_a_seeded_subsample_without_repetition_in_order(folder):
    first = toys.make(seed=0)
    draws = {seed: mixed(folder, {"dataset": "a", "episodes": 2, "seed": seed}) for seed in (1, 1, 2, 3, 4)}
    for found in draws.values():
        places = [int(np.flatnonzero(first.seed == seed)[0]) for seed in found.seed]
        assert len(places) == 2 and places == sorted(set(places))
    assert len({tuple(found.seed) for found in draws.values()}) > 1
    again = mixed(folder, {"dataset": "a", "episodes": 2, "seed": 1})
    np.testing.assert_array_equal(again.rewards, draws[1].rewards)


def test_the_one_of_normalised_returns_is_that_of_the_policies_taken(folder):
    means = {policy["name"]: policy["mean_return"] for policy in cards.load("a")["policies"]}
    name = next(iter(means))
    found = mixed(folder, {"dataset": "a", "policies": [name]})
    assert found.attributes["dataset_return"] == means[name]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["a", {"dataset": "a", "episodes": 99}], "asks for 99 episodes of 'a', which has"),
        (["a", {"dataset": "b", "policies": ["nobody"]}], "'b' has no policy 'nobody'"),
        (["a", "mixed"], "names the mixture itself"),
        (["a", "other"], "names 'other', a mixture"),
        (["a", "nothing"], "unknown dataset 'nothing'"),
        (["a", "elsewhere"], "is of the environment three_agent_hopper"),
        ([], "parts"),
        ([{"dataset": "a", "weight": 2}], "parts"),
    ],
)
def test_recipes_that_cannot_be_followed(folder, parts, message):
    toys.write_card(folder / "cards", toys.card("other", source="mixture", parts=["a", "b"]))
    toys.write_card(folder / "cards", toys.generated("elsewhere", "three_agent_hopper"))
    with pytest.raises(BenchError, match=message):
        mixed(folder, *parts)
    assert not (folder / "mixed.h5").exists()


def test_parts_of_different_layouts_become_what_agents_see(folder):
    recipe(folder, "a", "b", {"dataset": "a", "episodes": 1})
    parts = [toys.make(layout=layout) for layout in hdf5.LAYOUTS]
    paths = {name: toys.write(folder / f"{name}.h5", part) for name, part in zip("ab", parts, strict=True)}
    collection.mix("mixed", paths, folder / "mixed.h5", {})
    found = hdf5.read(folder / "mixed.h5")
    assert found.layout == "observations"
    assert found.lengths[:8].tolist() == [*parts[0].lengths, *parts[1].lengths]
    for values, first, second in zip(found.observed(), *(part.observed() for part in parts), strict=True):
        np.testing.assert_array_equal(values[:36], np.concatenate([first, second]))


def test_an_imports_policies_are_those_of_its_file(folder):
    imported = {"source": "hdf5", "file": "mine.hdf5", "format": "pjap_bench", "actions": "keep", "dataset_return": 3.0}
    toys.write_card(cards.FOLDER, toys.card("b", **imported))
    found = mixed(folder, "a", {"dataset": "b", "policies": ["second"]})
    expected = toys.make(seed=1).episodes(np.array([1, 3]))
    np.testing.assert_array_equal(found.rewards[18:], expected.rewards)
    with pytest.raises(BenchError, match=r"'b' has no policy 'third'.*use some of: first, second"):
        mixed(folder, {"dataset": "b", "policies": ["third"]})


@pytest.mark.parametrize(("floors", "mean"), [((0.1, 0.3), 0.2), ((0.1, None), None), ((0.1, "missing"), None)])
def test_the_noise_floor_is_known_where_that_of_every_part_is(folder, floors, mean):
    recipe(folder, "a", "b")
    paths = {name: toys.write(folder / f"{name}.h5", toys.make(), floor) for name, floor in zip("ab", floors, strict=True)}
    if "missing" in floors:  # as the summary of an own rule may be
        files.write_json(folder / "b.json", {"sha256": files.sha256(folder / "b.h5")})
    collection.mix("mixed", paths, folder / "mixed.h5", {})
    assert hdf5.read_summary(folder / "mixed.h5")["noise_floor"] == (mean and pytest.approx(mean))


def test_the_noise_floor_of_a_dataset_is_not_that_of_some_of_its_policies(folder):
    for chosen, floor in ((["second"], None), (["second", "first"], 0.1)):
        mixed(folder, {"dataset": "a", "policies": chosen})
        assert hdf5.read_summary(folder / "mixed.h5")["noise_floor"] == floor


def test_every_recipe_of_the_repository_can_be_read():
    for name in cards.names():
        for part in cards.parts(cards.load(name)):
            assert (config.CARDS / f"{part.dataset}.yaml").exists()
