"""Every environment is gymnasium's, bit for bit, whatever runs beside it; and what holds for all of them."""

import gymnasium
import numpy as np
import pytest

from pjap_bench.environments import ENVIRONMENTS, SixAgentHalfCheetah, ThreeAgentHopper, TwoAgentHalfCheetah, get
from pjap_bench.errors import BenchError

every = pytest.mark.parametrize("task", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))


def width(task) -> int:
    return task.agents * task.action_size


def full(reference) -> np.ndarray:
    """gymnasium's whole physics, velocities not clipped."""
    return np.concatenate([reference.unwrapped.data.qpos, reference.unwrapped.data.qvel])


@every
@pytest.mark.parametrize("scale", [0.05, 1.2])  # the hopper stands for long, or falls at once
def test_equals_gymnasium_bitwise_until_the_end(task, scale):
    reference = gymnasium.make(task.gymnasium_id)
    seen, _ = reference.reset(seed=5)
    environment = task(2)
    physics = environment.reset([5, 6])
    random = np.random.default_rng(0)
    over, steps = False, 0
    while not over:
        assert np.array_equal(physics[0], full(reference))
        assert np.array_equal(task.state(physics)[0], seen)
        actions = random.uniform(-scale, scale, (2, width(task)))
        seen, reward, terminated, truncated, _ = reference.step(actions[0])
        physics, rewards, ended = environment.step(actions)
        assert rewards[0] == reward
        assert ended[0] == terminated
        over, steps = terminated or truncated, steps + 1
    assert np.array_equal(physics[0], full(reference))
    assert truncated == (steps == task.horizon)


@every
def test_an_episode_does_not_depend_on_its_neighbours(task):
    random = np.random.default_rng(1)
    alone, crowd = task(1), task(3)
    expected, found = alone.reset([7]), crowd.reset([1, 2, 7])
    running = np.array([True, True, True])
    for step in range(60):
        action = random.uniform(-1, 1, width(task))
        single, reward, ended = alone.step(action[None])
        found, rewards, all_ended = crowd.step(np.stack([action * 0.1, -action, action]), running)
        assert np.array_equal(single[0], found[2])
        assert (reward[0], ended[0]) == (rewards[2], all_ended[2])
        if step == 10:
            running[1] = False  # a neighbour ends
        if step == 20:
            crowd.reset([9], which=[1])  # and begins again
            running[1] = True
    assert not np.array_equal(expected, single)


@every
def test_what_does_not_run_stays_as_it_is(task):
    environment = task(3)
    start = environment.reset([0, 1, 2])
    actions = np.full((3, width(task)), 0.9)
    physics, rewards, ended = environment.step(actions, np.array([True, False, True]))
    assert np.array_equal(physics[1], start[1])
    assert rewards[1] == 0.0
    assert not ended[1]
    assert not np.any(np.all(physics[[0, 2]] == start[[0, 2]], axis=1))
    assert np.all(rewards[[0, 2]] != 0.0)


def test_an_unhealthy_hopper_that_does_not_run_reports_no_second_terminal():
    environment = ThreeAgentHopper(1)
    environment.reset([0])
    ended = np.array([False])
    while not ended[0]:
        physics, _, ended = environment.step(np.ones((1, 3)))
        assert ended[0] != ThreeAgentHopper.upright(physics)[0]
    _, rewards, ended = environment.step(np.ones((1, 3)), np.array([False]))
    assert (rewards[0], ended[0]) == (0.0, False)


@every
def test_resetting_some_leaves_the_others(task):
    environment, fresh = task(3), task(1)
    environment.reset([0, 1, 2])
    before, _, _ = environment.step(np.full((3, width(task)), 0.5))
    after = environment.reset([8, 9], which=np.array([2, 0]))
    assert np.array_equal(after[1], before[1])
    assert np.array_equal(after[2], fresh.reset([8])[0])
    assert np.array_equal(after[0], fresh.reset([9])[0])


@every
def test_the_sizes_are_those_of_the_views(task):
    physics = task(2).reset([0, 1])
    assert physics.shape == (2, task.physics_size)
    stored = physics.astype(np.float32)[:, None]  # as a dataset holds it, with one more axis
    assert task.observations(stored).shape == (2, 1, task.agents, task.observation_size)
    assert task.state(stored).shape == (2, 1, task.state_size)
    assert task.observations(stored).dtype == task.state(stored).dtype == np.float32
    assert task.upright(stored).all()
    assert not task.fallen(stored).any()
    assert all(0 <= position < task.observation_size for position in task.unbounded_observations)


@every
def test_the_numbers_of_a_step_lie_together(task):
    """Training gathers steps from millions: a step that is scattered over the memory takes twice as long."""
    physics = task(2).reset([0, 1])
    for seen in (task.observations(physics), task.state(physics)):
        assert seen.flags.c_contiguous


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (TwoAgentHalfCheetah, ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]),
        (ThreeAgentHopper, ["thigh_joint", "leg_joint", "foot_joint"]),
    ],
)
def test_actions_go_to_the_joints_in_the_models_order(task, names):
    model = gymnasium.make(task.gymnasium_id).unwrapped.model
    joints = [model.joint(model.actuator(index).trnid[0]) for index in range(model.nu)]
    assert [joint.name for joint in joints] == names
    environment = task(width(task))
    environment.reset([0] * width(task))
    environment.step(np.zeros((width(task), width(task))), np.zeros(width(task), dtype=bool))
    moved, _, _ = environment.step(0.1 * np.eye(width(task)))
    idle = task(1)
    idle.reset([0])
    rest, _, _ = idle.step(np.zeros((1, width(task))))
    velocities = [model.nq + joint.dofadr[0] for joint in joints]
    assert np.array_equal(np.argmax(np.abs(moved - rest)[:, velocities], axis=1), np.arange(width(task)))


@pytest.mark.parametrize("task", [SixAgentHalfCheetah, ThreeAgentHopper])
def test_fully_observed_tasks_show_the_state_to_every_agent(task):
    physics = np.random.default_rng(0).normal(0, 20, (4, task.physics_size))
    observations = task.observations(physics)
    assert np.array_equal(observations, np.stack([task.state(physics)] * task.agents, axis=1))
    physics[:, 0] += 1.0
    assert np.array_equal(task.observations(physics), observations), "nobody sees x"


def test_the_hopper_is_healthy_within_gymnasiums_ranges():
    standing = np.zeros(12)
    standing[1] = 1.25
    cases = [(1, 0.7, False), (1, 0.71, True), (1, np.inf, False), (2, 0.2, False), (2, -0.19, True), (2, -0.2, False)]
    cases += [(3, -100.0, False), (3, -99.0, True), (11, 100.0, False), (11, np.nan, False), (0, 500.0, True)]
    for position, value, healthy in cases:
        physics = standing.copy()
        physics[position] = value
        assert ThreeAgentHopper.upright(physics) == healthy, (position, value)
        reference = gymnasium.make("Hopper-v5").unwrapped
        reference.data.qpos[:], reference.data.qvel[:] = physics[:6], physics[6:]
        assert reference.is_healthy == healthy
        assert np.array_equal(ThreeAgentHopper.state(physics), reference._get_obs(), equal_nan=True), "velocities are clipped"


@pytest.mark.parametrize("task", [TwoAgentHalfCheetah, SixAgentHalfCheetah])
def test_a_cheetah_is_charged_for_lying_on_its_back(task):
    pitch = np.array([0.0, 1.0, 1.3, 2.0, np.pi, -np.pi])
    physics = np.zeros((6, 18))
    physics[:, 2] = pitch
    assert task.upright(physics).tolist() == [True, True, False, False, False, False]
    assert task.fallen(physics).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("actions", [np.zeros((1, 6)), np.zeros((2, 5)), np.zeros(6)])
def test_wrong_actions_are_refused(actions):
    environment = TwoAgentHalfCheetah(2)
    environment.reset([0, 1])
    with pytest.raises(ValueError, match="actions have shape"):
        environment.step(actions)


def test_other_wrong_arguments():
    environment = TwoAgentHalfCheetah(2)
    with pytest.raises(ValueError, match="1 seeds for 2 episodes"):
        environment.reset([0])
    with pytest.raises(ValueError, match="2 seeds for 1 episodes"):
        environment.reset([0, 1], which=[1])
    with pytest.raises(ValueError, match="running has shape"):
        environment.step(np.zeros((2, 6)), np.ones(3, dtype=bool))
    with pytest.raises(BenchError, match="unknown environment 'walker'"):
        get("walker")
