"""Random numbers by one kernel for all runs: those of Philox, evenly spread, and no run's of its neighbours."""

import math

import pytest
import torch

from pjap_bench import draws, kernels
from pjap_bench.training import checkpoints
from pjap_bench.training.stack import Stack
from tests.kernels.conftest import DEVICE, needs_triton

pytestmark = needs_triton
SEEDS = [5, 2**62 + 12345, 0]


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    monkeypatch.setattr(kernels, "DEVICE", DEVICE.type)


def philox(seed: int, counter: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Philox 4x32-10 by its definition (Salmon et al., 2011, section 3.3)."""
    (low, high), (a, b, c, d) = (seed % 2**32, seed >> 32), counter
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ low, right % 2**32, (left >> 32) ^ d ^ high, left % 2**32
        low, high = (low + 0x9E3779B9) % 2**32, (high + 0xBB67AE85) % 2**32
    return a, b, c, d


def test_philox_is_that_of_its_authors():
    assert philox(0, (0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)  # Random123's known answers


def test_numbers_are_philox():
    own = draws.make(SEEDS, DEVICE)
    for count in (0, 2, 2**32 + 6):  # draws before; beyond 32 bits they go on in the next word
        own.tensors()["count"].fill_(count)
        single, double = own.uniform(1500).cpu(), own.uniform(1500, dtype=torch.float64).cpu()
        low, high = count % 2**32, count >> 32
        for run, seed in enumerate(SEEDS):
            for place in (0, 255, 1023, 1024, 1499):
                block, (word, lane) = place // 1024, divmod(place % 1024, 256)
                words = philox(seed, (256 * block + lane, 0, low, high))
                assert single[run, place].item() == (words[word] >> 8) / 2**24
                words = [philox(seed, (256 * block + lane, part, low + 1, high)) for part in (0, 1)]
                large, small = words[word // 2][2 * (word % 2) :][:2]
                assert double[run, place].item() == ((large >> 5) * 2**26 + (small >> 6)) / 2**53


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def test_normal_numbers_are_made_of_uniform_ones(dtype):
    """By Box and Muller, of those that the same draw would have given: each quarter of 1024 with the next one."""
    uniform, normal = draws.make(SEEDS, DEVICE).uniform(1024), draws.make(SEEDS, DEVICE).normal(1024)
    uniform, normal = (values.double().cpu().view(3, 2, 2, 256) for values in (uniform, normal))
    radius, angle = (-2 * torch.log1p(-uniform[:, :, 0])).sqrt(), 2 * math.pi * uniform[:, :, 1]
    expected = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=2)
    torch.testing.assert_close(normal, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_numbers_are_spread_evenly(dtype):
    """Kolmogorov and Smirnov's largest distance, of uniform and of normal numbers, and no correlation of neighbours."""
    own = draws.make(SEEDS, DEVICE)
    uniform, normal = own.uniform(4, 2500), own.normal(4, 2500)
    assert uniform.shape == normal.shape == (3, 4, 2500) and uniform.dtype == normal.dtype == dtype
    assert uniform.min() >= 0 and uniform.max() < 1 and normal.isfinite().all()
    for values in (uniform, torch.special.ndtr(normal)):
        for run in values.double().cpu().flatten(1):
            expected = torch.arange(1, 10_001, dtype=torch.float64) / 10_000
            assert (run.sort().values - expected).abs().max() < 1.63 / math.sqrt(10_000)  # of one in a hundred
            for lag in (1, 255, 256, 512):
                assert abs(torch.corrcoef(torch.stack([run[lag:], run[:-lag]]))[0, 1]) < 0.03
    assert abs(torch.corrcoef(torch.stack([*uniform.flatten(1), *normal.flatten(1)]).double().cpu()).triu(1)).max() < 0.04


def test_no_run_draws_from_its_neighbours():
    together, alone = draws.make(SEEDS, DEVICE), draws.make(SEEDS[1:2], DEVICE)
    assert torch.equal(together.uniform(7)[1:2], alone.uniform(7))
    other = together.of(slice(1, 3))
    first = other.normal(2, 3)
    assert torch.equal(first[:1], alone.normal(2, 3))
    second = other.normal(2, 3)
    assert torch.equal(second[:1], alone.normal(2, 3)) and not torch.equal(first, second)
    assert torch.equal(together.normal(300)[1:2], alone.normal(300))  # that another has drawn less says nothing
    assert together.tensors()["count"].tolist() == [2, 4, 4] and together.generators() == []


def test_a_stack_goes_on_where_it_was(noise_dataset, settings, tmp_path):
    settings = settings | {"critic_width": 16, "policy_width": 16, "batch": 3, "refresh": "proportional", "refresh_sequences": 4}
    arms = {name: settings | {"sampler": name} for name in ("uniform", "pjap")}
    stack, fresh = (Stack(noise_dataset, arms, [1], DEVICE) for _ in range(2))
    stack.advance(1)
    checkpoints.save(tmp_path / "checkpoint", "it", stack, {}, {})
    expected = stack.advance(2)
    assert [stack.tensors()[f"random.{name}.count"].tolist() for name in ("sampling", "noise")] == [[3, 6], [6, 6]]
    assert stack.generators() == {}
    checkpoints.load(tmp_path / "checkpoint", "it", fresh)
    found = fresh.advance(2)
    for name, values in expected.items():
        assert torch.equal(values, found[name]), name
    assert torch.equal(stack.policy, fresh.policy)
    alone = Stack(noise_dataset, {"pjap": arms["pjap"]}, [1], DEVICE)
    alone.advance(3)
    torch.testing.assert_close(alone.policy[0], stack.policy[1], rtol=1e-4, atol=1e-4)
