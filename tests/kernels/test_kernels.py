"""The kernels compute what `networks` computes: compiled on a GPU, by Triton's interpreter without one.

Triton comes with torch's builds for a GPU; continuous integration installs it beside the build for a CPU.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pjap_bench import config, kernels, networks
from pjap_bench.algorithms import ALGORITHMS
from pjap_bench.algorithms import make as make_algorithm
from pjap_bench.datasets.sequences import SequenceData

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ERROR = 5e-3 if DEVICE.type == "cuda" else 2e-6  # of tf32; the interpreter multiplies in float32
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined: nothing here has imported one yet
needs_triton = pytest.mark.skipif(
    not (importlib.util.find_spec("triton") or os.environ.get("PJAP_BENCH_NEEDS_TRITON")), reason="this torch came without Triton"
)


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    """Kernels are taken on the device that there is."""
    monkeypatch.setattr(kernels, "DEVICE", DEVICE.type)


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
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape and one.dtype == torch.float32
        assert ((one - other).norm() / other.norm()) < ERROR


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
    monkeypatch.setattr(critic, "_TILES", 4)
    inputs = [drawn(layout, runs), random(runs, points, state), random(runs, points, choices, joint_action)]
    compare(lambda parameters, *others: networks.critic_values(layout.unflatten(parameters), *others), inputs, wanted)
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
    unroll = policy.unroll
    monkeypatch.setattr(policy, "unroll", lambda *given: calls.append(1) or unroll(*given))
    keep = (random(runs, steps, sequences) > -0.8).float()
    inputs = [drawn(layout, runs), random(runs, steps, sequences, agents, observation), keep]
    compare(lambda parameters, *others: networks.policy_unroll(layout.unflatten(parameters), *others), inputs, wanted)
    assert calls == [1] and not keep.all()


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
        noise = [torch.Generator(DEVICE).manual_seed(seed) for seed in (2, 3)]
        starts = torch.randint(data.starts, (2, 5), generator=torch.Generator().manual_seed(4)).to(DEVICE)
        updated = learner.update(state, data.batch(starts), noise)
        squares = {name: value for name, value in updated.state.items() if name.endswith("_mean_square")}  # of gradients
        found.append(squares | updated.metrics | updated.measures)
    for name, value in found[1].items():
        assert ((found[0][name] - value).norm() / value.norm()) < 5 * ERROR, name


@needs_triton
def test_a_run_that_diverges_changes_no_other():
    layout = networks.critic_layout(5, 2, 16)
    parameters, states, actions = drawn(layout, 3).to(DEVICE), random(3, 4, 5).to(DEVICE), random(3, 4, 2, 2).to(DEVICE)
    ill = parameters.clone()
    layout.unflatten(ill)["first_w"][1, 0, 0, 0] = float("nan")
    clean, found = (networks.critic_values(layout.unflatten(each), states, actions) for each in (parameters, ill))
    assert found[1, 0].isnan().all() and torch.equal(found[1, 1], clean[1, 1])  # of the twin that has it
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize(
    ("width", "features", "dtype", "device", "critic", "policy"),
    [
        (64, 24, torch.float32, DEVICE.type, True, True),
        (256, 64, torch.float32, DEVICE.type, True, False),  # six matrices of this width have no room on the chip
        (512, 24, torch.float32, DEVICE.type, False, False),
        (24, 24, torch.float32, DEVICE.type, False, False),  # no power of two
        (64, 65, torch.float32, DEVICE.type, False, False),
        (64, 24, torch.float64, DEVICE.type, False, False),
        (64, 24, torch.float32, None, False, False),
    ],
)
def test_what_fits(monkeypatch, width, features, dtype, device, critic, policy):
    monkeypatch.setattr(kernels, "DEVICE", device)
    inputs = torch.zeros(2, 3, features, dtype=dtype, device=DEVICE)
    assert (kernels.fit_critic(width, inputs), kernels.fit_policy(width, inputs)) == (critic, policy)


@needs_triton
def test_all_compile_for_an_h100_without_one():
    """What the interpreter does not see: types, and the room that a kernel takes on the chip."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.kernels.compiled"]
    done = subprocess.run(command, cwd=config.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["name"], each["width"]) for each in found] == [
        *(("_forward", 128), ("_backward", 128), ("_second", 128), ("_forward", 128), ("_backward", 128)),
        *(("_forward", 256), ("_backward", 256), ("_second", 256), ("_forward", 256), ("_backward", 256)),
        *(("_forward", 64), ("_forward", 64), ("_backward", 64)),
    ]
    for each in found:
        assert each["matrix_instructions"] > 0 and each["shared"] <= 227 * 1024, each
