"""The configuration: complete, strict, and clear about what is wrong."""

import copy
import json
import math

import pytest
import yaml

from pjap_bench import algorithms, config, files, samplers
from pjap_bench.datasets import cards
from pjap_bench.errors import BenchError


@pytest.mark.parametrize("scale", config.SCALES)
def test_every_scale_is_valid_and_names_what_exists(scale):
    loaded = config.load(scale)
    assert loaded["scale"] == scale
    for dataset, experiment in loaded["experiments"].items():
        assert dataset in cards.names()
        for arm in experiment["arms"]:
            settings = config.training_settings(loaded, dataset, arm)
            assert settings["algorithm"] in algorithms.ALGORITHMS
            assert settings["sampler"] in samplers.SAMPLERS
        assert {"maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning"} <= set(experiment["arms"])
    assert loaded["jobs"]["checkpoint_every"] % loaded["training"]["log_every"] == 0
    assert loaded["training"]["evaluation"]["every"] % loaded["training"]["log_every"] == 0


@pytest.mark.parametrize("scale", config.SCALES)
@pytest.mark.parametrize("dataset", ["good", "good_medium"])
def test_the_arms_of_the_paper_differ_in_the_sampler_alone(scale, dataset):
    loaded = config.load(scale)
    first, second = (config.training_settings(loaded, dataset, arm) for arm in ("maddpg_cql", "maddpg_cql_pjap"))
    assert {key for key in first if first[key] != second[key]} == {"sampler"}


def test_overlays_change_something_and_never_repeat_the_paper():
    paper = config.load("paper")
    for scale in config.SCALES[:-1]:
        overlay = yaml.safe_load((config.FOLDER / f"{scale}.yaml").read_text())
        same = [path for path, value in leaves(overlay) if value == follow(paper, path)]
        assert not same, f"{scale}.yaml repeats {same}"


def leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def follow(tree, path):
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return None
        tree = tree[key]
    return tree


# shared/spec/algorithm.md and the tables of both codes in it
SPECIFIED = {
    **{"algorithm": "maddpg_cql", "sampler": "pjap", "updates": 500_000},
    **{"batch": 64, "sequence": 20, "standardise": False, "mask_unbounded": False, "reward_scale": 1.0, "time_limit": "terminal"},
    **{"policy_width": 64, "equal_targets": True, "discount": 0.99, "target_rate": 0.005},
    **{"critic_learning_rate": 1e-3, "policy_learning_rate": 3e-4, "rmsprop_decay": 0.9, "rmsprop_epsilon": 1e-10},
    **{"action_penalty": 1e-3, "ood_actions": 10, "other_agents": "data", "priority_exponent": 0.99},
    "evaluation": {"every": 5000, "episodes": 4, "final_episodes": 40},
}
PRESETS = {
    "submission": {
        **{"critic_width": 256, "cql_weight": 5.0, "cql_sigma": 0.3, "clip_actions": False},
        **{"steepness": 4.0, "epsilon": 1e-3, "on_ramp": 150_000, "refresh": "sampled", "refresh_sequences": 1024},
    },
    "preprint": {
        **{"critic_width": 128, "cql_weight": 3.0, "cql_sigma": 0.3, "clip_actions": True},
        **{"steepness": 4.0, "epsilon": 1e-4, "on_ramp": 0, "refresh": "proportional", "refresh_sequences": 1024},
    },
}
# Not the paper's: a new setting is one of these.
OURS = {"preset", "precision", "log_every", "uniform_sequences", "cloning_learning_rate", "td_exponent", "td_floor", "td_ceiling"}


@pytest.mark.parametrize("dataset", ["good", "good_medium"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_setting_of_the_paper_is_as_specified(preset, dataset):
    loaded = config.load("paper", {"training": {"preset": preset}})
    settings = config.training_settings(loaded, dataset, "maddpg_cql_pjap")
    found = {key: value for key, value in settings.items() if key not in OURS}
    assert found == SPECIFIED | PRESETS[preset], "a setting that is none of the paper's belongs into OURS above"
    assert set(loaded["presets"]) == set(PRESETS)
    assert loaded["experiments"][dataset]["seeds"] == 10
    assert config.load("paper")["training"]["preset"] == "submission"


def test_presets_lie_under_the_training_keys():
    loaded = config.load("paper")
    loaded["training"] |= {"preset": "preprint", "refresh": "uniform"}
    settings = config.training_settings(loaded, "good", "maddpg_cql")
    assert settings["critic_width"] == 128 and settings["refresh"] == "uniform"
    assert config.training_settings(loaded, "good", "maddpg_cql_current")["other_agents"] == "current"


def test_the_regime_says_what_was_changed():
    plain = config.load("quick")["regime"]
    changed = {"training": {"batch": 8}, "experiments": {"good": {"updates": "5000"}}, "jobs": {"threads": 2}, "results": "x"}
    assert config.load("quick", changed)["regime"] == (
        f"{plain}; changed on the command line: experiments.good.updates, training.batch"
    )
    assert config.load("quick", {"jobs": {"threads": 2}, "training": {"batch": 16}})["regime"] == plain
    many = {"training": {"discount": 0.5, "batch": 1, "sequence": 2}, "games": {"seed": 1, "figure3": {"points": 9, "steps": 9}}}
    assert config.load("quick", many | {"robustness": {"points": 9}})["regime"].endswith("and 1 more")


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ({}, {}),
        ({"experiments": {"good": {"updates": 1000}}}, {"good": ["updates"]}),
        ({"experiments": {"good_medium": {"seeds": 1}}}, {"good_medium": ["seeds"]}),
        ({"experiments": {"good": {"seeds": 20, "updates": 50000}}}, {}),
        ({"datasets": {"episodes_at_most": 1}}, {"good": ["episodes_at_most"], "good_medium": ["episodes_at_most"]}),
        ({"training": {"batch": 64, "precision": "tf32"}}, {"good": ["batch"], "good_medium": ["batch"]}),
        ({"arms": {"maddpg_cql": {"settings": {"cql_weight": 9.0}}}}, {"good": ["cql_weight"], "good_medium": ["cql_weight"]}),
        ({"experiments": {"poor": {"arms": ["maddpg_cql"], "seeds": 1, "updates": 1}}}, {}),
    ],
)
def test_what_the_scale_does_not_say_is_known(override, changed):
    experiments = config.evaluated(config.load("quick", override))["experiments"]
    assert {name: experiment["changed"] for name, experiment in experiments.items() if "changed" in experiment} == changed
    assert list(experiments) == sorted(experiments)


def test_the_users_seeds_and_updates_come_before_a_sweeps():
    def of(**experiment):
        return config.swept(config.load("quick", {"experiments": {"good": experiment}}), "long_raw")["experiments"]["good"]

    assert (of()["seeds"], of()["updates"]) == (2, 500000)
    assert (of(updates=80)["seeds"], of(updates=80)["updates"]) == (2, 80)


def test_equal_numbers_are_the_same_text():
    plain, same = config.load("paper"), config.load("paper", {"training": {"reward_scale": "1", "batch": "6.4e1"}})
    assert json.dumps(same) == json.dumps(plain)
    assert config.load("paper", {"experiments": {"good": {"updates": "1e6"}}})["experiments"]["good"]["updates"] == 1000000


def test_an_arm_may_have_a_preset_of_its_own():
    loaded = config.load("quick", {"arms": {"maddpg_cql_pjap": {"settings": {"preset": "submission"}}}})
    own, other = (config.training_settings(loaded, "good", arm) for arm in ("maddpg_cql_pjap", "maddpg_cql"))
    assert (own["preset"], own["critic_width"], own["cql_weight"]) == ("submission", 256, 5.0)
    assert (other["preset"], other["critic_width"], other["cql_weight"]) == ("preprint", 128, 3.0)


def test_numbers_that_snakemake_hands_over_as_text():
    override = {"training": {"batch": "32", "reward_scale": "1e-1", "standardise": "true", "refresh": "uniform"}}
    training = config.load("quick", override)["training"]
    assert (training["batch"], training["reward_scale"], training["standardise"], training["refresh"]) == (
        32,
        0.1,
        True,
        "uniform",
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"traning": {}}, "unknown key 'traning'"),
        ({"training": {"bach": 3}}, "unknown key 'training.bach'.*remove it or use one of: action_penalty"),
        ({"training": {"batch": 0}}, "training.batch"),
        ({"training": {"batch": "many"}}, "training.batch"),
        ({"training": {"discount": 1.5}}, "training.discount"),
        ({"training": {"refresh": "sometimes"}}, "training.refresh"),
        ({"training": {"preset": "final"}}, "unknown preset 'final'"),
        ({"training": {"log_every": 7}}, "'training': evaluation.every 1000 is not a multiple of log_every 7"),
        ({"jobs": {"checkpoint_every": 7}}, "checkpoint_every 7 is not a multiple"),
        ({"arms": {"maddpg_cql": {"settings": {"log_every": 300}}}}, r"'arms.maddpg_cql.settings': evaluation.every 1000 is not"),
        ({"arms": {"maddpg_cql": {"settings": {"preset": "final"}}}}, r"arms.maddpg_cql.settings.preset.*unknown preset 'final'"),
        ({"experiments": {"good": {"arms": ["magic"]}}}, "unknown arm 'magic'"),
        ({"experiments": {"good": {"seeds": 0}}}, "experiments.good.seeds"),
        ({"experiments": {"perfect": {"arms": ["maddpg_cql"], "seeds": 1, "updates": 1}}}, "unknown dataset 'perfect'"),
        ({"datasets": {"episodes_at_most": -1}}, "datasets.episodes_at_most"),
        ({"arms": {"maddpg_cql": {"sampler": "best"}}}, "unknown sampler 'best'"),
        ({"arms": {"maddpg_cql": {"algorithm": "sac"}}}, "unknown algorithm 'sac'"),
        ({"games": {"figure2": {"batches": 3}}}, "unknown key 'games.figure2.batches'"),
        ({"statistics": 3}, "statistics"),
        ({"training": {"reward_scale": "nan"}}, "training.reward_scale"),
        ({"training": {"reward_scale": "inf"}}, "training.reward_scale"),
        ({"results": "a{b}"}, "results"),
        ({1: 2}, "unknown key '1'"),
        ({"training": {"batch": 32.0}}, "training.batch': 32.0 is not of type 'integer'"),
        ({"training": {"reward_scale": math.inf}}, "training.reward_scale': inf is not of type 'number'"),
    ],
)
def test_bad_values_name_the_key_and_where(override, message):
    with pytest.raises(BenchError, match=message) as caught:
        config.load("quick", override)
    assert "--config" in str(caught.value)


def test_errors_name_the_file(tmp_path, monkeypatch):
    for path in config.FOLDER.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(config, "FOLDER", tmp_path)
    (tmp_path / "quick.yaml").write_text("scale: quick\nspeed: high\n")
    with pytest.raises(BenchError, match=r"quick\.yaml: unknown key 'speed'"):
        config.load("quick")
    (tmp_path / "quick.yaml").write_text("training: {pace: 2}\n")
    with pytest.raises(BenchError, match=r"unknown key 'training\.pace'.*define it in workflow/schemas/config\.schema\.json"):
        config.load("quick")
    (tmp_path / "quick.yaml").write_text("scale: [quick\n")
    with pytest.raises(BenchError, match=r"quick\.yaml: not valid YAML"):
        config.load("quick")
    (tmp_path / "quick.yaml").write_text("- quick\n")
    with pytest.raises(BenchError, match=r"quick\.yaml: not a mapping"):
        config.load("quick")
    (tmp_path / "quick.yaml").unlink()
    with pytest.raises(BenchError, match=r"quick\.yaml: cannot be read"):
        config.load("quick")


def test_unknown_scale():
    with pytest.raises(BenchError, match=r"unknown scale 'huge'.*smoke, quick, laptop, paper"):
        config.load("huge")


def test_merge_leaves_its_arguments_alone():
    base, overlay = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}
    kept = copy.deepcopy(base)
    assert config.merge(base, overlay) == {"a": {"b": 3, "c": 2}}
    assert base == kept


def test_stacks_hold_arms_that_differ_in_their_samplers_only():
    settings = config.load("paper", {"jobs": {"runs_per_stack": 8}})
    stacks = config.stacks(settings, "good")
    assert stacks[0].arms[:2] == ["maddpg_cql", "maddpg_cql_pjap"]
    assert all(len(stack.arms) * len(stack.seeds) <= 8 for stack in stacks)
    runs = [(arm, seed) for stack in stacks for arm in stack.arms for seed in stack.seeds]
    assert sorted(runs) == sorted((arm, seed) for arm in settings["experiments"]["good"]["arms"] for seed in range(10))
    assert all("behaviour_cloning" not in stack.arms or len(stack.arms) == 1 for stack in stacks)
    assert all("maddpg_cql_current" not in stack.arms or len(stack.arms) == 1 for stack in stacks)
    for stack in config.stacks(config.swept(config.load("laptop", {"jobs": {"runs_per_stack": 50}}), "what_decides"), "good"):
        assert len("+".join(stack.arms)) <= 200  # a folder's name
    alone = config.stacks(config.load("paper"), "good")
    assert all(len(stack.arms) == len(stack.seeds) == 1 for stack in alone)
    assert alone[0].name == "maddpg_cql/seeds-0-0"


def test_a_sweep_makes_an_arm_of_every_variant():
    settings = config.load("quick")
    swept = config.swept(settings, "what_decides")
    variants = swept["sweep"]["variants"]
    assert config.training_settings(swept, "good", "maddpg_cql__raw")["standardise"] is False
    assert config.training_settings(swept, "good", "maddpg_cql_pjap__steepness_12")["steepness"] == 12.0
    same, plain = (
        config.training_settings(swept, "good", "maddpg_cql_pjap__as_is"),
        config.training_settings(settings, "good", "maddpg_cql_pjap"),
    )
    assert same == plain
    # what only a sampler sees is not trained again without that sampler
    assert variants["steepness_12"]["arms"]["maddpg_cql"] == "maddpg_cql__as_is"
    assert "maddpg_cql__steepness_12" not in swept["arms"]
    assert set(swept["experiments"]) == {"good"}
    assert "sweep" not in settings


def test_variants_of_a_sweep_change_the_first(tmp_path, monkeypatch):
    variants = {
        "first": {"label": "first", "settings": {"standardise": False, "reward_scale": 1.0}},
        "steeper": {"label": "steeper", "settings": {"steepness": 12.0}},
        "scaled": {"label": "scaled", "settings": {"reward_scale": 0.5}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(files.read_yaml(config.SWEEPS / "fused.yaml") | {"variants": variants}))
    monkeypatch.setattr(config, "SWEEPS", tmp_path)
    swept = config.swept(config.load("quick"), "mine")
    baseline = swept["sweep"]["variants"]["steeper"]["arms"]["maddpg_cql"]
    first, plain, steeper, scaled = (
        config.training_settings(swept, "good", arm)
        for arm in ("maddpg_cql_pjap__first", baseline, "maddpg_cql_pjap__steeper", "maddpg_cql__scaled")
    )
    assert steeper == first | {"steepness": 12.0}
    assert plain == first | {"sampler": "uniform"}
    assert scaled == plain | {"reward_scale": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ["nobody"]}, "unknown arm 'nobody'"),
        ({"dataset": "poor"}, "no experiment on 'poor'"),
        ({"variants": {"a": {"label": "a", "settings": {"steepnes": 1}}}}, "unknown key .*steepnes"),
        ({"variants": {"a": {"label": "a", "settings": {"batch": 0}}}}, r"arms.maddpg_cql\w*__a.settings.batch"),
        ({"variants": {"A__b": {"label": "a"}}}, "A__b"),
        ({"variants": {}}, "variants"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_bad_sweep_is_one_clear_error(tmp_path, monkeypatch, change, message):
    good = files.read_yaml(config.SWEEPS / "what_decides.yaml")
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(good | change))
    monkeypatch.setattr(config, "SWEEPS", tmp_path)
    with pytest.raises(BenchError, match=message):
        config.swept(config.load("quick"), "bad")
    with pytest.raises(BenchError, match=r"unknown sweep 'other'.*bad"):
        config.swept(config.load("quick"), "other")
