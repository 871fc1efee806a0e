"""Played episodes: flat, each from its own seed alone, stopped at its terminal; policies of any sizes."""

import itertools

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch

from pjap_bench import config
from pjap_bench.behaviour import policy as policies
from pjap_bench.behaviour.play import Episodes, play
from pjap_bench.environments import ENVIRONMENTS, ThreeAgentHopper, TwoAgentHalfCheetah
from pjap_bench.errors import BenchError

every = pytest.mark.parametrize("task", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))


def arrays(task, hidden: tuple[int, ...], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    random = np.random.default_rng(seed)
    sizes = [task.observation_size, *hidden, task.action_size]
    weights = [random.normal(0, i**-0.5, (task.agents, i, o)).astype(np.float32) for i, o in itertools.pairwise(sizes)]
    return weights, [np.full((task.agents, o), 0.1, dtype=np.float32) for o in sizes[1:]]


def a_policy(task, hidden: tuple[int, ...] = (5,)) -> policies.BehaviourPolicy:
    return policies.BehaviourPolicy(*arrays(task, hidden), task.unbounded_observations, {})


def episode(played: Episodes, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Physics, actions and rewards of one episode."""
    start, length = int(played.lengths[:index].sum()), int(played.lengths[index])
    steps = slice(start, start + length)
    return played.physics[start + index : start + index + length + 1], played.actions[steps], played.rewards[steps]


@every
def test_episodes_lie_one_after_the_other(task, monkeypatch):
    monkeypatch.setattr(task, "horizon", 30)
    played = play(a_policy(task), task(4), [1, 2, 3, 4], 0.5)
    steps = played.lengths.sum()
    assert played.physics.shape == (steps + 4, task.physics_size)
    assert played.actions.shape == (steps, task.agents * task.action_size)
    assert played.rewards.shape == (steps,)
    assert played.physics.dtype == played.actions.dtype == played.rewards.dtype == np.float32
    assert np.all(played.terminated | (played.lengths == 30))
    assert np.abs(played.actions).max() <= 1.0
    expected = [float(episode(played, index)[2].astype(np.float64).sum()) for index in range(4)]
    assert played.returns == pytest.approx(expected, abs=1e-9)


@every
def test_an_episode_depends_on_its_own_seed_only(task, monkeypatch):
    monkeypatch.setattr(task, "horizon", 60)
    seeds = list(range(20))  # more than a block, and hoppers that fall at different steps
    crowd = play(a_policy(task), task(20), seeds, 0.6)
    for index in (0, 3, 19):
        alone = play(a_policy(task), task(1), seeds[index : index + 1], 0.6)
        assert alone.lengths[0] == crowd.lengths[index]
        assert alone.terminated[0] == crowd.terminated[index]
        for found, expected in zip(episode(crowd, index), episode(alone, 0), strict=True):
            assert np.array_equal(found, expected)
    assert len(np.unique(crowd.lengths)) > 1 or task is not ThreeAgentHopper


def test_a_fall_ends_the_episode_where_gymnasium_ends_it(monkeypatch):
    monkeypatch.setattr(ThreeAgentHopper, "horizon", 40)
    played = play(a_policy(ThreeAgentHopper), ThreeAgentHopper(12), list(range(12)), 0.8)
    assert 0 < played.terminated.sum() < 12, "some fall, some reach the time limit"
    for index in range(12):
        physics, actions, rewards = episode(played, index)
        reference = gymnasium.make("Hopper-v5")
        reference.reset(seed=int(np.random.SeedSequence(index).spawn(2)[0].generate_state(1)[0]))
        for step, action in enumerate(actions):
            _, reward, terminated, _, _ = reference.step(action.astype(np.float64))
            assert rewards[step] == np.float32(reward)
            assert np.array_equal(physics[step + 1][:6], reference.unwrapped.data.qpos.astype(np.float32))
            assert terminated == (played.terminated[index] and step == len(actions) - 1)


def test_the_cheetahs_data_are_those_of_the_published_runs(monkeypatch):
    """Returns as collected before there were other environments. Other versions of MuJoCo may differ."""
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 50)
    policy = policies.load(
        config.ROOT / "datasets/policies/good_0.safetensors", sha256=None, agents=2, observation=13, action=3, masked=(10,)
    )
    played = play(policy, TwoAgentHalfCheetah(3), [11, 12, 13], 0.2)
    assert played.returns == pytest.approx([157.2293530460447, 149.832578510046, 132.890339307487], abs=1e-6)
    assert played.lengths.tolist() == [50] * 3


@pytest.mark.parametrize("hidden", [(), (5,), (8, 7), (4, 4, 4)])
def test_policies_of_any_sizes_are_kept(tmp_path, hidden):
    task = ThreeAgentHopper
    weights, biases = arrays(task, hidden)
    policies.save(tmp_path / "policy.safetensors", weights, biases, {"seed": "3"})
    sizes = {"agents": 3, "observation": 11, "action": 1, "masked": ()}
    found = policies.load(tmp_path / "policy.safetensors", sha256=None, **sizes)
    observations = np.random.default_rng(1).standard_normal((7, 3, 11))
    expected = np.empty((7, 3))
    for agent in range(3):
        values = observations[:, agent]
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            values = values @ weight[agent].astype(np.float64) + bias[agent]
            values = np.tanh(values) if layer == len(weights) - 1 else np.maximum(values, 0)
        expected[:, agent] = values[:, 0]
    assert np.allclose(found(observations), expected, atol=1e-12)
    assert found.metadata == {"seed": "3"}
    for wrong in ({"agents": 2}, {"observation": 13}, {"action": 2}):
        with pytest.raises(BenchError, match="do not fit"):
            policies.load(tmp_path / "policy.safetensors", sha256=None, **(sizes | wrong))


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    # numpy knows bfloat16 once another library has taught it
    [(torch.float32, (), "do not fit"), (torch.bfloat16, (3, 5), "not a readable safetensors file|do not fit")],
)
def test_tensors_that_are_no_policys(tmp_path, kind, shape, message):
    tensors = {f"weight_{layer}": torch.zeros(3, 11, 5) for layer in (0, 1)} | {"bias_1": torch.zeros(3, 1)}
    safetensors.torch.save_file(tensors | {"bias_0": torch.zeros(shape, dtype=kind)}, tmp_path / "policy.safetensors")
    with pytest.raises(BenchError, match=message):
        policies.load(tmp_path / "policy.safetensors", sha256=None, agents=3, observation=11, action=1, masked=())


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_not_finite(tmp_path, value):
    weights, biases = arrays(ThreeAgentHopper, (5,))
    biases[0][2, 4] = value
    policies.save(tmp_path / "policy.safetensors", weights, biases, {})
    with pytest.raises(BenchError, match="bias_0 holds numbers that are not finite"):
        policies.load(tmp_path / "policy.safetensors", sha256=None, agents=3, observation=11, action=1, masked=())


def test_the_same_policy_is_the_same_file(tmp_path):
    weights, biases = arrays(ThreeAgentHopper, (5,))
    metadata = {"settings": '{"a": "\u00e9"}', "level": "3", "seed": "1", "updates": "7", "upright": "1.0"}
    for index in range(8):
        policies.save(tmp_path / f"{index}.safetensors", weights, biases, metadata)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    found = policies.load(tmp_path / "0.safetensors", sha256=None, agents=3, observation=11, action=1, masked=())
    assert found.metadata == metadata


def test_masked_observations_are_never_seen():
    policy = a_policy(TwoAgentHalfCheetah)
    observations = np.random.default_rng(1).standard_normal((3, 2, 13))
    further = observations.copy()
    further[..., 10] += 400.0
    assert np.array_equal(policy(observations), policy(further))
    further[..., 9] += 1.0
    assert not np.array_equal(policy(observations), policy(further))
