"""The stacked update equals the plain reference in float64; runs do not touch each other."""

import dataclasses

import pytest
import torch

from pjap_bench import products
from pjap_bench.algorithms import make
from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.draws import Streams
from pjap_bench.errors import BenchError

from . import reference

pytestmark = pytest.mark.usefixtures("double_precision")


def learner(noise_dataset, settings, name="maddpg_cql") -> tuple[SequenceData, MaddpgCql]:
    data = SequenceData(noise_dataset, settings)
    return data, make(name, data, settings)


def double(batch: Batch) -> Batch:
    return Batch(*(tensor.double() for tensor in batch))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noise(*seeds: int) -> Streams:
    return Streams(generators(*seeds))


def reference_batch(batch: Batch, run: int) -> dict:
    names = ("observations", "states", "actions", "rewards", "terminals", "weights")
    return {name: getattr(batch, name)[run] for name in names} | {"ended_before": 1 - batch.keep[run]}


def reference_draws(seed: int, steps: int, sequences: int, settings: dict, skip: int, independent: bool) -> dict:
    """The numbers that the fast update draws for its out-of-distribution actions, `skip` updates in."""
    generator = torch.Generator().manual_seed(seed)
    groups, agents = (2, 1) if independent else (1, 2)
    shape = ((steps - 1) * sequences * groups, settings["ood_actions"], agents, 3)
    for _ in range(skip + 1):
        uniform = torch.rand(shape, generator=generator) * 2 - 1
        noise = torch.randn(2, *shape, generator=generator)

    def by_time(values):  # [T - 1, B, n, N, A]
        return values.view(steps - 1, sequences, groups, *shape[1:]).transpose(2, 3).flatten(3, 4)

    return {"uniform": by_time(uniform), "noise_now": by_time(noise[0]), "noise_next": by_time(noise[1])}


@pytest.mark.parametrize("numbers", [products._PART, 400], ids=["whole", "in parts"])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("maddpg_cql", {}),
        ("maddpg_cql", {"other_agents": "current"}),
        ("maddpg_cql", {"time_limit": "masked"}),
        ("independent_ddpg_cql", {}),
    ],
)
def test_twenty_updates_equal_the_reference(noise_dataset, small, monkeypatch, name, changed, numbers):
    monkeypatch.setattr(products, "_PART", numbers)
    settings, independent = small | changed, name.startswith("independent")
    data, algorithm = learner(noise_dataset, settings, name)
    state = algorithm.initialise(generators(11))
    # Targets of their own, so that a mix-up of online and target networks shows.
    state |= {
        key: value + 0.05 * torch.randn(value.shape, generator=generators(1)[0])
        for key, value in state.items()
        if "target" in key
    }
    layouts = {"policy": algorithm.policy, "critic": algorithm.critic}
    plain = {key: value.clone() for key, value in state.items()}
    own_noise, twin_noise = noise(5), noise(5)
    for update in range(20):
        starts = torch.tensor([[998, 1500 + update, 2 * update]])  # the first one crosses an episode's end
        batch = double(data.batch(starts))
        assert (batch.terminals.sum(), (1 - batch.weights).sum()) == ((0, 1) if "time_limit" in changed else (1, 0))
        gradients, _, _ = algorithm.gradients(state, batch, twin_noise)
        state, metrics, measures = algorithm.update(state, batch, own_noise)

        leaves = {key: plain[key].detach().requires_grad_() for key in layouts}
        networks = {key: {k: v[0] for k, v in layout.unflatten(leaves[key]).items()} for key, layout in layouts.items()}
        networks |= {
            f"target_{key}": {k: v[0] for k, v in layout.unflatten(plain[f"target_{key}"]).items()}
            for key, layout in layouts.items()
        }
        draws = reference_draws(5, settings["sequence"], 3, settings, update, independent)
        expected = reference.losses(networks, reference_batch(batch, 0), draws, settings, independent)
        fast_critic_loss = metrics["td_loss"] + settings["cql_weight"] * metrics["cql_loss"]
        assert fast_critic_loss.item() == pytest.approx(expected["critic"].item(), rel=1e-12)
        assert metrics["policy_loss"].item() == pytest.approx(expected["policy"].item(), rel=1e-12, abs=1e-12)
        for measure, value in measures.items():
            assert torch.allclose(value[0], expected[measure], rtol=1e-12), measure
        for key in layouts:
            gradient = torch.autograd.grad(expected[key], leaves[key], retain_graph=True)[0]
            assert (gradients[key] - gradient).abs().max() < 1e-9 * max(1.0, gradient.abs().max()), key
            plain[key], plain[f"{key}_mean_square"] = reference.rmsprop(
                plain[key], gradient, plain[f"{key}_mean_square"], settings[f"{key}_learning_rate"], settings
            )
            rate = settings["target_rate"]
            plain[f"target_{key}"] = (1 - rate) * plain[f"target_{key}"] + rate * plain[key]
    for key, value in plain.items():
        assert torch.allclose(state[key], value, rtol=1e-8, atol=1e-8), key


def test_parts_are_everything_once():
    for count, numbers in ((1, 10), (7, products._PART // 3), (7, 10 * products._PART), (10**6, 1)):
        parts = products.parts(count, numbers, torch.device("cpu"))
        assert torch.equal(torch.cat([torch.arange(count)[part] for part in parts]), torch.arange(count))
        assert max(part.stop - part.start for part in parts) * numbers <= max(products._PART, numbers)
        assert products.parts(count, numbers, torch.device("meta")) == [slice(0, count)]


def test_stacked_runs_equal_single_ones(noise_dataset, small):
    data, algorithm = learner(noise_dataset, small)
    starts = torch.tensor([[0, 998, 500], [7, 1500, 2000]])
    batch = double(data.batch(starts))
    together, _, _ = algorithm.update(algorithm.initialise(generators(1, 2)), batch, noise(3, 4))
    for run in range(2):
        alone = Batch(*(tensor[run : run + 1] for tensor in batch))
        single, _, _ = algorithm.update(algorithm.initialise(generators(1 + run)), alone, noise(3 + run))
        for name, value in single.items():
            assert torch.allclose(together[name][run], value[0], rtol=1e-12, atol=1e-14), name


def test_a_diverged_run_leaves_its_neighbour_alone(noise_dataset, small):
    data, algorithm = learner(noise_dataset, small)
    batch = double(data.batch(torch.tensor([[0, 998, 500], [7, 1500, 2000]])))
    healthy, _, _ = algorithm.update(algorithm.initialise(generators(1, 2)), batch, noise(3, 4))
    broken = algorithm.initialise(generators(1, 2))
    broken["critic"][0] = float("nan")
    mixed, metrics, _ = algorithm.update(broken, batch, noise(3, 4))
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
    for weight, fan_in in ((critic["first_w"], 23), (critic["second_w"], 128), (policy["embed_w"], 15)):
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
    for name, value in algorithm.update(state, batch, noise(3))[0].items():
        assert torch.equal(value, algorithm.update(state, moved, noise(3))[0][name]), name


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
        state, metrics, measures = algorithm.update(state, batch, noise())
    assert measures["distance"].mean() < 0.1
    assert metrics["policy_loss"] < 0.02


def test_unknown_algorithm(noise_dataset, small):
    with pytest.raises(BenchError, match=r"unknown algorithm 'sac'.*maddpg_cql"):
        make("sac", SequenceData(noise_dataset, small), small)
