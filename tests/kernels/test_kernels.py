"""The kernels of networks compute what `networks` computes."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pjap_bench import config, draws, kernels, networks
from pjap_bench.algorithms import ALGORITHMS
from pjap_bench.algorithms import make as make_algorithm
from pjap_bench.algorithms.update import rmsprop
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.errors import BenchError
from pjap_bench.training.stack import Stack
from tests.kernels.conftest import DEVICE, needs_triton
from tests.training.test_training import NoHostData, NoHostTensors

# Of values, in tf32 (the interpreter multiplies in float32), and of gradients, where a unit counts whole that it moves across 0.
ERRORS = (1e-3, 5e-2) if DEVICE.type == "cuda" else (2e-6, 2e-6)
POINTS, SEQUENCES = (1216, 64) if DEVICE.type == "cuda" else (3, 2)  # the paper's; the interpreter is slow


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    """Kernels are taken on the device that there is, and what they do not write is no number."""
    monkeypatch.setattr(kernels, "DEVICE", DEVICE.type)
    monkeypatch.setattr(Tensor, "new_empty", lambda like, *shape, **options: like.new_zeros(*shape, **options).fill_(torch.nan))


def drawn(layout: networks.Layout, runs: int) -> Tensor:
    parameters = torch.stack([layout.initialise(torch.Generator().manual_seed(run)) for run in range(runs)])
    return parameters + 0.1 * torch.randn(parameters.shape, generator=torch.Generator().manual_seed(9))  # biases too


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def compare(function, inputs: list[Tensor], wanted: list[int]) -> None:
    """Result and gradients of the `wanted` inputs: in float32, and so through a kernel, as in float64."""
    found = []
    for dtype in (torch.float32, torch.float64):
        own = [each.to(DEVICE, dtype, copy=True).requires_grad_(index in wanted) for index, each in enumerate(inputs)]
        result = function(*own)
        weights = random(*result.shape).to(DEVICE, dtype)
        gradients = torch.autograd.grad((result * weights).sum(), [own[index] for index in wanted]) if wanted else ()
        found.append([result.detach(), *gradients])
    for index, (one, other) in enumerate(zip(*found, strict=True)):
        assert one.shape == other.shape and one.dtype == torch.float32
        assert ((one - other).norm() / other.norm()) < ERRORS[index > 0]


@needs_triton
@pytest.mark.parametrize("wanted", [[], [0], [2], [0, 2]], ids=["values", "parameters", "actions", "both"])
@pytest.mark.parametrize(
    ("runs", "points", "choices", "state", "joint_action", "width"),
    [(2, 13, 5, 17, 6, 16), (1, 18, 31, 11, 3, 32), (2, 3, 2, 17, 40, 64), (1, 9, 31, 17, 6, 128), (1, 5, 31, 17, 6, 256)],
)
def test_critics(monkeypatch, runs, points, choices, state, joint_action, width, wanted):
    from pjap_bench.kernels import critic

    layout = networks.critic_layout(state, joint_action, width)
    calls = []
    values = critic.values
    monkeypatch.setattr(critic, "values", lambda *given: calls.append(1) or values(*given))
    monkeypatch.setattr(critic, "_ROWS", 256)
    actions = random(runs, choices, points, joint_action).transpose(1, 2)  # neither of these two is contiguous
    inputs = [drawn(layout, runs), random(runs, state, points).mT, actions]
    compare(lambda parameters, *others: networks.critic_values(layout, parameters, *others), inputs, wanted)
    assert calls == [1]


@needs_triton
@pytest.mark.parametrize("wanted", [[], [0]], ids=["actions", "parameters"])
@pytest.mark.parametrize(
    ("runs", "steps", "sequences", "agents", "observation", "action", "width"),
    [(2, 5, 7, 2, 13, 3, 16), (1, 4, 40, 2, 13, 3, 32), (2, 3, 9, 6, 7, 1, 64), (1, 20, 3, 2, 13, 3, 64)],
)
def test_policy(monkeypatch, runs, steps, sequences, agents, observation, action, width, wanted):
    from pjap_bench.kernels import policy

    layout = networks.policy_layout(agents, observation, action, width)
    calls = []
    unrolls = policy.unrolls
    monkeypatch.setattr(policy, "unrolls", lambda *given: calls.append(1) or unrolls(*given))
    keep = (random(runs, sequences, steps) > -0.8).float().mT  # neither of these two is contiguous
    inputs = [drawn(layout, runs), random(runs, sequences, steps, agents, observation).transpose(1, 2), keep]
    compare(lambda parameters, *others: networks.policy_unroll(layout, parameters, *others), inputs, wanted)
    assert calls == [1] and not keep.all()


@needs_triton
@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["behind", "before"])
def test_a_target_policy_goes_beside_the_online_one(order):
    """Wherever it lies: the same bits as of each alone, gradient included; the target's own have none."""
    layout = networks.policy_layout(2, 13, 3, 32)
    inputs = random(3, 5, 20, 2, 13).to(DEVICE), (random(3, 5, 20) > -0.8).float().to(DEVICE)
    both = torch.stack([drawn(layout, 3), drawn(layout, 3).flip(0)]).to(DEVICE)
    online, target = both[order[0]].requires_grad_(), both[order[1]]
    found = []
    for unrolled in (
        networks.policy_unrolls(layout, online, target, *inputs),
        [networks.policy_unroll(layout, each, *inputs) for each in (online, target)],
    ):
        actions, others = unrolled
        assert not others.requires_grad
        found.append((actions, others, *torch.autograd.grad((actions * random(*actions.shape).to(DEVICE)).sum(), online)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not torch.equal(*found[0][:2])


def critics(width: int):
    layout, inputs = networks.critic_layout(17, 6, width), [random(2, POINTS, 17), random(2, POINTS, 31, 6)]
    return layout, lambda *given: networks.critic_values(layout, *given), inputs


def policies():
    layout, inputs = networks.policy_layout(2, 13, 3, 64), [random(2, 20, SEQUENCES, 2, 13), torch.ones(2, 20, SEQUENCES)]
    return layout, lambda parameters, *others: networks.policy_unroll(layout, parameters, *others), inputs


@needs_triton
@pytest.mark.parametrize(
    "of",
    [
        lambda: critics(128),
        pytest.param(lambda: critics(256), marks=pytest.mark.skipif(DEVICE.type == "cpu", reason="the interpreter is slow")),
        policies,
    ],
    ids=["critics 128", "critics 256", "policies"],
)
def test_networks_of_the_papers_size(of):
    """Of a loss that all rows move alike, gradients are as near as values; and both are rounded, not cut off to tf32."""
    (layout, function, inputs), found = of(), []
    for dtype in (torch.float32, torch.float64):
        parameters, *others = (each.to(DEVICE, dtype) for each in (drawn(layout, 2), *inputs))
        values = function(parameters.requires_grad_(), *others)
        found.append([values.detach(), *torch.autograd.grad(values.square().mean(), parameters)])
    for one, other in zip(*found, strict=True):
        assert ((one - other).norm() / other.norm()) < 1e-3
        assert abs((one * other).sum() / other.square().sum() - 1) < 2e-4


@needs_triton
def test_a_step_of_rmsprop(monkeypatch):
    settings = {"rmsprop_decay": 0.9, "rmsprop_epsilon": 1e-10}
    given = [scale * random(*[5, 700, 2][:axes]).flatten(1).to(DEVICE) for axes, scale in ((3, 1.0), (3, 1e-4), (3, 1e-8))]
    parameters, gradient, mean_square = given[0], given[1].flip(0), given[2].abs()
    gradient[:, :2], mean_square[:, 1:3] = 0.0, 0.0
    gradient[1, 3] = torch.nan
    parameters, gradient, mean_square = (each.T.contiguous().T for each in (parameters, gradient, mean_square))
    found = []
    for device in (DEVICE.type, None):
        monkeypatch.setattr(kernels, "DEVICE", device)
        found.append(rmsprop(parameters, gradient, mean_square, 1e-3, settings))
    for one, other, least in zip(*found, (1e-8, 0.0), strict=True):  # a step of up to 0.003, to its rounding, may end near 0
        torch.testing.assert_close(one, other, rtol=2e-6, atol=least, equal_nan=True)
        assert one.isnan().sum() == 1


@needs_triton
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_update_is_that_of_plain_operations(noise_dataset, settings, monkeypatch, algorithm):
    settings = settings | {"critic_width": 32, "policy_width": 16, "batch": 5}
    found = []
    for device in (DEVICE.type, None):
        monkeypatch.setattr(kernels, "DEVICE", device)
        data = SequenceData(noise_dataset, settings, DEVICE)
        learner = make_algorithm(algorithm, data, settings)
        state = learner.initialise([torch.Generator().manual_seed(seed) for seed in (0, 1)])
        state = {name: value.to(DEVICE) for name, value in state.items()}
        noise = draws.Streams([torch.Generator(DEVICE).manual_seed(seed) for seed in (2, 3)])
        starts = torch.randint(data.starts, (2, 5), generator=torch.Generator().manual_seed(4)).to(DEVICE)
        updated = learner.update(state, data.batch(starts), noise)
        squares = {name: value for name, value in updated.state.items() if name.endswith("_mean_square")}  # of gradients
        found.append(squares | updated.metrics | updated.measures)
    for name, value in found[1].items():
        assert ((found[0][name] - value).norm() / value.norm()) < 5 * ERRORS[name in squares], name


@needs_triton
@pytest.mark.parametrize("algorithm", ["maddpg_cql", "independent_ddpg_cql"])
def test_an_update_goes_through_kernels(noise_dataset, settings, monkeypatch, algorithm):
    """Both policies at once."""
    from pjap_bench.kernels import conservative, critic, policy, rmsprop

    calls = []
    for module, name in (
        (policy, "unrolls"), (critic, "values"), (conservative, "joint_actions"), (conservative, "losses"), (rmsprop, "step")
    ):  # fmt: skip
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, name=name, own=own: calls.append(name) or own(*given))
    settings = settings | {"critic_width": 16, "policy_width": 16}
    data = SequenceData(noise_dataset, settings, DEVICE)
    learner = make_algorithm(algorithm, data, settings)
    state = {name: value.to(DEVICE) for name, value in learner.initialise([torch.Generator().manual_seed(1)]).items()}
    noise = draws.Streams([torch.Generator(DEVICE).manual_seed(2)])
    learner.update(state, data.batch(torch.tensor([[0, 5]], device=DEVICE)), noise)
    assert calls == ["unrolls", "values", "joint_actions", "values", "losses", "values", "step", "step"]


@needs_triton
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_starts_kernels_stays_on_its_device(noise_dataset, settings, monkeypatch, algorithm):
    """As `test_an_update_stays_on_its_device` without them: a graph can be recorded."""
    from pjap_bench.kernels import conservative, counted, critic, policy, proportional, rmsprop

    class Nothing:
        def __getitem__(self, grid):
            return lambda *given, **options: started.append(grid)

    started = []
    for module in (conservative, counted, critic, policy, proportional, rmsprop):
        for name in [name for name, each in vars(module).items() if hasattr(each, "pre_run_hooks")]:
            monkeypatch.setattr(module, name, Nothing())
    monkeypatch.setattr(kernels, "DEVICE", "meta")
    own = settings | {"algorithm": algorithm, "policy_width": 16, "refresh": "proportional", "refresh_sequences": 8}
    stack = Stack(noise_dataset, {name: own | {"sampler": name} for name in ("uniform", "pjap")}, [0, 1], torch.device("meta"))
    with NoHostTensors(), NoHostData():
        stack.advance(1)
    assert len(started) == (12 if algorithm == "behaviour_cloning" else 26)
    assert {value.device.type for value in stack.tensors().values()} == {"meta"}


@needs_triton
@pytest.mark.parametrize("poisoned", ["parameters", "states", "actions"])
def test_a_critic_that_diverges_changes_no_other(poisoned):
    """Neither the other runs' values and gradients nor, by a parameter, its twin's values."""
    layout = networks.critic_layout(5, 2, 16)
    clean = {"parameters": drawn(layout, 3), "states": random(3, 6, 5), "actions": random(3, 6, 3, 2)}
    ill = clean | {poisoned: clean[poisoned].clone()}
    if poisoned == "parameters":
        layout.unflatten(ill[poisoned])["first_w"][1, 0, 0, 0] = torch.nan
    else:
        ill[poisoned][1, 0] = torch.nan  # the first rows of a run: those before them are of another

    def results(given: dict) -> list[Tensor]:
        parameters, states, actions = (given[name].to(DEVICE) for name in ("parameters", "states", "actions"))
        parameters, actions = parameters.requires_grad_(), actions.requires_grad_()
        values = networks.critic_values(layout, parameters, states, actions)
        return [values.detach(), *torch.autograd.grad(values.sum(), (parameters, actions))]

    expected, found = results(clean), results(ill)
    kernels.DEVICE = None
    plain = results(ill)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(other[[0, 2]], one[[0, 2]])
    assert found[0].isnan().any() and torch.equal(found[0].isnan(), plain[0].isnan())
    assert found[1][1].isnan().any()
    if poisoned == "parameters":
        assert torch.equal(found[0][1, 1], expected[0][1, 1])


@needs_triton
@pytest.mark.parametrize("poisoned", ["embed_w", "gru_wh", "out_b", "observations"])
def test_a_policy_that_diverges_changes_no_other(poisoned):
    layout, keep = networks.policy_layout(2, 3, 2, 16), torch.ones(3, 4, 5, device=DEVICE)
    found = []
    for ill in (False, True):
        parameters, observations = drawn(layout, 3).to(DEVICE), random(3, 4, 5, 2, 3).to(DEVICE)
        named = layout.unflatten(parameters) | {"observations": observations}
        if ill:
            named[poisoned][1].view(-1)[0] = torch.nan
        actions = networks.policy_unroll(layout, parameters.requires_grad_(), observations, keep)
        found.append([actions.detach(), *torch.autograd.grad(actions.sum(), parameters)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(other[[0, 2]], one[[0, 2]])
        assert one.isfinite().all() and other[1].isnan().any()


@needs_triton
def test_nothing_is_computed_in_vain(monkeypatch):
    from pjap_bench.kernels import critic, policy

    launched = []

    class Launches:
        def __init__(self, module, name):
            self._name, self._kernel = name, getattr(module, name)

        def __getitem__(self, grid):
            def launch(*given, **options):
                launched.append((self._name, *(options[key] for key in ("KEEP", "OF_ACTIONS", "OF_WEIGHTS") if key in options)))
                self._kernel[grid](*given, **options)

            return launch

    for module, names in ((critic, ("_forward", "_backward", "_second")), (policy, ("_forward", "_backward"))):
        for name in names:
            monkeypatch.setattr(module, name, Launches(module, name))
    layout = networks.critic_layout(5, 2, 16)
    for wanted in ([], [0], [1]):
        inputs = [drawn(layout, 1).to(DEVICE), random(1, 4, 3, 2).to(DEVICE)]
        for index in wanted:
            inputs[index].requires_grad_()
        values = networks.critic_values(layout, inputs[0], random(1, 4, 5).to(DEVICE), inputs[1])
        if wanted:
            values.sum().backward()
    of_weights, of_actions = ("_backward", False, True), ("_backward", True, False)
    assert launched == [("_forward", False), ("_forward", True), of_weights, ("_second",), ("_forward", True), of_actions]
    launched.clear()
    layout = networks.policy_layout(2, 3, 2, 16)
    for wanted in (False, True):
        parameters = drawn(layout, 1).to(DEVICE).requires_grad_(wanted)
        inputs = random(1, 4, 5, 2, 3).to(DEVICE), torch.ones(1, 4, 5, device=DEVICE)
        actions = networks.policy_unroll(layout, parameters, *inputs)
        if wanted:
            actions.sum().backward()
    assert launched == [("_forward", False), ("_forward", True), ("_backward",)]


@pytest.mark.parametrize(("major", "kib", "message"), [(8, 99, "99 KiB for a kernel"), (7, 164, r"compute capability 7\.0")])
@needs_triton
def test_a_gpu_without_room(monkeypatch, major, kib, message):
    from triton.runtime import driver

    card = SimpleNamespace(name="Some Card", major=major, minor=0, shared_memory_per_block_optin=kib * 1024)
    monkeypatch.setattr(driver, "_active", SimpleNamespace(get_current_device=lambda: 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: card)
    with pytest.raises(BenchError, match=rf"Some Card has .*{message}.*use training.precision=tf32"):
        kernels.check()
    card.major, card.shared_memory_per_block_optin = 8, 163 * 1024
    kernels.check()


@pytest.mark.parametrize(
    ("width", "features", "actions", "dtype", "device", "critic", "policy"),
    [
        (64, 24, 3, torch.float32, DEVICE.type, True, True),
        (256, 64, 3, torch.float32, DEVICE.type, True, False),  # six matrices of this width have no room on the chip
        (512, 24, 3, torch.float32, DEVICE.type, False, False),
        (24, 24, 3, torch.float32, DEVICE.type, False, False),  # no power of two
        (64, 65, 3, torch.float32, DEVICE.type, False, False),
        (64, 64, 65, torch.float32, DEVICE.type, True, False),
        (64, 24, 3, torch.float64, DEVICE.type, False, False),
        (64, 24, 3, torch.float32, None, False, False),
    ],
)
def test_what_fits(monkeypatch, width, features, actions, dtype, device, critic, policy):
    monkeypatch.setattr(kernels, "DEVICE", device)
    first, out = (torch.zeros(shape, dtype=dtype, device=DEVICE) for shape in ((2, 2, features, width), (2, width, actions)))
    inputs = torch.zeros(3, dtype=dtype, device=DEVICE)
    found = kernels.fit_critic(first[:, :, 1:], inputs), kernels.fit_policy(first[0], out, inputs)  # a critic's bias is an input
    assert found == (critic, policy)
    inputs.requires_grad_()  # no kernel gives this gradient
    assert not (kernels.fit_critic(first[:, :, 1:], inputs) or kernels.fit_policy(first[0], out, inputs))


@needs_triton
def test_all_compile_for_an_h100_without_one():
    """What the interpreter does not see: types, and the room that a kernel takes on the chip."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.kernels.compiled"]
    done = subprocess.run(command, cwd=config.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    critics = ("_forward", "_backward", "_second", "_forward", "_backward")  # gradients of weights, and of actions
    assert [(each["name"], each["width"]) for each in found] == [
        *((name, 128) for name in critics),
        *((name, 256) for name in critics * 2),
        *(("_forward", 64), ("_forward", 64), ("_backward", 64)) * 2,
    ]
    for each in found:
        assert each["shared"] <= kernels._SHARED * 1024, each
