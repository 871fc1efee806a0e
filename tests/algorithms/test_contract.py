"""The contract of every registered algorithm: `Algorithm` in pjap_bench/algorithms/__init__.py says what it is."""

from types import SimpleNamespace

import pytest
import torch

from pjap_bench.algorithms import ALGORITHMS, make
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.draws import Streams
from tests.datasets import toys


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noise(*seeds: int) -> Streams:
    return Streams(generators(*seeds))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_contract(noise_dataset, small, name):
    data = SequenceData(noise_dataset, small)
    algorithm = make(name, data, small)
    state = algorithm.initialise(generators(1, 2))
    assert state["policy"].shape == (2, algorithm.policy.size), "state['policy'] is [runs, policy.size]"
    batch = data.batch(torch.tensor([[0, 998], [7, 1500]]))
    before = {key: value.clone() for key, value in state.items()}
    new, metrics, measures = algorithm.update(state, batch, noise(3, 4))
    assert set(measures) == set(algorithm.measures), "an update gives the measures that `measures` names"
    assert "distance" in measures, "every algorithm measures the distance"
    for measure, value in measures.items():
        assert value.shape == (2, 2), f"the measure {measure} is [runs, sequences]"
    apart = (measures["distance"] - algorithm.distances(state, batch)).abs().max().item()
    assert apart < 5e-6, "update's distances are those that `distances` gives for the policy before the update"
    assert set(metrics) == set(algorithm.metrics), "an update gives the metrics that `metrics` names"
    for metric, value in metrics.items():
        assert value.shape == (2,), f"the metric {metric} is one number a run"
    for key, value in before.items():
        same = torch.equal(state[key], value)
        assert same, f"update leaves the old state alone: '{key}' was changed in place"
    assert set(new) == set(state), "the new state has the parts of the old one"
    learnt = not torch.equal(new["policy"], state["policy"])
    assert learnt, "an update changes the policy"


@pytest.mark.parametrize("environment", ["six_agent_halfcheetah", "three_agent_hopper"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_number_of_agents_and_episodes_that_end_early(name, environment, small):
    data = SequenceData(toys.make(environment), small | {"sequence": 2})
    algorithm = make(name, data, small | {"sequence": 2})
    state = algorithm.initialise(generators(1))
    new, metrics, measures = algorithm.update(state, data.batch(torch.arange(data.starts)[None]), noise(3))
    assert all(value.shape == (1, data.starts) for value in measures.values())
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert not torch.equal(new["policy"], state["policy"])


@pytest.mark.parametrize(("agents", "action"), [(1, 3), (100, 2), (2, 1)])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_agent_a_hundred_agents_one_action_number(name, agents, action, small):
    runs, steps, sequences, observation, state_size = 2, 3, 2, 4, 5
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(runs, steps, sequences, *shape, generator=random)

    actions = normal(agents, action).tanh()
    flags = [torch.zeros(runs, steps, sequences), *(torch.ones(runs, steps, sequences) for _ in range(2))]
    batch = Batch(normal(agents, observation), normal(state_size), actions, normal(), *flags)
    sizes = {"agents": agents, "observation_size": observation, "action_size": action, "state_size": state_size}
    algorithm = make(name, SimpleNamespace(**sizes), small)
    state = algorithm.initialise(generators(1, 2))
    new, metrics, measures = algorithm.update(state, batch, noise(3, 4))
    assert all(torch.isfinite(value).all() for value in (*new.values(), *metrics.values(), *measures.values()))
    assert not torch.equal(new["policy"], state["policy"])
