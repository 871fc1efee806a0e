"""Two-agent HalfCheetah is gymnasium's HalfCheetah-v5 bit for bit, seen through MAMuJoCo's indices."""

import gymnasium
import numpy as np
import pytest

from pjap_bench.environments import TwoAgentHalfCheetah, get
from pjap_bench.errors import BenchError

JOINTS = ("back_thigh", "back_shin", "back_foot", "front_thigh", "front_shin", "front_foot")
POSITIONS = ("x", "z", "pitch", *JOINTS)


def named_physics(**values: float) -> np.ndarray:
    """A physics vector from names: `pitch=...` is a position, `d_pitch=...` a velocity."""
    names = [*POSITIONS, *(f"d_{name}" for name in POSITIONS)]
    physics = np.zeros(18)
    for name, value in values.items():
        physics[names.index(name)] = value
    return physics


def test_equals_gymnasium_bitwise_for_a_whole_episode():
    reference = gymnasium.make("HalfCheetah-v5", exclude_current_positions_from_observation=False)
    environment = TwoAgentHalfCheetah(2)
    expected, _ = reference.reset(seed=5)
    physics = environment.reset([5, 6])
    assert np.array_equal(physics[0], expected)
    random = np.random.default_rng(0)
    for step in range(1000):
        actions = random.uniform(-1.2, 1.2, (2, 6))
        expected, expected_reward, terminated, truncated, _ = reference.step(actions[0])
        physics, rewards = environment.step(actions)
        assert np.array_equal(physics[0], expected)
        assert rewards[0] == expected_reward
        assert not terminated
        assert truncated == (step == environment.horizon - 1)


def test_an_episode_does_not_depend_on_its_neighbours():
    actions = np.random.default_rng(1).uniform(-1, 1, (50, 6))
    alone, crowd = TwoAgentHalfCheetah(1), TwoAgentHalfCheetah(3)
    alone.reset([7])
    crowd.reset([1, 2, 7])
    for action in actions:
        single, _ = alone.step(action[None])
        several, _ = crowd.step(np.stack([action * 0.1, -action, action]))
    assert np.array_equal(single[0], several[2])


@pytest.mark.parametrize(
    ("agent", "own", "other"),
    [
        (0, ("back_foot", "back_shin", "back_thigh"), "front_thigh"),
        (1, ("front_foot", "front_shin", "front_thigh"), "back_thigh"),
    ],
)
def test_observation_layout(agent, own, other):
    names = [name for joint in own for name in (joint, f"d_{joint}")]
    names += [other, "d_x", "d_pitch", "d_z", "x", "pitch", "z"]
    for position, name in enumerate(names):
        seen = TwoAgentHalfCheetah.observations(named_physics(**{name: 3.0}))[agent]
        assert seen[position] == 3.0, name
        assert np.count_nonzero(seen) == 1, name


def test_state_is_everything_but_x():
    physics = np.arange(18.0)
    assert np.array_equal(TwoAgentHalfCheetah.state(physics), physics[1:])
    assert TwoAgentHalfCheetah.observations(physics).shape == (2, 13)
    for agent in range(2):
        assert TwoAgentHalfCheetah.observations(physics)[agent, TwoAgentHalfCheetah.unbounded_observations[0]] == physics[0]


def test_agent_0_moves_the_back_leg_and_costs_are_on_the_unclipped_action():
    environment = TwoAgentHalfCheetah(2)
    environment.reset([0, 0])
    physics, rewards = environment.step(np.array([[3.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]]))
    assert np.array_equal(physics[0], physics[1])  # MuJoCo clips
    assert rewards[1] - rewards[0] == pytest.approx(0.1 * (9 - 1))
    assert abs(physics[0, 9 + 3]) > abs(physics[0, 9 + 6])  # the back thigh, not the front one


@pytest.mark.parametrize("actions", [np.zeros((1, 6)), np.zeros((2, 5)), np.zeros(6)])
def test_wrong_actions_are_refused(actions):
    environment = TwoAgentHalfCheetah(2)
    environment.reset([0, 1])
    with pytest.raises(ValueError, match="shape"):
        environment.step(actions)


def test_wrong_number_of_seeds_and_unknown_environment():
    with pytest.raises(ValueError, match="seeds"):
        TwoAgentHalfCheetah(2).reset([0])
    with pytest.raises(BenchError, match="unknown environment 'walker'"):
        get("walker")
