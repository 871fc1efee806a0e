"""Training on a GPU: stacks of runs in every precision, beside the card's ceilings, and where the time goes.

Rows come as they are measured, what matters most first, since the time on such a machine may end before them. Seconds are
the clock's. On a CPU the same code runs, which is how it is tested.
"""

import gc
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pjap_bench import config, kernels, products
from pjap_bench.benchmarks import table, training
from pjap_bench.datasets.hdf5 import Dataset
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.errors import BenchError
from pjap_bench.training.stack import Stack, on_host

ARMS = ("maddpg_cql_pjap", "maddpg_cql")  # a half of the runs each, as in Figure 6; a single run has PJAP
RUNS, UPDATES = 40, 500_000  # of Figure 6
AIMS = {"preprint": 1.0, "submission": 3.0}  # hours for them in tf32, with kernels: in one stack, and in one for each dataset
DATASETS = 2  # of Figure 6


class Effort(NamedTuple):
    """How much is measured."""

    presets: tuple[str, ...] = ("preprint", "submission")
    precisions: tuple[str, ...] = ("tf32_fused", "tf32", "float32")
    runs: tuple[int, ...] = (RUNS, 20, 8, 1)
    repetitions: int = 3
    seconds: float = 0.5  # of each repetition, at least
    updates: int = 20  # between two looks at the device
    transitions: int = 1_000_000
    compared_runs: int = 8
    compared_updates: int = 200
    square: int = 8192  # rows and columns of the matrices of a ceiling
    copied: int = 2**30  # numbers
    kernels: int = 10  # that are named


class Bench(NamedTuple):
    """What is trained, where, and how much of it."""

    settings: dict
    dataset: Dataset
    device: torch.device
    effort: Effort

    def own(self, preset: str, arm: str) -> dict:
        """The settings of an arm."""
        chosen = self.settings | {"training": self.settings["training"] | {"preset": preset}}
        return config.training_settings(chosen, "good", arm)

    def stack(self, preset: str, precision: str, runs: int) -> Stack:
        """So many fresh runs; what was on the device before is gone."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        products.set_up(1, precision)
        arms = ARMS if runs > 1 else ARMS[:1]
        return Stack(self.dataset, {arm: self.own(preset, arm) for arm in arms}, list(range(runs // len(arms))), self.device)

    def seconds(self, run: Callable[[], object]) -> list[float]:
        """Seconds of a call, of every repetition the mean."""
        found = []
        run()  # warms up
        for _ in range(self.effort.repetitions):
            calls, began = 0, self._now()
            while self._now() - began < self.effort.seconds:
                run()
                calls += 1
            found.append((self._now() - began) / calls)
        return found

    def wait(self) -> None:
        """Until the device has done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _now(self) -> float:
        self.wait()
        return time.perf_counter()


def measure(settings: dict, device: str = "cuda", effort: Effort | None = None) -> Iterator[dict]:
    """Rows of `table.row`.

    Args:
        settings: the whole configuration.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError("no CUDA device is to be had", where="--only gpu", do="use a GPU and a CUDA build of torch")
    effort = effort or Effort()
    if device == "cuda":
        try:
            kernels.check()
        except BenchError as error:
            print(f"benchmark: left out tf32_fused: {error}", file=sys.stderr)
            effort = effort._replace(precisions=tuple(each for each in effort.precisions if each != "tf32_fused"))
    bench = Bench(settings, training.random_dataset(effort.transitions), torch.device(device), effort)
    for runs in effort.runs:
        for preset in effort.presets:
            for precision in effort.precisions:
                yield from _speed(bench, preset, precision, runs)
    yield from _ceilings(bench)
    for preset in effort.presets:
        yield from _kernels(bench, preset)
    for preset in effort.presets:
        yield from _differences(bench, preset)
    for preset in effort.presets:
        yield from _eager(bench, preset)


def _speed(bench: Bench, preset: str, precision: str, runs: int) -> Iterator[dict]:
    """Updates a second of a stack, what it needs of the device, and what that is in operations and bytes a second."""
    work, updates = f"{preset}, {precision}", bench.effort.updates
    stack = bench.stack(preset, precision, runs)
    seconds = [each / updates for each in bench.seconds(lambda: stack.advance(updates))]
    yield table.row("updates of all runs together", work, [runs / each for each in seconds], "1/s", at=runs)
    hours = [each * UPDATES * RUNS / runs / 3600 for each in seconds]
    aim = AIMS[preset] if precision == "tf32_fused" and runs in (RUNS, RUNS // DATASETS) else None
    yield table.row(f"{RUNS} runs of {UPDATES:,} updates", work, hours, "h", at=runs, at_most=aim)
    if bench.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield table.row("peak memory of the device", work, [peak], "GiB", at=runs)
    _, moved = counted(stack._update)
    # Torch sees no products inside kernels: they are those of the same update in tf32.
    products.set_up(1, "tf32" if precision == "tf32_fused" else precision)
    operations, _ = counted(stack._update)
    for what, count in (("FLOP", operations), ("B", moved)):
        yield table.row(f"G{what} of an update and run", work, [count / runs / 1e9], f"G{what}", at=runs)
        yield table.row(f"G{what} a second", work, [count / each / 1e9 for each in seconds], f"G{what}/s", at=runs)


def _ceilings(bench: Bench) -> Iterator[dict]:
    """What the card does at best: large products, those of the critics' hidden layers, a large copy."""
    size, own = bench.effort.square, bench.own(bench.effort.presets[0], ARMS[0])
    points = (own["sequence"] - 1) * own["batch"] * (1 + 3 * own["ood_actions"])  # that the critics value in an update
    shapes = {f"{size} x {size}": (1, size, size)}
    for preset in bench.effort.presets:
        width, runs = bench.own(preset, ARMS[0])["critic_width"], max(bench.effort.runs)
        shapes[f"the critics' hidden layers, {preset}, {runs} runs"] = (2 * runs, points, width)
    for name, (stacked, rows, width) in shapes.items():
        left, right = (torch.randn(stacked, each, width, device=bench.device) for each in (rows, width))
        for precision in ("tf32", "float32"):  # of single products, which nothing fuses
            products.set_up(1, precision)
            rates = [2e-9 * left.numel() * width / each for each in bench.seconds(lambda: torch.bmm(left, right))]  # noqa: B023
            yield table.row("ceiling of products", f"{name}, {precision}", rates, "GFLOP/s")
    source = torch.randn(bench.effort.copied, device=bench.device)
    target = torch.empty_like(source)
    rates = [2 * source.nbytes / each / 1e9 for each in bench.seconds(lambda: target.copy_(source))]
    yield table.row("ceiling of memory", f"a copy of {source.nbytes:,} B, read and written", rates, "GB/s")


def _kernels(bench: Bench, preset: str) -> Iterator[dict]:
    """Where the time of an update goes: the kernels that take most of it."""
    runs, updates, precision = max(bench.effort.runs), bench.effort.updates, bench.effort.precisions[0]
    cuda = bench.device.type == "cuda"
    stack = bench.stack(preset, precision, runs)
    stack.advance(updates)
    bench.wait()
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        stack.advance(updates)
        bench.wait()
    found = {each.key: each.self_device_time_total if cuda else each.self_cpu_time_total for each in profiler.key_averages()}
    total, work = sum(found.values()), f"{preset}, {precision}"  # microseconds; 0 where the profiler sees no kernels
    yield table.row("kernels of an update, together", work, [total / updates / 1000], "ms", at=runs)
    for name in sorted(found, key=lambda key: -found[key])[: bench.effort.kernels]:
        share = 100 * found[name] / max(total, 1e-9)
        yield table.row("share of the kernels' time", f"{work}: {name[:160]}", [share], "%", at=runs)


def _differences(bench: Bench, preset: str) -> Iterator[dict]:
    """What a precision changes: the same training in float32 and in another (and in float32 again, which changes nothing).

    Not in tf32_fused, which draws other random numbers.
    """
    reference = trained(bench, preset, "float32")
    for precision in (each for each in bench.effort.precisions if each != "tf32_fused"):
        for name, values in differences(reference, trained(bench, preset, precision)).items():
            work = f"{preset}, {precision}: {name}, {bench.effort.compared_updates} updates"
            yield table.row("difference to float32", work, values, "%", at=bench.effort.compared_runs)


def _eager(bench: Bench, preset: str) -> Iterator[dict]:
    """Eager PyTorch, one run without PJAP."""
    own = bench.own(preset, "maddpg_cql")
    update = training.eager_update(SequenceData(bench.dataset, own, bench.device), own, bench.device)
    for precision in ("tf32", "float32"):  # operation by operation
        products.set_up(1, precision)
        rates = [1 / each for each in bench.seconds(update)]
        yield table.row("updates of eager", f"{preset}, {precision}", rates, "1/s", at=1)


def trained(bench: Bench, preset: str, precision: str) -> dict[str, np.ndarray]:
    """Every loss at every update of a training, [updates, R], and the policies at its end, [parameters, R]."""
    stack = bench.stack(preset, precision, bench.effort.compared_runs)
    # Windows of `log_every` updates end where a training would read them.
    size, updates = stack.settings["log_every"], bench.effort.compared_updates
    parts = [on_host(stack.advance(min(size, updates - done))) for done in range(0, updates, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | {"policy": stack.policy.numpy().T}


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Of two trainings (see `trained`), in percent of a run's root mean square: of a loss one by one, of a policy as a whole."""
    found = {}
    for name, values in one.items():
        apart, scale = np.abs(other[name] - values), np.sqrt(np.square(values).mean(axis=0))
        if name == "policy":
            apart = np.sqrt(np.square(apart).mean(axis=0))
        found[name] = (100 * apart / scale).ravel().tolist()
    return found


def counted(step: Callable[[], None]) -> tuple[int, int]:
    """Operations of a step's products, and bytes that its operations read and write, if nothing stays in a cache between two.

    Of a kernel of ours each argument counts once, however often its programs read it; of those that pick from all priorities
    nothing does.
    """
    flops, moved = FlopCounterMode(display=False), _Moved()
    own = [module for name, module in sys.modules.items() if name.startswith(f"{kernels.__name__}.")]
    found = [each for module in own for each in vars(module).values() if hasattr(each, "pre_run_hooks")]
    launched = {id(each): each for each in found if not each.fn.__module__.endswith(".proportional")}  # imported ones once
    for each in launched.values():
        each.add_pre_run_hook(moved.arguments)
    try:
        with flops, moved:
            step()
    finally:
        for each in launched.values():
            each.pre_run_hooks.remove(moved.arguments)
    return flops.get_total_flops(), moved.bytes


class _Moved(TorchDispatchMode):
    """Sums the sizes of all operations' inputs and outputs."""

    _aten = torch.ops.aten
    _VIEW = _aten._unsafe_view.default  # the one view that does not say so
    #: of whose first tensor only as much is touched as the others are large
    _PICKING = (_aten.index, _aten.index_select, _aten.gather, _aten.searchsorted, _aten.scatter_, _aten.scatter_add_)
    _PICKING += (_aten.scatter_reduce_, _aten.index_copy_)

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def arguments(self, *arguments, **constants) -> None:
        """Of a kernel that torch does not see."""
        self.bytes += sum(_size(each) for each in arguments if isinstance(each, Tensor))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not (func.is_view or func is self._VIEW):
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
            picked = func.overloadpacket in self._PICKING
            most = max(_size(each) for each in tensors if each is not tensors[0]) if picked else math.inf
            self.bytes += sum(min(_size(each), most) for each in tensors)
        return result


def _size(tensor: Tensor) -> int:
    """Bytes; what is expanded lies there once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
