"""What must hold on every device that there is; with a GPU the step is a graph's replay (`-k cuda` runs what is new there).

What takes `gpu` says nothing on a CPU and is skipped without one.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from pjap_bench import config, draws, evaluation, kernels, products, training
from pjap_bench.__main__ import main
from pjap_bench.algorithms import ALGORITHMS
from pjap_bench.algorithms import make as make_algorithm
from pjap_bench.datasets.sequences import Batch, SequenceData
from pjap_bench.samplers import SAMPLERS
from pjap_bench.training import stack as stacks
from pjap_bench.training.stack import Stack, on_host
from tests.training import dying

BYTES = ("metrics.csv", "evaluations.csv", "policies.safetensors", "run.json")


def fitting(algorithm):
    return [name for name, sampler in SAMPLERS.items() if sampler.measure in (None, *ALGORITHMS[algorithm].measures)]


@pytest.fixture(params=["float32", "tf32_fused"] if torch.cuda.is_available() else ["float32"])
def precision(request):
    """Of a GPU's products."""
    products.set_up(1, request.param)
    yield request.param
    products.set_up(1)


def test_a_precision_ends_where_the_next_begins():
    """A process may train several stacks. What the last line sets is what other tests begin with."""
    fused, plain, strict = ("tf32_fused", "tf32", "cuda"), ("tf32", "tf32", None), ("float32", "ieee", None)
    for precision, products_in, kernels_on in (fused, strict, plain, fused, plain, strict):
        products.set_up(1, precision)
        assert (torch.backends.cuda.matmul.fp32_precision, kernels.DEVICE) == (products_in, kernels_on)


def make(dataset, settings, device, arms, seeds):
    # Of a width that kernels take.
    return Stack(dataset, {arm: settings | {"sampler": arm, "policy_width": 16} for arm in arms}, seeds, device)


def assert_same(one, other, but=None):
    """The same bits in all that a stack's future depends on; of one run it may be anything."""
    arms = len({arm for arm, _ in one.runs})
    for name, value in one.tensors().items():
        first = int(name.split(".")[1]) * len(one.runs) // arms if name.startswith("sampler.") else 0
        rows = [row for row in range(len(value)) if first + row != but] if value.dim() else ...
        assert torch.equal(value[rows], other.tensors()[name][rows]), name
    for name, each in one.generators().items():
        assert torch.equal(each.get_state(), other.generators()[name].get_state()), name


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
@pytest.mark.parametrize("refresh", ["sampled", "proportional", "uniform"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.usefixtures("precision")
def test_what_is_captured_equals_the_plain_step(noise_dataset, settings, gpu, monkeypatch, algorithm, refresh, seeds):
    settings = settings | {"algorithm": algorithm, "refresh": refresh, "refresh_sequences": 8}
    arms = ["pjap"] if seeds == [0] else fitting(algorithm)
    captured = make(noise_dataset, settings, gpu, arms, seeds)
    with monkeypatch.context() as patch:
        patch.setattr(stacks, "captured", lambda step, *_: step)
        plain = make(noise_dataset, settings, gpu, arms, seeds)
    assert_same(captured, plain)  # recording leaves no trace
    for _ in range(2):
        one, other = captured.advance(5), plain.advance(5)
        for name, values in one.items():
            assert values.isfinite().all() and torch.equal(values, other[name]), name
        assert_same(captured, plain)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.usefixtures("double_precision")
def test_an_update_is_that_of_a_processor(noise_dataset, settings, gpu, algorithm):
    """From the same sequences and the same random numbers, in float64."""

    class Moved(draws.Streams):  # a GPU draws others
        def uniform(self, *shape):
            return super().uniform(*shape).to(where)

        def normal(self, *shape):
            return super().normal(*shape).to(where)

    found = []
    for where in (torch.device("cpu"), gpu):
        data = SequenceData(noise_dataset, settings, where)
        learner = make_algorithm(algorithm, data, settings)
        state = learner.initialise([torch.Generator().manual_seed(seed) for seed in (0, 1)])
        state = {name: value.to(where) for name, value in state.items()}
        noise = Moved([torch.Generator().manual_seed(seed) for seed in (2, 3)])
        starts = torch.randint(data.starts, (2, 5), generator=torch.Generator().manual_seed(4)).to(where)
        batch = Batch(*(tensor.double() for tensor in data.batch(starts)))
        for _ in range(3):
            state, metrics, measures = learner.update(state, batch, noise)
        found.append(state | metrics | measures)
    for name, value in found[0].items():
        assert found[1][name].device.type == gpu.type
        torch.testing.assert_close(found[1][name].cpu(), value, rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.usefixtures("precision")
def test_a_run_that_diverges_changes_no_other(noise_dataset, settings, device):
    clean, ill = (make(noise_dataset, settings, device, SAMPLERS, [0, 1]) for _ in range(2))
    for stack in (clean, ill):
        stack.advance(5)
    run = 3  # pjap, seed 1
    ill.tensors()["state.critic"][run] = float("nan")
    expected, found = on_host(clean.advance(5)), on_host(ill.advance(5))
    for name, values in expected.items():
        assert np.array_equal(np.delete(values, run, axis=1), np.delete(found[name], run, axis=1)), name
    assert not np.isfinite(found["td_loss"][:, run]).any()
    assert_same(clean, ill, but=run)
    assert ill.sound().tolist() == [other != run for other in range(6)]


@pytest.mark.parametrize("refresh", ["sampled", "proportional", "uniform"])
@pytest.mark.usefixtures("precision")
def test_no_update_waits_for_the_device(noise_dataset, settings, gpu, refresh):
    """On a CPU it is the `meta` device that shows it (`test_an_update_stays_on_its_device`)."""
    stack = make(noise_dataset, settings | {"refresh": refresh, "refresh_sequences": 8}, gpu, SAMPLERS, [0, 1])
    torch.cuda.set_sync_debug_mode("error")
    try:
        stack._update()
        stack.advance(3)
        stack.measured_now()
        stack.sound()
        stack.idle()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(stack.tensors()["updates"]) == 4


class Reads(TorchFunctionMode):
    """Calls `seen` when a tensor's values are handed to the host."""

    METHODS = frozenset(("cpu", "numpy", "item", "tolist", "__array__", "__bool__", "__int__", "__float__", "__index__"))

    def __init__(self, seen):
        super().__init__()
        self._seen = seen

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function.__name__ in self.METHODS:
            self._seen()
        return function(*arguments, **(keywords or {}))


def test_what_reads_is_seen():
    value, seen = torch.tensor(1), []
    reads = [torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.item, torch.Tensor.tolist, np.asarray, bool, int, float, range]
    with Reads(lambda: seen.append(read)):
        assert (value + value).clone().double().dim() == 0  # what may be
        for read in reads:
            read(value)
    assert sorted(set(seen), key=reads.index) == reads


def test_a_job_reads_where_it_evaluates_or_saves_and_nowhere_else(noise_file, tmp_path, settings, device, monkeypatch):
    made, read_at = [], set()
    monkeypatch.setattr(training, "Stack", lambda *given: made.append(Stack(*given)) or made[0])
    monkeypatch.setattr(Stack, "idle", lambda stack: False)  # as on a GPU that has work to do
    monkeypatch.setattr(evaluation, "evaluate", dying.returns)
    evaluations = {"every": 20, "episodes": 1, "final_episodes": 1}
    settings = settings | {"updates": 50, "log_every": 5, "evaluation": evaluations}
    arms = {arm: settings | {"sampler": arm} for arm in SAMPLERS}
    job = {"checkpoint_every": 30, "threads": 1, "device": device.type, "evaluators": 0, "stop_after": 0}
    stamp = dict.fromkeys(("code", "datasets", *training.ENVIRONMENT), "none")
    with Reads(lambda: read_at.update(stack.updates for stack in made)):
        training.train(noise_file, arms, [0, 1], job, stamp, tmp_path / "out", tmp_path / "checkpoints")
    assert read_at == {0, 20, 30, 40, 50}


@pytest.mark.parametrize("seeds", [["0"], ["0", "1"]])
def test_a_new_process_goes_on_to_the_same_bytes(noise_file, tmp_path, settings, label, device, precision, seeds):
    if device.type == "cpu":
        precision = "float32"  # it knows no other
    settings = settings | {"evaluation": {"every": 30, "episodes": 1, "final_episodes": 1}, "updates": 40}
    settings |= {"precision": precision, "policy_width": 16}
    arms = {arm: settings | {"sampler": arm} for arm in (SAMPLERS if len(seeds) > 1 else ["pjap"])}
    command = ["train", "--dataset", str(noise_file), "--seeds", *seeds, "--settings", json.dumps(arms), "--label", label]
    command += ["--checkpoint-every", "20", "--device", device.type]

    def at(name):
        return [*command, "--checkpoints", str(tmp_path / name / "checkpoints"), "--output", str(tmp_path / name / "out")]

    assert main(at("whole")) == 0
    assert main([*at("cut"), "--stop-after", "0.00001"]) == 75
    resumed = [sys.executable, "-m", "pjap_bench", *at("cut")]
    done = subprocess.run(resumed, cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "resumed at update 10 of 40" in done.stderr, done.stderr
    for name in BYTES:
        assert (tmp_path / "cut/out" / name).read_bytes() == (tmp_path / "whole/out" / name).read_bytes(), name
