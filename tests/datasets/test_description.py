"""Statistics of datasets with known answers, their Croissant descriptions, and the listing on the command line."""

import copy
import dataclasses
import json
import math
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from pjap_bench import __main__, config, files
from pjap_bench.behaviour.policy import BehaviourPolicy
from pjap_bench.datasets import cards, collection, croissant, description, hdf5, listing
from pjap_bench.environments import TwoAgentHalfCheetah, get
from pjap_bench.errors import BenchError

STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained", "seeds": [], "datasets": {}}
LENGTHS = [1, 2, 5]


@pytest.fixture
def hopper() -> hdf5.Dataset:
    """Three agents, episodes of 1, 2 and 5 steps with a reward of 1 a step, by two policies, of which the second has the last."""
    steps = sum(LENGTHS)
    return hdf5.Dataset(
        lengths=np.array(LENGTHS),
        terminated=np.array([True, True, False]),
        actions=np.full((steps, 3, 1), 0.25, dtype=np.float32),
        rewards=np.ones(steps, dtype=np.float32),
        seed=np.full(3, -1),
        policy=np.array([0, 0, 1], dtype=np.int32),
        observations=np.zeros((steps, 3, 11), dtype=np.float32),
        states=np.arange(steps * 11, dtype=np.float32).reshape(steps, 11),
        attributes={
            "environment": "three_agent_hopper",
            "dataset": "hopper",
            "layout": "observations",
            "policies": ["first", "second"],
            "policy_sha256": ["", ""],
        },
    )


def constant(action: float) -> BehaviourPolicy:
    """A policy of three agents that always does the same."""
    return BehaviourPolicy([np.zeros((3, 11, 1))], [np.full((3, 1), math.atanh(action))], (), {})


def test_lengths_ends_and_returns(hopper):
    found = description.describe(hopper)
    assert (found["episodes"], found["transitions"]) == (3, 8)
    assert {name: found["length"][name] for name in ("mean", "min", "max")} == {"mean": 8 / 3, "min": 1, "max": 5}
    assert dict(zip(found["length"]["edges"], found["length"]["counts"], strict=False)) == {1: 1, 2: 1, 3: 0, 4: 0, 5: 1}
    assert found["terminated"] == {"episodes": 2, "share": pytest.approx(2 / 3)}
    assert found["return"]["mean"] == pytest.approx(8 / 3)
    assert found["return"]["sd"] == pytest.approx(np.std(LENGTHS))
    assert np.sum(found["return"]["counts"], axis=1).tolist() == [2, 1]
    first, second = found["policies"]
    assert first == {
        "name": "first", "episodes": 2, "transitions": 3, "return": {"mean": 1.5, "sd": 0.5, "min": 1, "max": 2}
    }  # fmt: skip
    assert (second["episodes"], second["transitions"], second["return"]["mean"]) == (1, 5, 5)
    assert found["reward"] == {"mean": 1, "sd": 0, "min": 1, "max": 1}
    assert found["published"] is None
    json.dumps(found, allow_nan=False)


def test_actions_at_and_beyond_their_bounds(hopper):
    actions = hopper.actions.copy()
    actions[:2, 0], actions[2, 0], actions[3, 2] = 1.0, -1.5, -1.0
    found = description.describe(dataclasses.replace(hopper, actions=actions))["action"]
    assert [agent["at_bounds"] for agent in found["agents"]] == [3 / 8, 0, 1 / 8]
    assert [agent["beyond_bounds"] for agent in found["agents"]] == [1 / 8, 0, 0]
    assert found["at_bounds"] == pytest.approx(4 / 24) and found["beyond_bounds"] == pytest.approx(1 / 24)
    assert (found["min"], found["max"]) == (-1.5, 1.0)
    (counts,) = found["agents"][0]["counts"]
    assert (counts[0], counts[-1], sum(counts)) == (1, 2, 8)
    place = np.searchsorted(found["edges"], 0.25, side="right") - 1
    assert found["agents"][1]["counts"][0][place] == 8


def test_joint_saco_counts_pairs_that_differ(hopper):
    assert description.describe(hopper)["coverage"]["joint_saco"] == 1.0
    states = np.zeros_like(hopper.states)
    states[0, 3] = -0.0  # is 0
    same = dataclasses.replace(hopper, states=states)
    assert description.describe(same)["coverage"]["joint_saco"] == 1 / 8
    actions = hopper.actions.copy()
    actions[-1, 2] += 1e-6  # the same cell of the grid
    coverage = description.describe(dataclasses.replace(same, actions=actions))["coverage"]
    assert (coverage["joint_saco"], coverage["joint_saco_grid"], coverage["cells"]) == (2 / 8, 1 / 8, 1)


@pytest.mark.parametrize("layout", ["physics", "observations"])
def test_coverage_is_that_of_unique_rows_in_either_layout(layout, noise_dataset, monkeypatch):
    monkeypatch.setattr(description, "_CHUNK", 700)  # several parts, the last one shorter
    random = np.random.default_rng(1)
    physics = random.integers(0, 2, noise_dataset.physics.shape).astype(np.float32)
    physics[:, 3:] = 0
    actions = random.choice([-1.0, 0.5], noise_dataset.actions.shape).astype(np.float32)
    dataset = dataclasses.replace(noise_dataset, physics=physics, actions=actions)
    observations, states = dataset.observed()
    if layout == "observations":
        attributes = dataset.attributes | {"layout": layout}
        dataset = dataclasses.replace(dataset, physics=None, observations=observations, states=states, attributes=attributes)
    rows = np.concatenate([states, actions.reshape(len(states), -1)], axis=1)
    expected = len(np.unique(rows, axis=0)) / len(rows)
    assert 0.05 < expected < 0.5
    coverage = description.describe(dataset)["coverage"]
    assert coverage["joint_saco"] == expected
    width = np.where(states.std(axis=0) > 0, description.STATE_CELL * states.std(axis=0, dtype=np.float64), 1.0)
    assert np.allclose(coverage["state_cell"], width)
    assert coverage["joint_saco_grid"] == expected, "two values lie on either side of their mean"


def test_distances_between_policies_and_to_data(hopper):
    found = description.describe(hopper, [constant(0.5), constant(-0.25)])["distance"]
    assert np.allclose(found["between"], [[0, 0.75], [0.75, 0]])
    assert np.allclose(found["to_data"], [[0.25, 0.25], [0.5, 0.5]])
    assert found["states"] == [3, 5]
    shown = description.distances({"distance": found})
    assert np.allclose(shown, [[0.25, 0.75], [0.75, 0.5]])


def test_distances_are_those_in_the_states_of_the_column(hopper):
    """A policy that looks: tanh of its first observation, which is 1 in the second policy's data, 0 in the first's."""
    observations = hopper.observations.copy()
    observations[3:, :, 0] = 1.0
    weights = np.zeros((3, 11, 1))
    weights[:, 0] = 1.0
    looks = BehaviourPolicy([weights], [np.zeros((3, 1))], (), {})
    found = description.describe(dataclasses.replace(hopper, observations=observations), [looks, constant(0.5)])["distance"]
    assert np.allclose(found["between"], [[0, math.tanh(1) - 0.5], [0.5, 0]])


def test_unknown_policies_and_policies_without_data(hopper):
    found = description.describe(hopper)
    assert found["distance"]["between"] == found["distance"]["to_data"] == [[None, None], [None, None]]
    assert not description.any_distance(found)
    half = description.describe(hopper, [None, constant(0.5)])["distance"]
    assert half["between"] == [[None, None], [None, 0]]
    assert half["to_data"][0] == [None, None] and np.allclose(half["to_data"][1], 0.25)
    alone = description.describe(hopper.episodes(np.array([2])), [constant(0.5), constant(-0.25)])
    assert alone["distance"]["states"] == [0, 5]
    assert alone["distance"]["between"][1] == [None, 0] and alone["distance"]["between"][0][1] == pytest.approx(0.75)
    assert alone["policies"][0] == {"name": "first", "episodes": 0, "transitions": 0, "return": None}
    assert alone["return"]["counts"] == [[0], [1]] and alone["return"]["edges"] == [5, 6]
    assert listing.statistics(alone).count("0.75") == 1


def test_the_draw_of_states_is_seeded_and_bounded(noise_dataset, monkeypatch):
    monkeypatch.setattr(description, "SAMPLED_STATES", 100)
    random = np.random.default_rng(0)
    looks = [BehaviourPolicy([random.standard_normal((2, 13, 3))], [np.zeros((2, 3))], (10,), {}) for _ in range(2)]
    first, again, other = (description.describe(noise_dataset, looks, seed=seed)["distance"] for seed in (0, 0, 1))
    assert first == again and first["states"] == [50, 50]
    assert first["to_data"] != other["to_data"]
    assert np.allclose(first["to_data"], other["to_data"], atol=0.15)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 7.0, 1e5])
def test_edges_are_round_and_hold_every_value(scale):
    random = np.random.default_rng(0)
    for _ in range(200):
        values = random.uniform(-2, 5) * scale + scale * random.random(30)
        edges = description.round_edges(values)
        assert np.histogram(values, edges)[0].sum() == 30
        assert len(edges) - 1 <= description.BINS < 5 * (len(edges) - 1)
        digits = f"{edges[2] - edges[1]:.3e}"
        assert digits[0] in "125" and digits[1:5] == ".000"
    assert description.round_edges(np.array([3, 5]), least=1.0).tolist() == [3, 4, 5, 6]
    assert description.round_edges(np.array([-0.5, -0.5])).tolist() == [-1, 0]


def test_comparison_with_published_returns():
    returns = np.array([90.0, 110.0])
    compared = description.compare(returns, {"mean": 104.0, "sd": 8.0})
    assert compared["difference"] == {"mean": pytest.approx(-4 / 104), "sd": pytest.approx(0.25)}
    assert compared["word"] == {"mean": "within", "sd": "outside"} and compared["episodes"] == 2
    below = description.compare(-returns, {"mean": -50.0, "sd": 0.0})
    assert below["difference"] == {"mean": -1.0, "sd": None} and below["word"] == {"mean": "outside", "sd": None}


def test_an_episode_cut_by_the_end_of_a_vault_has_no_return_to_compare(hopper):
    cut = dataclasses.replace(hopper, attributes=hopper.attributes | {"tail": 5})
    assert description.describe(cut, published={"mean": 1.5, "sd": 0.5})["published"]["difference"] == {"mean": 0, "sd": 0}
    only = cut.episodes(np.array([2]))
    assert description.describe(only, published={"mean": 1.5, "sd": 0.5})["published"] is None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`good`, `medium` and `good_medium` of 20 steps an episode, described."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TwoAgentHalfCheetah, "horizon", 20)
        parts = {name: folder / f"{name}.h5" for name in ("good", "medium")}
        for name, path in parts.items():
            collection.collect(name, 2, path, STAMP)
        collection.mix("good_medium", parts, folder / "good_medium.h5", STAMP)
        for path in folder.glob("*.h5"):
            outputs = path.with_suffix(".description.json"), path.with_suffix(".croissant.json")
            description.write(path, *outputs, STAMP)
    return folder


def test_the_distances_of_generated_data_use_the_pinned_policies(made):
    good, mixed = (description.read(made / f"{name}.description.json") for name in ("good", "good_medium"))
    distance, shown = good["statistics"]["distance"], description.distances(good["statistics"])
    floors = np.diagonal(shown)
    assert floors.mean() == pytest.approx(hdf5.read_summary(made / "good.h5")["noise_floor"], rel=1e-6)
    assert np.min(np.array(shown)[~np.eye(4, dtype=bool)]) > 2 * floors.max()
    assert np.allclose(np.array(mixed["statistics"]["distance"]["between"])[:4, :4], distance["between"])
    assert [stated["sha256"] for stated in mixed["behaviour"]] == hdf5.read(made / "good_medium.h5").attributes["policy_sha256"]
    assert mixed["statistics"]["published"] is None and good["statistics"]["published"]["word"]["mean"] == "outside"


def test_the_same_data_give_the_same_description(made, tmp_path, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    description.write(made / "good.h5", tmp_path / "a.json", tmp_path / "b.json", STAMP)
    assert (tmp_path / "a.json").read_bytes() == (made / "good.description.json").read_bytes()
    assert (tmp_path / "b.json").read_bytes() == (made / "good.croissant.json").read_bytes()


def test_bad_input_is_one_clear_error(made, tmp_path, noise_file, monkeypatch):
    outputs = tmp_path / "out.json", tmp_path / "croissant.json"
    with pytest.raises(BenchError, match="unknown dataset 'noise'"):
        description.write(noise_file, *outputs, STAMP)
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    monkeypatch.setattr(cards, "policy_files", lambda card: [tmp_path / "lost"] * 4)
    with pytest.raises(BenchError, match="lost: cannot be read"):
        description.write(made / "good.h5", *outputs, STAMP)
    assert not outputs[0].exists() and not outputs[1].exists()
    files.write_json(outputs[0], {"card": {}})
    with pytest.raises(BenchError, match="not the description of a dataset"):
        description.read(outputs[0])


def test_no_description_is_left_alone(made, tmp_path, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    (tmp_path / "b.json").mkdir()  # which refuses to be replaced by a file
    with pytest.raises(BenchError, match=r"b.json: cannot be written"):
        description.write(made / "good.h5", tmp_path / "a.json", tmp_path / "b.json", STAMP)
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def ids(value) -> list[str]:
    """Every @id that is defined, not referred to, inside JSON-LD."""
    if isinstance(value, list):
        return [name for part in value for name in ids(part)]
    if not isinstance(value, dict):
        return []
    own = [value["@id"]] if "@id" in value and "@type" in value else []
    return own + [name for key, part in value.items() if key != "@context" for name in ids(part)]


@pytest.mark.parametrize("name", ["good", "good_medium"])
def test_croissant_says_what_the_file_holds(made, name):
    found = json.loads((made / f"{name}.croissant.json").read_text())
    # Required by Croissant 1.1, but for `url` and `datePublished`, which a generated dataset has not.
    required = ("@context", "@type", "conformsTo", "name", "description", "license", "creator", "distribution", "recordSet")
    assert set(required) <= set(found)
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.1" and found["@type"] == "sc:Dataset"
    assert found["license"] == "https://spdx.org/licenses/Apache-2.0"
    (distribution,) = found["distribution"]
    path = made / distribution["contentUrl"]
    assert distribution["sha256"] == files.sha256(path)
    assert distribution["contentSize"] == f"{path.stat().st_size} B"
    assert distribution["encodingFormat"] == "application/x-hdf5"
    assert len(ids(found)) == len(set(ids(found)))
    with h5py.File(path) as file:
        fields = [field for records in found["recordSet"] for field in records["field"] if "source" in field]
        assert {field["source"]["extract"]["column"] for field in fields} == set(file)
        for field in fields:
            assert field["source"]["fileObject"]["@id"] == distribution["@id"]
            array = file[field["source"]["extract"]["column"]]
            assert field.get("arrayShape", "") == ",".join(map(str, array.shape[1:]))
            assert field["dataType"].removeprefix("cr:").lower() == array.dtype.name
    policies = next(records for records in found["recordSet"] if records["@id"] == "policies")["data"]
    summary = hdf5.read_summary(path)
    assert [policy["policies/name"] for policy in policies] == [policy["name"] for policy in summary["policies"]]
    assert [policy["policies/index"] for policy in policies] == list(range(len(policies)))
    derived = [origin["@id"] for origin in found.get("prov:wasDerivedFrom", [])]
    assert derived == (["good.h5", "medium.h5"] if name == "good_medium" else [])


def test_croissant_of_what_others_published(made):
    described = description.read(made / "good.description.json")
    described["card"] = {key: value for key, value in described["card"].items() if key != "policies"}
    described["card"] |= {"source": "og_marl_vault", "urls": ["https://example.org/a.zip", "https://example.org/b.zip"]}
    described["card"] |= {"licence": "as its authors say", "citation": "Somebody (2020)", "environment": "three_agent_hopper"}
    described |= {"layout": "observations", "behaviour": [None] * 4}
    found = croissant.croissant(described)
    assert found["license"] == "as its authors say" and found["url"] == "https://example.org/a.zip"
    assert found["creator"]["name"] == found["citeAs"] == "Somebody (2020)"
    fields = {field["@id"]: field for records in found["recordSet"] for field in records["field"]}
    assert fields["steps/observations"]["arrayShape"] == "3,11" and fields["steps/actions"]["arrayShape"] == "3,1"
    assert "physics/physics" not in fields


@pytest.mark.parametrize(("name", "horizon"), [("six_agent_halfcheetah", 50), ("three_agent_hopper", 400)])
def test_the_commands_collect_train_describe_and_draw_with_other_environments(name, horizon, tmp_path, monkeypatch, label):
    monkeypatch.setattr(get(cards.load(name)["environment"]), "horizon", horizon)
    experiments = {name: {"arms": ["maddpg_cql_pjap"], "seeds": 1, "updates": 3}}
    settings = config.training_settings(config.load("smoke", {"experiments": experiments}), name, "maddpg_cql_pjap")
    data, run = tmp_path / "datasets" / f"{name}.h5", tmp_path / "run"
    outputs = [data.with_suffix(f".{kind}.json") for kind in ("description", "croissant")]
    for command in (
        f"collect --dataset {name} --episodes 2 --output {data}",
        f"train --dataset {data} --seeds 0 --output {run} --checkpoints {tmp_path / 'kept'} --checkpoint-every 10 --settings",
        f"describe --dataset {data} --output {outputs[0]} --croissant {outputs[1]}",
        f"draw-dataset --dataset {name} --results {tmp_path}",
    ):
        words = [*command.split(), *([json.dumps({"pjap": settings})] if command.startswith("train") else []), "--label", label]
        assert __main__.main(words) == 0, command
    evaluations = pd.read_csv(run / "evaluations.csv")
    assert evaluations["update"].max() == 3 and np.isfinite(evaluations["return"]).all()
    statistics = description.read(outputs[0])["statistics"]
    assert statistics["length"]["max"] == horizon
    assert (statistics["terminated"]["episodes"] > 0) == (name == "three_agent_hopper"), "one of its policies falls"
    assert imread(tmp_path / "figures" / f"dataset_{name}.png").std() > 0.05


@pytest.fixture
def card_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cards"
    shutil.copytree(cards.FOLDER, folder, ignore=shutil.ignore_patterns("policies"))
    monkeypatch.setattr(cards, "FOLDER", folder)
    return folder


def test_the_table_lists_every_card_within_its_width(card_folder):
    card = files.read_yaml(card_folder / "good_medium.yaml")
    name = "a_mixture_with_a_very_long_name"
    recipe = ["medium", {"dataset": "good", "policies": ["good_0"]}, {"dataset": "good", "episodes": 7}]
    card |= {"id": name, "parts": recipe, "licence": "a licence of many words"}
    (card_folder / f"{name}.yaml").write_text(json.dumps(card))
    lines = listing.table().splitlines()
    assert max(map(len, lines)) <= listing.WIDTH
    first = [line.split()[0] for line in lines[1 : lines.index("")]]
    assert set(cards.names()) - {name} <= set(first) and name[:23] in first
    (row,) = [line for line in lines if line.startswith("good ")]
    measured = f"{cards.reference_returns(cards.load('good'))['dataset_return']:.0f}"
    assert row.split()[1:] == ["generated", "two_agent_halfcheetah", "2", "1,000,000", "4", "Apache-2.0", measured, "6924"]
    assert listing.transitions(cards.load(name)) == 1_000_000 + 250_000 + 7000
    assert listing.policies(cards.load(name)) == 4 + 1 + 4
    assert "good: policies good_0, all episodes" in listing.words(cards.load(name))


def test_the_documentation_says_what_the_cards_say():
    expected = listing.pages(config.ROOT / "docs" / "datasets.md")
    found = [*(config.ROOT / "docs" / "datasets").iterdir(), config.ROOT / "docs" / "datasets.md"]
    assert set(found) == set(expected), "one page a card: make the missing ones (below), remove others"
    for path, text in expected.items():
        assert path.read_text(encoding="utf-8") == text, "renew: python -m pjap_bench datasets --markdown docs/datasets.md"


def test_the_table_and_the_pages_are_renewed_in_their_places(card_folder, tmp_path, capsys):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("\n".join(["# Before", listing.MARKERS[0], "old", listing.MARKERS[1], "after", ""]))
    card = files.read_yaml(card_folder / "good_medium.yaml") | {"id": "another", "licence": "this | that"}
    (card_folder / "another.yaml").write_text(json.dumps(card))
    assert __main__.main(["datasets", "--markdown", str(page)]) == 0
    lines = page.read_text().splitlines()
    assert lines[:2] == ["# Before", listing.MARKERS[0]] and lines[-2:] == [listing.MARKERS[1], "after"]
    (row,) = [line for line in lines if "another" in line]
    assert row.startswith("| [another](page/another.md) | mixture |") and "this \\| that" in row
    assert "old" not in lines and sum(line.startswith("| [") for line in lines) == len(cards.names())
    assert {path.stem for path in (page.parent / "page").iterdir()} == set(cards.names())
    text = (page.parent / "page" / "another.md").read_text()
    for words in ("# another\n", "- **part:** medium: all policies, all episodes\n", "(../../cards/another.yaml)"):
        assert words in text
    good, first = (page.parent / "page" / "good.md").read_text(), cards.load("good")["policies"][0]
    assert f"| good_0 | {first['mean_return']:.0f} |" in good and f"| {first['sha256'][:12]} |" in good
    assert f"<{cards.load('og_marl_good')['urls'][0]}>" in (page.parent / "page" / "og_marl_good.md").read_text()
    (page.parent / "page" / "diary.md").write_text("mine")
    (card_folder / "another.yaml").unlink()
    assert __main__.main(["datasets", "--markdown", str(page)]) == 0
    assert {path.stem for path in (page.parent / "page").iterdir()} == {*cards.names(), "diary"}
    page.write_text("nothing")
    assert __main__.main(["datasets", "--markdown", str(page)]) == 2
    assert "no place for the table" in capsys.readouterr().err
    assert page.read_text() == "nothing"


@pytest.mark.parametrize("name", cards.names())
def test_every_card_in_words(name):
    text = listing.words(cards.load(name))
    assert max(map(len, text.splitlines())) <= listing.WIDTH
    for word in (name, cards.load(name)["licence"], cards.load(name)["environment"]):
        assert word in text


def test_the_listing_on_the_command_line(made, capsys, monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    assert __main__.main(["datasets"]) == 0
    assert "good_medium" in capsys.readouterr().out
    assert __main__.main(["datasets", "good", "--file", str(made / "good.h5")]) == 0
    text = capsys.readouterr().out
    found = description.read(made / "good.description.json")["statistics"]
    for words in ("160 steps in 8 episodes", f"{found['distance']['between'][0][1]:.3f}", "outside 5 %", "Joint SACo 1.0000"):
        assert words in text
    assert max(map(len, text.splitlines())) <= listing.WIDTH
    assert __main__.main(["datasets", "--file", str(made / "medium.h5")]) == 0
    assert capsys.readouterr().out.startswith("medium: ")
    assert __main__.main(["datasets", "good", "--file", str(made / "medium.h5")]) == 2
    assert "holds 'medium', not 'good'" in capsys.readouterr().err
    assert __main__.main(["datasets", "nope"]) == 2
    assert "unknown dataset 'nope'" in capsys.readouterr().err


def test_the_statistics_show_a_histogram_of_each_policy(hopper):
    found = description.describe(hopper)
    found["return"] |= {"edges": [-1000, -500, 0, 500, 1000], "counts": [[0, 1, 80, 40], [0, 0, 0, 0]]}
    lines = listing.statistics(found).splitlines()
    place = next(index for index, line in enumerate(lines) if "episodes by return, -1,000 to 1,000, 500 a bar" in line)
    assert [line.split() for line in lines[place + 1 : place + 3]] == [["first", "·▁█▄", "80"], ["second", "····", "0"]]
    assert "episodes by return" in listing.statistics(description.describe(hopper))


def test_many_policies_fit_the_width(made):
    found = copy.deepcopy(description.read(made / "good_medium.description.json")["statistics"])
    for count in (12, 30):
        found["policies"] = [found["policies"][0] | {"name": f"a_policy_{place}"} for place in range(count)]
        found["return"]["counts"] = [[1, 2]] * count
        found["distance"] |= {"between": [[0.5] * count] * count, "to_data": [[0.1] * count] * count}
        text = listing.statistics(found)
        assert max(map(len, text.splitlines())) <= listing.WIDTH
        assert ("noise floor" in text) == (count == 12)
