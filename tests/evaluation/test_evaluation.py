"""Acting step by step is what the learner unrolls, and an episode's return depends on its own seed and run alone."""

import os
import signal

import gymnasium
import numpy as np
import pytest
import torch

from pjap_bench import evaluation
from pjap_bench.datasets.sequences import Normaliser
from pjap_bench.environments import ENVIRONMENTS, ThreeAgentHopper, TwoAgentHalfCheetah
from pjap_bench.errors import BenchError
from pjap_bench.evaluation import Evaluations, Request, evaluate
from pjap_bench.networks import policy_layout, policy_step, policy_unroll, with_agent_id

LAYOUT = policy_layout(agents=2, observation=13, action=3, width=8)
NORMALISER = Normaliser(torch.full((2, 13), 0.5), torch.full((2, 13), 2.0))


def stack(*seeds: int) -> torch.Tensor:
    return torch.stack([LAYOUT.initialise(torch.Generator().manual_seed(seed)) for seed in seeds])


def test_stepping_equals_unrolling():
    flat = stack(0, 1)
    observations = torch.randn(2, 6, 5, 2, 13, generator=torch.Generator().manual_seed(2))
    unrolled = policy_unroll(LAYOUT, flat, observations, torch.ones(2, 6, 5))
    hidden = torch.zeros(2, 10, 8)
    for step in range(6):
        inputs = with_agent_id(observations[:, step]).reshape(2, 10, -1)
        actions, hidden = policy_step(LAYOUT.unflatten(flat), inputs, hidden)
        assert torch.allclose(actions.view(2, 5, 2, 3), unrolled[:, step], atol=1e-6)


def test_an_episode_end_forgets_what_came_before():
    flat = stack(0)
    observations = torch.randn(1, 6, 1, 2, 13, generator=torch.Generator().manual_seed(3))
    keep = torch.ones(1, 6, 1)
    keep[0, 3] = 0.0
    whole = policy_unroll(LAYOUT, flat, observations, keep)
    fresh = policy_unroll(LAYOUT, flat, observations[:, 3:], torch.ones(1, 3, 1))
    assert torch.allclose(whole[:, 3:], fresh, atol=1e-6)
    assert not torch.allclose(whole[:, 3:], policy_unroll(LAYOUT, flat, observations, torch.ones(1, 6, 1))[:, 3:], atol=1e-6)


def test_returns_of_an_episode_do_not_depend_on_the_others(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 30)
    policies = stack(0, 1)
    together = evaluate(TwoAgentHalfCheetah, LAYOUT, policies, NORMALISER, [[3, 4, 5], [3, 9, 5]])
    alone = evaluate(TwoAgentHalfCheetah, LAYOUT, policies[1:], NORMALISER, [[9]])
    assert together.shape == (2, 3)
    assert np.allclose(together[1, 1], alone[0, 0], atol=1e-2)
    assert together[0, 0] != together[1, 0]  # another policy
    assert np.array_equal(together, evaluate(TwoAgentHalfCheetah, LAYOUT, policies, NORMALISER, [[3, 4, 5], [3, 9, 5]]))


def test_the_normaliser_is_used(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 30)
    plain = Normaliser(torch.zeros(2, 13), torch.ones(2, 13))
    returns = [evaluate(TwoAgentHalfCheetah, LAYOUT, stack(0), normaliser, [[1]]) for normaliser in (plain, NORMALISER)]
    assert returns[0] != returns[1]


def test_a_policy_that_is_not_finite_does_not_play(monkeypatch):
    """The simulator would warn into a file of the working folder, for every step."""
    played = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *task: played.append(task[2]) or np.ones((1, 2)))
    policies = stack(0, 1)
    policies[0, -1] = float("nan")
    evaluations = evaluation.Evaluations(TwoAgentHalfCheetah, LAYOUT, NORMALISER, 0)
    evaluations.start(evaluation.Request(0, "training", policies, [[1, 2], [1, 2]]))
    ((_, returns),) = evaluations.finished()
    assert np.isnan(returns[0]).all() and (returns[1] == 1).all()
    assert len(played) == 1 and torch.equal(played[0], policies[1:])


def test_nothing_is_earned_after_the_end(monkeypatch):
    """Against gymnasium's hopper, one episode at a time."""
    layout = policy_layout(agents=3, observation=11, action=1, width=8)
    policy = layout.initialise(torch.Generator().manual_seed(1))[None] * 3
    normaliser = Normaliser(torch.zeros(3, 11), torch.ones(3, 11))
    found = evaluate(ThreeAgentHopper, layout, policy, normaliser, [[0, 1, 2, 3]])
    lengths = []
    for seed in range(4):
        reference = gymnasium.make("Hopper-v5")
        seen, _ = reference.reset(seed=seed)
        hidden, terminated, total, steps = torch.zeros(1, 3, 8), False, 0.0, 0
        while not terminated:
            observation = torch.tensor(seen, dtype=torch.float32).expand(1, 3, 11)
            actions, hidden = policy_step(layout.unflatten(policy), with_agent_id(observation), hidden)
            seen, reward, terminated, truncated, _ = reference.step(actions.flatten().numpy())
            assert not truncated
            total, steps = total + reward, steps + 1
        assert found[0, seed] == pytest.approx(total, abs=0.5)
        lengths.append(steps)
    assert len(set(lengths)) > 1, "they end at different steps"
    monkeypatch.setattr(ThreeAgentHopper, "horizon", max(lengths))
    assert np.array_equal(found, evaluate(ThreeAgentHopper, layout, policy, normaliser, [[0, 1, 2, 3]]))
    monkeypatch.setattr(ThreeAgentHopper, "horizon", max(lengths) - 1)
    shorter = evaluate(ThreeAgentHopper, layout, policy, normaliser, [[0, 1, 2, 3]])
    assert np.array_equal(found == shorter, np.array([lengths]) < max(lengths))


@pytest.mark.parametrize("task", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_every_environment_can_be_evaluated_in(task, monkeypatch):
    monkeypatch.setattr(task, "horizon", 20)
    layout = policy_layout(task.agents, task.observation_size, task.action_size, width=8)
    policies = torch.stack([layout.initialise(torch.Generator().manual_seed(seed)) for seed in range(2)])
    sizes = (task.agents, task.observation_size)
    returns = evaluate(task, layout, policies, Normaliser(torch.zeros(sizes), torch.ones(sizes)), [[0, 1, 2]] * 2)
    assert returns.shape == (2, 3)
    assert len(np.unique(returns)) == 6


class Deadly(TwoAgentHalfCheetah):
    """Kills the process that plays in it, as a machine without memory does."""

    def reset(self, seeds, which=None):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_while_it_plays_is_one_clear_error():
    evaluations = Evaluations(Deadly, LAYOUT, NORMALISER, processes=1)
    request = Request(0, "training", stack(0, 1), [[1], [2]])
    message = r"evaluation: a process that plays evaluations died\..* lower jobs\.evaluators"
    evaluations.start(request)
    with pytest.raises(BenchError, match=message):
        evaluations.finished(wait=True)
    with pytest.raises(BenchError, match=message):
        evaluations.start(request)  # nor does it wait for anything that will never come
    evaluations.close()
