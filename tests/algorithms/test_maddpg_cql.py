"""The stacked update equals the plain reference in float64; runs do not touch each other."""

import dataclasses

import pytest
import torch

from pjap_bench.algorithms import ALGORITHMS, make
from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.errors import BenchError
from tests.datasets import toys

from . import reference

RATES = {"policy": "policy_learning_rate", "critic": "critic_learning_rate"}


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def small(settings) -> dict:
    return settings | {"batch": 3, "sequence": 4, "ood_actions": 2, "critic_width": 7, "policy_width": 5}


def learner(noise_dataset, settings) -> tuple[SequenceData, MaddpgCql]:
    data = SequenceData(noise_dataset, settings)
    return data, make("maddpg_cql", data, settings)


def double(batch: Batch) -> Batch:
    return Batch(*(tensor.double() for tensor in batch))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def reference_batch(batch: Batch, run: int) -> dict:
    names = ("observations", "states", "actions", "rewards", "terminals")
    return {name: getattr(batch, name)[run] for name in names} | {"ended_before": 1 - batch.keep[run]}


def reference_draws(seed: int, steps: int, sequences: int, settings: dict, skip: int = 0) -> dict:
    """The numbers that the fast update draws for its out-of-distribution actions, `skip` updates in."""
    generator = torch.Generator().manual_seed(seed)
    shape = ((steps - 1) * sequences, settings["ood_actions"], 2, 3)
    for _ in range(skip + 1):
        uniform = torch.rand(shape, generator=generator) * 2 - 1
        noise = torch.randn(2, *shape, generator=generator)
    by_time = (steps - 1, sequences, *shape[1:])
    return {"uniform": uniform.view(by_time), "noise_now": noise[0].view(by_time), "noise_next": noise[1].view(by_time)}


@pytest.mark.parametrize("other_agents", ["data", "current"])
def test_twenty_updates_equal_the_reference(noise_dataset, small, other_agents):
    settings = small | {"other_agents": other_agents}
    data, algorithm = learner(noise_dataset, settings)
    state = algorithm.initialise(generators(11))
    # Targets of their own, so that a mix-up of online and target networks shows.
    state |= {
        name: value + 0.05 * torch.randn(value.shape, generator=generators(1)[0])
        for name, value in state.items()
        if "target" in name
    }
    layouts = {"policy": algorithm.policy, "critic": algorithm.critic}
    plain = {name: value.clone() for name, value in state.items()}
    noise = generators(5)
    for update in range(20):
        starts = torch.tensor([[998, 1500 + update, 2 * update]])  # the first one crosses an episode's end
        batch = double(data.batch(starts))
        assert batch.terminals.sum() == 1
        state, metrics, distances = algorithm.update(state, batch, noise)

        leaves = {name: plain[name].detach().requires_grad_() for name in layouts}
        networks = {name: {k: v[0] for k, v in layout.unflatten(leaves[name]).items()} for name, layout in layouts.items()}
        networks |= {
            f"target_{name}": {k: v[0] for k, v in layout.unflatten(plain[f"target_{name}"]).items()}
            for name, layout in layouts.items()
        }
        draws = reference_draws(5, settings["sequence"], 3, settings, skip=update)
        expected = reference.losses(networks, reference_batch(batch, 0), draws, settings)
        fast_critic_loss = metrics["td_loss"] + settings["cql_weight"] * metrics["cql_loss"]
        assert fast_critic_loss.item() == pytest.approx(expected["critic"].item(), rel=1e-12)
        assert metrics["policy_loss"].item() == pytest.approx(expected["policy"].item(), rel=1e-12, abs=1e-12)
        assert torch.allclose(distances[0], expected["distances"], rtol=1e-12)
        for name in layouts:
            gradient = torch.autograd.grad(expected[name], leaves[name], retain_graph=True)[0]
            plain[name], plain[f"{name}_mean_square"] = reference.rmsprop(
                plain[name], gradient, plain[f"{name}_mean_square"], settings[RATES[name]], settings
            )
            plain[f"target_{name}"] = (1 - settings["target_rate"]) * plain[f"target_{name}"] + settings["target_rate"] * plain[
                name
            ]
    for name, value in plain.items():
        assert torch.allclose(state[name], value, rtol=1e-8, atol=1e-8), name


def test_stacked_runs_equal_single_ones(noise_dataset, small):
    data, algorithm = learner(noise_dataset, small)
    starts = torch.tensor([[0, 998, 500], [7, 1500, 2000]])
    batch = double(data.batch(starts))
    together, _, _ = algorithm.update(algorithm.initialise(generators(1, 2)), batch, generators(3, 4))
    for run in range(2):
        alone = Batch(*(tensor[run : run + 1] for tensor in batch))
        single, _, _ = algorithm.update(algorithm.initialise(generators(1 + run)), alone, generators(3 + run))
        for name, value in single.items():
            assert torch.allclose(together[name][run], value[0], rtol=1e-12, atol=1e-14), name


def test_a_diverged_run_leaves_its_neighbour_alone(noise_dataset, small):
    data, algorithm = learner(noise_dataset, small)
    batch = double(data.batch(torch.tensor([[0, 998, 500], [7, 1500, 2000]])))
    healthy, _, _ = algorithm.update(algorithm.initialise(generators(1, 2)), batch, generators(3, 4))
    broken = algorithm.initialise(generators(1, 2))
    broken["critic"][0] = float("nan")
    mixed, metrics, _ = algorithm.update(broken, batch, generators(3, 4))
    assert metrics["td_loss"][0].isnan()
    for name, value in healthy.items():
        assert torch.equal(mixed[name][1], value[1]), name


def test_targets_equal_online_networks_at_the_start(noise_dataset, small):
    _, algorithm = learner(noise_dataset, small)
    state = algorithm.initialise(generators(1))
    assert torch.equal(state["policy"], state["target_policy"])
    assert torch.equal(state["critic"], state["target_critic"])
    first, second = algorithm.critic.unflatten(state["critic"])["second_w"][0]
    assert not torch.equal(first, second)  # the twins are independent draws
    _, released = learner(noise_dataset, small | {"equal_targets": False})
    state = released.initialise(generators(1))
    assert not torch.equal(state["policy"], state["target_policy"])
    assert not torch.equal(state["critic"], state["target_critic"])


def test_initialisers_are_sonnets(noise_dataset, small):
    _, algorithm = learner(noise_dataset, small | {"critic_width": 128, "policy_width": 64})
    state = algorithm.initialise(generators(0))
    critic, policy = algorithm.critic.unflatten(state["critic"]), algorithm.policy.unflatten(state["policy"])
    for weight, fan_in in ((critic["state_w"], 23), (critic["action_w"], 23), (critic["second_w"], 128), (policy["embed_w"], 15)):
        sd = fan_in**-0.5
        assert weight.abs().max() <= 2 * sd
        assert weight.std() == pytest.approx(0.88 * sd, rel=0.05)  # a normal cut at two sd
    limit = (6 / (64 + 3 * 64)) ** 0.5
    for weight in (policy["gru_wi"], policy["gru_wh"]):
        assert weight.abs().max() <= limit
        assert weight.std() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert all((value == 0).all() for name, value in (critic | policy).items() if name.endswith("_b"))


def test_masked_time_limit_leaves_the_last_step_without_a_target(noise_dataset, small):
    data, algorithm = learner(noise_dataset, small | {"time_limit": "masked"})
    batch = double(data.batch(torch.tensor([[998, 998, 998]])))
    assert batch.terminals.sum() == 0
    assert (batch.weights[0, :, 0] == torch.tensor([1, 0, 1, 1])).all()
    state = algorithm.initialise(generators(1))
    moved = batch._replace(rewards=batch.rewards.clone())
    moved.rewards[:, 1] += 100.0  # the reward of the last step cannot matter
    for name, value in algorithm.update(state, batch, generators(3))[0].items():
        assert torch.equal(value, algorithm.update(state, moved, generators(3))[0][name]), name


@pytest.mark.parametrize("name", ALGORITHMS)
def test_contract(noise_dataset, small, name):
    torch.set_default_dtype(torch.float32)
    data = SequenceData(noise_dataset, small)
    algorithm = make(name, data, small)
    state = algorithm.initialise(generators(1, 2))
    assert state["policy"].shape == (2, algorithm.policy.size)
    batch = data.batch(torch.tensor([[0, 998], [7, 1500]]))
    before = {key: value.clone() for key, value in state.items()}
    new, metrics, distances = algorithm.update(state, batch, generators(3, 4))
    assert distances.shape == (2, 2)
    assert torch.allclose(distances, algorithm.distances(state, batch), atol=1e-6)  # of the policy before the update
    assert all(value.shape == (2,) for value in metrics.values())
    assert all(torch.equal(state[key], value) for key, value in before.items())  # the old state is left alone
    assert set(new) == set(state)
    assert not torch.equal(new["policy"], state["policy"])


@pytest.mark.parametrize("environment", ["six_agent_halfcheetah", "three_agent_hopper"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_number_of_agents_and_episodes_that_end_early(name, environment, small):
    torch.set_default_dtype(torch.float32)
    data = SequenceData(toys.make(environment), small | {"sequence": 2})
    algorithm = make(name, data, small | {"sequence": 2})
    state = algorithm.initialise(generators(1))
    new, metrics, distances = algorithm.update(state, data.batch(torch.arange(data.starts)[None]), generators(3))
    assert distances.shape == (1, data.starts)
    assert all(torch.isfinite(value).all() for value in metrics.values())
    assert not torch.equal(new["policy"], state["policy"])


def test_behaviour_cloning_learns_a_constant(noise_dataset, small):
    torch.set_default_dtype(torch.float32)
    constant = dataclasses.replace(noise_dataset, actions=noise_dataset.actions * 0 + 0.5)
    settings = small | {"policy_width": 16, "sequence": 5}
    data = SequenceData(constant, settings)
    algorithm = make("behaviour_cloning", data, settings)
    state = algorithm.initialise(generators(0))
    random = torch.Generator().manual_seed(0)
    for _ in range(150):
        batch = data.batch(torch.randint(data.starts, (1, 8), generator=random))
        state, metrics, distances = algorithm.update(state, batch, [])
    assert distances.mean() < 0.1
    assert metrics["policy_loss"] < 0.02


def test_unknown_algorithm(noise_dataset, small):
    with pytest.raises(BenchError, match=r"unknown algorithm 'sac'.*maddpg_cql"):
        make("sac", SequenceData(noise_dataset, small), small)
