"""What the training is measured against computes the same update."""

import pytest
import torch
from torch import Tensor

from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from pjap_bench.benchmarks.eager import EagerMaddpgCql
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.draws import Streams
from tests.datasets import toys

pytestmark = pytest.mark.usefixtures("double_precision")


def policy_modules(p: dict[str, Tensor]) -> dict[str, Tensor]:
    """The policy's parameters under the names that torch's modules have, from ours (of one run)."""
    (update_i, reset_i, candidate_i), (update_h, reset_h, candidate_h) = (
        p[name].chunk(3, dim=1) for name in ("gru_wi", "gru_wh")
    )
    gates = torch.cat([torch.cat([update_i, reset_i], dim=1), torch.cat([update_h, reset_h], dim=1)])
    width = len(p["gru_wh"])
    return {
        "embed.weight": p["embed_w"].T,
        "embed.bias": p["embed_b"],
        "gates.weight": gates.T,
        "gates.bias": p["gru_b"][: 2 * width],
        "candidate.weight": torch.cat([candidate_i, candidate_h]).T,
        "candidate.bias": p["gru_b"][2 * width :],
        "out.weight": p["out_w"].T,
        "out.bias": p["out_b"],
    }


def critic_modules(p: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same for the twin critics."""
    found = {}
    for twin in range(2):
        layers = {
            0: (p["first_w"][twin], p["first_b"][twin]),
            2: (p["second_w"][twin], p["second_b"][twin]),
            4: (p["out_w"][twin], p["out_b"][twin]),
        }
        for place, (weight, bias) in layers.items():
            found[f"{twin}.layers.{place}.weight"] = weight.T
            found[f"{twin}.layers.{place}.bias"] = bias[0]
    return found


def as_modules(algorithm: MaddpgCql, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The networks of a training state of one run, by their names in the eager learner."""
    found = {}
    for key in ("policy", "critic", "target_policy", "target_critic"):
        layout = algorithm.policy if key.endswith("policy") else algorithm.critic
        rename = policy_modules if key.endswith("policy") else critic_modules
        found[key.replace("critic", "critics")] = rename({name: value[0] for name, value in layout.unflatten(state[key]).items()})
    return found


@pytest.mark.parametrize(("time_limit", "once"), [("terminal", False), ("masked", False), ("terminal", True)])
@pytest.mark.parametrize("environment", ["two_agent_halfcheetah", "six_agent_halfcheetah"])
def test_twenty_updates_equal_ours(small, environment, time_limit, once):
    settings = small | {"sequence": 3, "time_limit": time_limit}
    dataset = toys.make(environment)  # episodes of 5, 1, 9 and 3 steps
    data = SequenceData(dataset, settings)
    algorithm = MaddpgCql(data, settings)
    state = algorithm.initialise([torch.Generator().manual_seed(11)])
    random = torch.Generator().manual_seed(1)
    # Targets of their own, so that a mix-up of online and target networks shows.
    for key in ("target_policy", "target_critic"):
        state[key] += 0.05 * torch.randn(state[key].shape, generator=random)
    learner = EagerMaddpgCql(data, settings, torch.device("cpu"), once)
    for name, values in as_modules(algorithm, state).items():
        getattr(learner, name).load_state_dict(values)
    noise, same_noise = (torch.Generator().manual_seed(5) for _ in range(2))
    for update in range(20):
        starts = torch.randint(data.starts, (1, 3), generator=random)
        starts[0, 0] = 4  # crosses the ends of two episodes
        batch = Batch(*(tensor.double() for tensor in data.batch(starts)))
        state, metrics, measures = algorithm.update(state, batch, Streams([noise]))
        found = learner.update(batch, same_noise)
        expected = {name: metrics[name].item() for name in ("td_loss", "cql_loss", "policy_loss")}
        expected["distance"] = measures["distance"].mean().item()
        assert found == pytest.approx(expected, rel=1e-10), update
        for name, values in as_modules(algorithm, state).items():
            for key, value in getattr(learner, name).state_dict().items():
                assert torch.allclose(value, values[key], rtol=1e-8, atol=1e-10), (update, name, key)
