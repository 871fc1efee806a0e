"""Proportional sampling in kernels: the draws, priorities and sums of plain operations."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pjap_bench import kernels
from pjap_bench.samplers.priorities import Priorities
from tests.kernels.conftest import DEVICE, needs_triton
from tests.samplers.test_samplers import (  # noqa: F401 - what holds of every sampler, once more with the fixtures below
    test_a_sequence_that_is_there_twice_takes_its_smaller_priority,
    test_contract,
    test_numbers_that_are_not_finite_change_nothing_of_their_run,
    test_runs_side_by_side_are_runs_alone,
    test_state_restores_the_future,
)

pytestmark = needs_triton
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def device(monkeypatch) -> torch.device:
    monkeypatch.setattr(kernels, "DEVICE", DEVICE.type)
    return DEVICE


def plainly(monkeypatch, function, *given):
    """Without kernels."""
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "DEVICE", None)
        return function(*given)


def table(values: Tensor, device: torch.device) -> Priorities:
    """Priorities [R, starts] and their sums, made without kernels on a CPU."""
    made = Priorities(*values.shape, CPU)
    made.values.copy_(values)
    made._sums.copy_(made._blocks.sum(dim=2, dtype=torch.float64))
    made._cumulative.copy_(made._of_blocks())
    there = Priorities(*values.shape, device)
    for name, value in there.state().items():
        value.copy_(made.state()[name])
    return there


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def steps(*shape: int) -> Tensor:
    """Priorities in steps of 2^-10, a third of them 0: their sums are exact in any order."""
    return ((random(*shape) * 1.5 - 0.5).clamp_min(0) * 1024).ceil() / 1024


def alone(starts: int, *places: int) -> Tensor:
    """In every run one positive priority."""
    return torch.zeros(len(places), starts).scatter(1, torch.tensor(places)[:, None], 0.25)


@pytest.fixture
def as_a_gpu_adds(monkeypatch) -> None:
    """Cumulative sums in the interpreter by doubling (Hillis and Steele, 1986), as of a GPU's threads; numpy's never fall."""
    if DEVICE.type == "cuda":
        return
    from triton.runtime import interpreter

    def cumsum(scan, values):
        sums, step = values.handle.data.copy(), 1
        while step < sums.shape[-1]:
            sums[..., step:] = sums[..., step:] + sums[..., :-step]
            step *= 2
        return [scan.to_tensor(sums, values.dtype)]

    monkeypatch.setattr(interpreter.ScanOps, "cumsum", cumsum)


CASES = {
    "one sequence": torch.ones(2, 1),
    "one block": steps(2, 128),
    "one block, the last not whole": steps(3, 100),
    "a second block of one": steps(2, 129),
    "many blocks": steps(3, 3000),
    "a whole number of blocks": steps(2, 3072),
    "a single positive one": alone(3000, 0, 127, 128, 1500, 2999),
    "a single one in a single block": alone(77, 0, 40, 76),
    "zeros at both ends": torch.nn.functional.pad(steps(2, 700).clamp_min(2**-10), (515, 801)),
    "zero blocks inside": torch.nn.functional.pad(steps(2, 256), (0, 700)).repeat(1, 3),
    "all at epsilon": torch.full((2, 1000), 2.0**-20),
    "all alike": torch.ones(1, 4096),
    "far apart": torch.where(steps(2, 2000) > 0.5, 2.0**20, 2.0**-20),
    "10,000 blocks": steps(2, 1_280_000),
}


@pytest.mark.parametrize("size", [1, 33])
@pytest.mark.parametrize("case", CASES)
def test_draws_are_those_of_plain_operations(monkeypatch, case, size):
    """Every one, where sums are exact: at the first and last number of a share, and at borders of sequences and blocks."""
    values = CASES[case].float()
    ours, theirs = table(values, DEVICE), table(values, CPU)
    borders = (torch.arange(len(values) * size) % 17 / 16).view(len(values), size)
    anywhere = random(len(values), size + 1)[:, 1:]  # not contiguous
    for uniforms in (anywhere, torch.zeros_like(borders), torch.full_like(borders, 1 - 2**-53), borders):
        drawn, expected = ours.sample(uniforms.double().to(DEVICE)), plainly(monkeypatch, theirs.sample, uniforms.double())
        assert drawn.dtype == torch.int64 and torch.equal(drawn.cpu(), expected)
        assert (values.gather(1, expected) > 0).all()


@pytest.mark.usefixtures("as_a_gpu_adds")
@pytest.mark.parametrize("seed", range(6))
def test_a_draw_always_has_a_positive_priority(seed):
    """However sums are rounded, and if a share's end is: priorities of 34 orders of magnitude, most of them 0."""
    starts, own = 1 + 331 * seed, torch.Generator().manual_seed(seed)
    values = 10.0 ** (34 * torch.rand(2, starts, generator=own) - 30)
    values[torch.rand(2, starts, generator=own) < 0.2 * seed] = 0.0
    values[:, starts // 2] = 1.0
    drawing, ends = table(values, DEVICE), values.double().cumsum(dim=1)
    borders = (ends / ends[:, -1:])[:, :: max(1, starts // 40)]  # where one sequence ends and the next begins, to rounding
    for uniforms in (torch.rand(2, 40, generator=own), torch.zeros(2, 3), torch.ones(2, 3), *borders.split(1, dim=1)):
        drawn = drawing.sample(uniforms.double().to(DEVICE)).cpu()
        assert ((drawn >= 0) & (drawn < starts)).all() and (values.gather(1, drawn) > 0).all()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # the interpreter's, of 1e39
@pytest.mark.parametrize(("starts", "count"), [(1, 1), (100, 60), (3000, 1), (3000, 300), (5000, 37)])
def test_new_priorities_are_those_of_plain_operations(monkeypatch, starts, count):
    """And all sums; sequences are there more than once, and of some runs a value is not finite."""
    monkeypatch.setattr("pjap_bench.kernels.proportional._SUMS", 16)  # blocks that are added up at once
    ours, theirs = table(steps(5, starts).float(), DEVICE), table(steps(5, starts).float(), CPU)
    before = theirs.values.clone()
    for turn in range(2):
        indices, values = (
            (random(5, count + turn + 3) * starts).long()[:, 3:],
            steps(5, count + turn + 1)[:, 1:],
        )  # not contiguous
        values[:3, -1] = torch.tensor([torch.nan, -torch.inf, 1e39], dtype=torch.float64)  # the last in single precision only
        ours.set(indices.to(DEVICE), values.to(DEVICE))
        plainly(monkeypatch, theirs.set, indices, values)
    for name, expected in theirs.state().items():
        assert torch.equal(ours.state()[name].cpu(), expected), name
    assert torch.equal(before[:3], theirs.values[:3]) and (count == 1 or not torch.equal(before[3], theirs.values[3]))


@pytest.mark.usefixtures("as_a_gpu_adds")
def test_cumulative_sums_never_fall(monkeypatch):
    """Nor do they rise where a block has no priority, and they are the sums, whose rounding is another than torch's."""
    monkeypatch.setattr("pjap_bench.kernels.proportional._SUMS", 16)
    values = torch.exp(-40 * random(3, 128 * 150)).float()
    values.view(3, 150, 128)[:, torch.arange(150) % 3 == 0] = 0.0
    summed = table(values, DEVICE)
    summed.set(torch.zeros(3, 1, dtype=torch.int64, device=DEVICE), torch.zeros(3, 1, device=DEVICE))
    cumulative, sums = (summed.state()[name].cpu() for name in ("cumulative", "block_sums"))
    risen = cumulative.diff(dim=1)
    assert (risen >= 0).all() and (risen[sums[:, 1:] == 0] == 0).all() and (cumulative[:, 0] == 0).all()
    for run in range(3):
        for end in (1, 63, 64, 65, 149):
            assert cumulative[run, end].item() == pytest.approx(math.fsum(sums[run, : end + 1].tolist()), rel=1e-14)


def test_no_run_changes_with_its_neighbours_or_with_the_order_of_its_new_priorities():
    """Bit for bit, where sums are rounded."""
    starts, count = 2000, 200
    values, indices = torch.exp(-30 * random(3, count)).to(DEVICE), (random(3, count + 1)[:, 1:] * starts).long().to(DEVICE)
    uniforms, start = random(3, 33).to(DEVICE), torch.exp(-30 * random(3, starts)).float()
    start[:, ::2] = 0.0
    order = torch.arange(count - 1, -1, -1, device=DEVICE)
    together, by_itself, reordered = table(start, DEVICE), table(start[1:2], DEVICE), table(start, DEVICE)
    poisoned = values.clone()
    poisoned[0, 0] = torch.nan
    together.set(indices, poisoned)
    by_itself.set(indices[1:2], values[1:2])
    reordered.set(indices[:, order], values[:, order])
    assert torch.equal(together.sample(uniforms)[1:2], by_itself.sample(uniforms[1:2]))
    assert torch.equal(together.sample(uniforms)[1:], reordered.sample(uniforms)[1:])
    for name, value in together.state().items():
        assert torch.equal(value[1:2], by_itself.state()[name]), name
        assert torch.equal(value[1:], reordered.state()[name][1:]), name


def test_a_draw_is_one_kernel_and_a_change_three(monkeypatch):
    from pjap_bench.kernels import proportional

    done, changed = [], table(steps(2, 300).float(), DEVICE)

    class Launch:
        def __init__(self, name):
            self._name = name

        def __getitem__(self, grid):
            return lambda *given, **options: done.append(self._name)

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, given=(), options=None):
            done.append(str(function))
            return function(*given, **options or {})

    for name in ("_sample", "_set", "_add", "_accumulate"):
        monkeypatch.setattr(proportional, name, Launch(name))
    uniforms, indices = random(2, 9).to(DEVICE), torch.zeros(2, 9, dtype=torch.int64, device=DEVICE)
    with Operations():
        changed.sample(uniforms)
        changed.set(indices, uniforms)
    assert done == ["aten.empty.memory_format", "_sample", "_set", "_add", "_accumulate"]
