"""Networks, optimiser and initialisers against dm-sonnet's own numbers (sonnet/README.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pjap_bench import files
from pjap_bench.algorithms.update import rmsprop
from pjap_bench.networks import Layout, critic_layout, critic_values, policy_layout, policy_step, policy_unroll, with_agent_id

FIXTURES = Path(__file__).parent / "sonnet" / "fixtures.npz"
PRECISIONS = {"float64": 1e-12, "float32": 1e-6}
SEEDS = 100


def load(part: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES, allow_pickle=False) as file:
        return {name.removeprefix(f"{part}."): file[name] for name in file.files if name.startswith(f"{part}.")}


def tensors(arrays: dict[str, np.ndarray], precision: str) -> dict[str, Tensor]:
    """One run of everything, [1, ...]."""
    return {name: torch.from_numpy(np.asarray(array))[None].to(getattr(torch, precision)) for name, array in arrays.items()}


def laid_out(layout: Layout, values: dict[str, Tensor]) -> Tensor:
    """Sonnet's arrays as one tensor of all parameters."""
    assert {name: tuple(values[name].shape[1:]) for name in layout.shapes} == layout.shapes
    flat = torch.cat([values[name].flatten(1) for name in layout.shapes], dim=1)
    return torch.nn.functional.pad(flat, (0, layout.sizes[-1]))


def assert_close(ours: Tensor, sonnets: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, sonnets, rtol=tolerance, atol=tolerance)


def test_the_fixtures_are_those_that_were_written():
    written = json.loads(FIXTURES.with_suffix(".json").read_text())
    assert files.sha256(FIXTURES) == written["sha256"]
    assert set(written["written_with"]) == {"dm-sonnet", "tensorflow-cpu", "numpy", "python"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gru(precision):
    given = tensors(load("gru"), precision)
    features, width = given["inputs"].shape[-1], given["start"].shape[-1]
    identity = {"embed_w": torch.eye(features), "embed_b": torch.zeros(features)}  # the inputs are what relu leaves alone
    rest = {"out_w": torch.zeros(width, 1), "out_b": torch.zeros(1)}
    parameters = {name: value[None].to(given["wi"].dtype) for name, value in (identity | rest).items()}
    parameters |= {f"gru_{name}": given[name] for name in ("wi", "wh", "b")}
    hidden = given["start"]
    for step in range(given["inputs"].shape[1]):
        _, hidden = policy_step(parameters, given["inputs"][:, step], hidden)
        assert_close(hidden, given[f"hidden_{precision}"][:, step], PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_policy(precision):
    given = tensors(load("policy"), precision)
    expected = given[f"actions_{precision}"]
    _, steps, sequences, agents, observation = given["observations"].shape
    width = given["embed_w"].shape[-1]
    layout = policy_layout(agents, observation, expected.shape[-1], width)
    parameters = laid_out(layout, given)
    assert_close(policy_unroll(layout, parameters, given["observations"], given["keep"]), expected, PRECISIONS[precision])

    hidden = torch.zeros(1, sequences * agents, width, dtype=expected.dtype)
    for step in range(steps):  # acting gives the same actions
        hidden = hidden * given["keep"][:, step].repeat_interleave(agents, dim=1)[..., None]
        inputs = with_agent_id(given["observations"][:, step]).flatten(1, 2)
        actions, hidden = policy_step(layout.unflatten(parameters), inputs, hidden)
        assert_close(actions.view_as(expected[:, step]), expected[:, step], PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_critic(precision):
    given = tensors(load("critic"), precision)
    state, joint = given["states"].shape[-1], given["actions"].shape[-1]
    given |= {name: given[name].unsqueeze(2) for name in ("first_b", "second_b", "out_b")}
    layout = critic_layout(state, joint, given["second_w"].shape[-1])
    values = critic_values(layout, laid_out(layout, given), given["states"], given["actions"])
    assert_close(values, given[f"values_{precision}"], PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rmsprop(settings, precision):
    arrays = load("rmsprop")
    assert (settings["rmsprop_decay"], settings["rmsprop_epsilon"]) == (arrays["decay"], arrays["epsilon"])
    assert arrays["momentum"] == 0
    assert not arrays["centered"]
    given = tensors(arrays, precision)
    parameters, mean_square = given["start"], torch.zeros_like(given["start"])
    for step in range(given["gradients"].shape[1]):
        parameters, mean_square = rmsprop(parameters, given["gradients"][:, step], mean_square, float(arrays["rate"]), settings)
        assert_close(parameters, given[f"parameters_{precision}"][:, step], PRECISIONS[precision])
        # Down to 1e-17 in value: only relative errors count.
        expected = given[f"mean_squares_{precision}"][:, step]
        torch.testing.assert_close(mean_square, expected, rtol=PRECISIONS[precision], atol=0.0)


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """Fresh parameters of the networks of 2halfcheetah, many times over: [seeds, ...] by name."""
    layouts = {"policy": policy_layout(2, 13, 3, 64), "critic": critic_layout(17, 6, 128)}
    parameters = {}
    for network, layout in layouts.items():
        fresh = [layout.initialise(torch.Generator().manual_seed(seed)) for seed in range(SEEDS)]
        named = layout.unflatten(torch.stack(fresh))
        parameters |= {f"{network}.{name}": value.double().numpy() for name, value in named.items()}
    return parameters


@pytest.mark.parametrize(
    ("name", "source"),
    {
        "policy.embed_w": "linear_15",
        "policy.gru_wi": "input_to_hidden",
        "policy.gru_wh": "hidden_to_hidden",
        "policy.out_w": "linear_64",
        "critic.first_w": "linear_23",
        "critic.second_w": "linear_128",
        "critic.out_w": "linear_128",
    }.items(),
)
def test_initialisers(drawn, name, source):
    sonnets = load("initialisers")
    ours = drawn[name].flatten()
    either = 1 / len(ours) + 1 / sonnets[f"{source}_count"]  # both are samples: errors go with the root of this

    below = np.searchsorted(np.sort(ours), sonnets[f"{source}_quantiles"], side="right") / len(ours)
    # The Kolmogorov-Smirnov distance that one in a thousand pairs of samples exceeds; scaling by 0.88 makes it 0.03.
    assert np.abs(below - sonnets["levels"]).max() < 1.95 * either**0.5
    # Four standard errors. A normal's sd has relative error sqrt(1 / 2n); these tails are shorter.
    assert ours.std() == pytest.approx(sonnets[f"{source}_sd"], rel=4 * (either / 2) ** 0.5)
    assert ours.mean() == pytest.approx(sonnets[f"{source}_mean"], abs=4 * sonnets[f"{source}_sd"] * either**0.5)
    # Thousands of values come far closer to their limit than one in a hundred.
    assert ours.min() == pytest.approx(sonnets[f"{source}_min"], rel=0.01)
    assert ours.max() == pytest.approx(sonnets[f"{source}_max"], rel=0.01)


def test_biases_start_at_zero(drawn):
    sonnets = load("initialisers")
    assert all(value == 0 for name, value in sonnets.items() if name.endswith("_largest_bias"))
    biases = {name: value for name, value in drawn.items() if name.endswith("_b")}
    assert len(biases) == 6
    assert not any(value.any() for value in biases.values())
