"""The critics' loss in two kernels is that of `algorithms.maddpg_cql`."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pjap_bench import draws, kernels
from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from tests.kernels.conftest import DEVICE, needs_triton

pytestmark = needs_triton
NAMES = "values", "log_density", "targets", "weights"


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    monkeypatch.setattr(kernels, "DEVICE", DEVICE.type)
    monkeypatch.setattr(Tensor, "new_empty", lambda like, *shape, **options: like.new_zeros(*shape, **options).fill_(torch.nan))


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(DEVICE)


@pytest.mark.parametrize(
    ("runs", "steps", "sequences", "agents", "size", "count"), [(2, 4, 5, 2, 3, 10), (1, 3, 70, 1, 3, 1), (3, 2, 7, 6, 1, 4)]
)
def test_joint_actions(monkeypatch, runs, steps, sequences, agents, size, count):
    learner = SimpleNamespace(_settings={"ood_actions": count, "cql_sigma": 0.3})
    data, actions = random(sequences, steps, runs, agents, size).transpose(0, 2), random(steps, runs, sequences, agents, size)
    actions = actions.transpose(0, 1)  # neither of these two is contiguous
    found = []
    for device in (DEVICE.type, None):
        monkeypatch.setattr(kernels, "DEVICE", device)
        own = draws.Streams([torch.Generator(DEVICE).manual_seed(seed) for seed in range(runs)])
        found.append(MaddpgCql._compared(learner, data, actions, own))
    for one, other in zip(*found, strict=True):
        assert one.is_contiguous() and one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    outside = found[0][0].abs() == 1
    assert outside.any() and not outside.all()


def given(runs: int, points: int, agents: int, others: int) -> dict[str, Tensor]:
    """Inputs of both losses. Values are so large that their powers have no room in float32."""
    shapes = (runs, 2, points, 1 + others), (runs, points, agents, others), (runs, points), (runs, points)
    values, log_density, targets, weights = (random(*shape) for shape in shapes)
    weights = torch.cat([weights, weights], dim=1).gt(-1).float()[:, :points]  # some of all: not contiguous
    targets = 100 * targets.T.contiguous().T  # nor these
    return dict(zip(NAMES, (100 * values + 50, log_density, targets, weights), strict=True))


def plain(values: Tensor, log_density: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By the definition of the losses, and torch's gradient."""
    learner = SimpleNamespace(critic=None)
    td_losses, cql_losses, _ = MaddpgCql._critic_losses(
        learner, values.requires_grad_(), None, None, log_density, targets, weights
    )
    loss = (td_losses + 5.0 * cql_losses).mean(dim=(1, 2)).sum()
    return td_losses.detach(), cql_losses.detach(), torch.autograd.grad(loss, values)[0]


@pytest.mark.parametrize(("runs", "points", "agents", "others"), [(2, 45, 2, 30), (1, 70, 1, 3), (3, 5, 6, 33), (1, 9, 1, 1100)])
def test_losses(monkeypatch, runs, points, agents, others):
    from pjap_bench.kernels import conservative

    monkeypatch.setattr("pjap_bench.algorithms.maddpg_cql.critic_values", lambda layout, values, *_: values)
    inputs = given(runs, points, agents, others)
    assert not inputs["weights"].all()
    found = conservative.losses(**inputs, cql_weight=5.0)
    expected = plain(**{name: value.double() for name, value in inputs.items()})
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6 * other.abs().max().item())


@pytest.mark.parametrize(
    ("poisoned", "poison"),
    [*(("values", poison) for poison in (torch.nan, torch.inf, -torch.inf)), ("targets", torch.inf), ("log_density", torch.nan)],
)
def test_losses_that_diverge_change_no_others(poisoned, poison):
    from pjap_bench.kernels import conservative

    clean = given(3, 9, 2, 4)
    ill = clean | {poisoned: clean[poisoned].clone()}
    ill[poisoned][1].view(-1)[:2] = poison
    expected, found = (conservative.losses(**inputs, cql_weight=5.0) for inputs in (clean, ill))
    for one, other in zip(expected, found, strict=True):
        assert one.isfinite().all() and torch.equal(other[[0, 2]], one[[0, 2]])
    temporal, of_others, gradient = (each[1].isfinite().all() for each in found)
    assert not gradient and temporal == (poisoned == "log_density") and of_others == (poisoned == "targets")


def test_actions_that_diverge_stay_so():
    from pjap_bench.kernels import conservative

    drawn = torch.rand(3, 6, 2, 2, 2, device=DEVICE), random(3, 2, 6, 2, 2, 2)
    found = []
    for ill in (False, True):
        data, actions = random(3, 4, 2, 2, 2), random(3, 4, 2, 2, 2)
        if ill:
            actions[1, 0, 0, 0, 0] = data[1, 0, 1, 0, 0] = torch.nan
        found.append(conservative.joint_actions(data, actions, *drawn, 0.3)[0])
    assert torch.equal(found[0][[0, 2]], found[1][[0, 2]])
    assert found[1][1].isnan().nonzero().tolist() == [[0, 3, 0], [0, 4, 0], [1, 0, 0]]
