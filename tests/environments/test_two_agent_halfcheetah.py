"""What the two agents of HalfCheetah see and move: MAMuJoCo's indices. Its physics: test_environments.py."""

import numpy as np
import pytest

from pjap_bench.environments import TwoAgentHalfCheetah

JOINTS = ("back_thigh", "back_shin", "back_foot", "front_thigh", "front_shin", "front_foot")
POSITIONS = ("x", "z", "pitch", *JOINTS)


def named_physics(**values: float) -> np.ndarray:
    """A physics vector from names: `pitch=...` is a position, `d_pitch=...` a velocity."""
    names = [*POSITIONS, *(f"d_{name}" for name in POSITIONS)]
    physics = np.zeros(18)
    for name, value in values.items():
        physics[names.index(name)] = value
    return physics


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
    physics, rewards, _ = environment.step(np.array([[3.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]]))
    assert np.array_equal(physics[0], physics[1])  # MuJoCo clips
    assert rewards[1] - rewards[0] == pytest.approx(0.1 * (9 - 1))
    assert abs(physics[0, 9 + 3]) > abs(physics[0, 9 + 6])  # the back thigh, not the front one
