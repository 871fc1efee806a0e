"""Training: updates a second beside an eager implementation, what PJAP costs, memory, start-up, and how a cost grows.

Eager and ours take turns, each in a process of its own, because ours changes how its process keeps memory and multiplies
matrices (`products.set_up`); every ratio is that of neighbours in time. Seconds are the processor's, which other work on
the machine disturbs less than those of the clock. All of it is of one core of a CPU; `gpu` has what is measured on a GPU.
"""

import contextlib
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pjap_bench import config, files, products
from pjap_bench.benchmarks import table
from pjap_bench.benchmarks.eager import EagerMaddpgCql
from pjap_bench.datasets import hdf5
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError
from pjap_bench.evaluation import evaluate
from pjap_bench.training import checkpoints
from pjap_bench.training.stack import Stack

ENVIRONMENT = "two_agent_halfcheetah"
EAGER, EAGER_ONCE = "eager", "eager, critics once for all agents"
OURS, PJAP, PJAP_SAMPLED = "ours", "ours, PJAP proportional", "ours, PJAP sampled"
SERIES = (EAGER, OURS, PJAP)
#: the series of rows that the picture shows, and what lies on their axes
RUNS, TRANSITIONS, BATCH = "update of a run, by runs in a stack", "update, by transitions", "update, by batch"
_CPU = torch.device("cpu")

_OVERRIDES = {
    EAGER: {"sampler": "uniform"},
    EAGER_ONCE: {"sampler": "uniform"},
    OURS: {"sampler": "uniform"},
    PJAP: {"sampler": "pjap", "refresh": "proportional"},
    PJAP_SAMPLED: {"sampler": "pjap", "refresh": "sampled"},
}


class Effort(NamedTuple):
    """How much is measured."""

    presets: tuple[str, ...] = ("preprint", "submission")
    repetitions: int = 9
    repetitions_of_series: int = 3
    seconds: float = 0.7  # of each repetition, at least
    transitions: int = 1_000_000
    memory_updates: int = 20
    runs: tuple[int, ...] = (1, 2, 4, 8)
    datasets: tuple[int, ...] = (100_000, 300_000, 1_000_000, 2_000_000)
    batches: tuple[int, ...] = (16, 32, 64, 128)


ON_ONE_CORE = Effort()


class Task(NamedTuple):
    """Training of some runs of one implementation on random numbers."""

    implementation: str  # a key of _OVERRIDES
    settings: dict
    transitions: int
    runs: int


def measure(settings: dict) -> list[dict]:
    """Rows of `table.row`.

    Args:
        settings: the whole configuration.
    """
    effort = ON_ONE_CORE

    def task(implementation: str, preset: str = effort.presets[0], runs: int = 1, transitions: int = 0, **more) -> Task:
        chosen = settings | {"training": settings["training"] | {"preset": preset}}
        own = config.training_settings(chosen, "good", "maddpg_cql") | _OVERRIDES[implementation] | more
        return Task(implementation, own, transitions or effort.transitions, runs)

    with _processes() as call:
        rows = _speed(call, task, effort)
        rows += _series(call, task, effort)
        rows += _by_the_way(call, task(PJAP), effort)
    rows += _memory(task, effort)
    return rows + _command(task(PJAP), effort)


def _speed(call: Callable, task: Callable[..., Task], effort: Effort) -> list[dict]:
    """Updates a second, the ratio to eager, and PJAP's share, pair by pair."""
    rows = []
    for preset in effort.presets:
        paper = preset == "preprint"  # the preset that the aims are for
        found = _in_turns(call, {name: task(name, preset) for name in _OVERRIDES}, effort.repetitions, effort.seconds)
        for name, seconds in found.items():
            aim = 8.0 if paper and name == OURS else None
            rows.append(table.row("updates", f"{preset}: {name}", [1 / each for each in seconds], "1/s", at_least=aim))
        for name, aim in ((EAGER, 2.0), (EAGER_ONCE, None)):
            ratios = _ratios(found[name], found[OURS])
            rows.append(table.row(f"speed against {name}", f"{preset}: {OURS}", ratios, "times", at_least=aim))
        for name in (PJAP, PJAP_SAMPLED):
            shares = [100 * (ratio - 1) for ratio in _ratios(found[name], found[OURS])]
            aim = 35.0 if paper and name == PJAP else None
            rows.append(table.row("PJAP's own cost", f"{preset}: {name}", shares, "%", at_most=aim))
    return rows


def _series(call: Callable, task: Callable[..., Task], effort: Effort) -> list[dict]:
    """Milliseconds of one update of one run against runs in a stack, size of the dataset and batch."""
    axes = {
        RUNS: {runs: {"runs": runs} for runs in effort.runs},
        TRANSITIONS: {size: {"transitions": size} for size in effort.datasets},
        BATCH: {size: {"batch": size} for size in effort.batches},
    }
    rows = []
    for name, places in axes.items():
        tasks = {(series, at): task(series, **more) for at, more in places.items() for series in SERIES}
        found = _in_turns(call, tasks, effort.repetitions_of_series, effort.seconds)
        for (series, at), seconds in found.items():
            values = [1000 * each / tasks[series, at].runs for each in seconds]
            rows.append(table.row(name, f"{effort.presets[0]}: {series}", values, "ms", at=at))
        if name == TRANSITIONS:
            small, large = min(places), max(places)
            for series in SERIES[1:]:
                work = f"{effort.presets[0]}: {series}, {large:,} against {small:,} transitions"
                growth = _ratios(found[series, large], found[series, small])
                rows.append(table.row("growth of an update", work, growth, "times", at_most=1.1))
    return rows


def _by_the_way(call: Callable, task: Task, effort: Effort) -> list[dict]:
    """What training does between updates."""
    options = task.settings["evaluation"]
    evaluation = [call(OURS, evaluation_cost, task) for _ in range(effort.repetitions_of_series)]
    checkpoint = [call(OURS, checkpoint_cost, task) for _ in range(effort.repetitions_of_series)]
    return [
        table.row("evaluation", f"{options['episodes']} episodes, once in {options['every']:,} updates", evaluation, "s"),
        table.row("checkpoint", f"{task.transitions:,} priorities", checkpoint, "s"),
    ]


def _memory(task: Callable[..., Task], effort: Effort) -> list[dict]:
    """The largest memory of a process that trains, without reading a file."""
    rows = []
    for name in SERIES:
        with _processes() as call:  # fresh ones
            peak = call(name, peak_memory, task(name), effort.memory_updates)
        work = f"{effort.presets[0]}: {name}, {effort.transitions:,} transitions in memory"
        rows.append(table.row("peak memory", work, [peak / 2**30], "GiB"))
    return rows


def _command(task: Task, effort: Effort) -> list[dict]:
    """The command `train` as a whole, on a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "noise.h5"
        hdf5.write(path, random_dataset(task.transitions))
        files.write_json(hdf5.summary_path(path), {"sha256": files.sha256(path)})
        first = [_run(task, path, 1, folder / f"first-{index}")[0] for index in range(3)]
        _, peak = _run(task, path, effort.memory_updates, folder / "more")
    work = f"command train, {task.transitions:,} transitions from a file"
    return [
        table.row("start-up to first update", f"{work}, by the clock", first, "s", at_most=10.0),
        table.row("peak memory", f"{work}, {effort.memory_updates} updates, checkpoint, evaluation", [peak], "GiB", at_most=3.0),
    ]


def _run(task: Task, path: Path, updates: int, output: Path) -> tuple[float, float]:
    """Seconds until the command says that its updates are done, and the most memory that it had (GiB)."""
    evaluation = task.settings["evaluation"] | {"final_episodes": 1}
    settings = {"pjap": task.settings | {"updates": updates, "log_every": updates, "evaluation": evaluation}}
    label = {"scale": "benchmark", "regime": "random numbers"}
    command = [sys.executable, "-m", "pjap_bench", "train", "--label", json.dumps(label), "--settings", json.dumps(settings)]
    command += ["--dataset", path, "--seeds", "0", "--output", output, "--checkpoints", output.with_suffix(".checkpoints")]
    command += ["--checkpoint-every", str(updates), "--device", "cpu"]
    began, first = time.perf_counter(), None
    with subprocess.Popen(command, cwd=config.ROOT, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if f"{updates}/{updates} updates" in line:
                first = time.perf_counter() - began
    if process.returncode or first is None:
        raise BenchError(f"the command failed: {''.join(said).strip()}", where="train", do="run it alone")
    return first, files.read_json(output / "timing.json")["peak_memory_bytes"] / 2**30


@contextlib.contextmanager
def _processes() -> Iterator[Callable]:
    """Gives `call(implementation, function, *arguments)`, which runs in the process of eager or in that of ours."""
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as eager,
        ProcessPoolExecutor(1, mp_context=spawn, initializer=products.set_up, initargs=(1,)) as ours,
    ):
        yield lambda name, function, *arguments: (eager if _is_eager(name) else ours).submit(function, *arguments).result()


def _in_turns(call: Callable, tasks: dict, repetitions: int, seconds: float) -> dict:
    """The cost of every task, measured A B C A B C ...: lists by key."""
    found = {key: [] for key in tasks}
    for _ in range(repetitions):
        for key, task in tasks.items():
            found[key].append(call(task.implementation, update_cost, task, seconds))
    return found


def _is_eager(implementation: str) -> bool:
    return implementation in (EAGER, EAGER_ONCE)


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


# What follows runs in the other processes.


def update_cost(task: Task, at_least: float) -> float:
    """Seconds of one update of all runs of a task, the mean over `at_least` so many."""
    advance = _trainer(task)
    advance()  # warms up
    updates, began = 0, time.process_time()
    while time.process_time() - began < at_least:
        advance()
        updates += 1
    return (time.process_time() - began) / updates


def peak_memory(task: Task, updates: int) -> int:
    """Bytes of a fresh process after some updates."""
    advance = _trainer(task)
    for _ in range(updates):
        advance()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KiB on Linux


def evaluation_cost(task: Task) -> float:
    """Seconds of an evaluation as during training, by a policy that has learnt nothing."""
    stack = _stack(task)
    data, seeds = stack.data, list(range(task.settings["evaluation"]["episodes"]))
    began = time.process_time()
    evaluate(data.environment, stack.algorithm.policy, stack.policy, data.normaliser, [seeds])
    return time.process_time() - began


def checkpoint_cost(task: Task) -> float:
    """Seconds by the clock of writing a checkpoint."""
    stack = _stack(task)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        checkpoints.save(Path(folder) / "checkpoint.safetensors", "benchmark", stack, {}, {})
        return time.perf_counter() - began


def random_dataset(transitions: int) -> hdf5.Dataset:
    """Noise in the form of two-agent HalfCheetah, in episodes as long as they can be."""
    environment, random = get_environment(ENVIRONMENT), np.random.default_rng(0)
    episodes = transitions // environment.horizon
    return hdf5.Dataset(
        lengths=np.full(episodes, environment.horizon),
        terminated=np.zeros(episodes, dtype=np.uint8),
        physics=random.standard_normal((transitions + episodes, environment.physics_size), dtype=np.float32),
        actions=2 * random.random((transitions, environment.agents, environment.action_size), dtype=np.float32) - 1,
        rewards=random.standard_normal(transitions, dtype=np.float32),
        seed=np.arange(episodes),
        policy=np.zeros(episodes, dtype=np.int32),
        attributes={"environment": ENVIRONMENT, "dataset": "noise", "layout": "physics", "policies": ["noise"]},
    )


def eager_update(data: SequenceData, settings: dict, device: torch.device, once: bool = False) -> Callable[[], object]:
    """What makes an update of one eager run, from a batch drawn uniformly, and reads its losses."""
    learner = EagerMaddpgCql(data, settings, device, once)
    random = torch.Generator(device).manual_seed(0)

    def update() -> None:
        starts = torch.randint(data.starts, (1, settings["batch"]), generator=random, device=device)
        learner.update(data.batch(starts), random)

    return update


def _trainer(task: Task) -> Callable[[], object]:
    """What makes an update of all runs."""
    if not _is_eager(task.implementation):
        stack = _stack(task)
        return lambda: stack.advance(1)
    data, once = SequenceData(random_dataset(task.transitions), task.settings), task.implementation == EAGER_ONCE
    updates = [eager_update(data, task.settings, _CPU, once) for _ in range(task.runs)]
    return lambda: [update() for update in updates]  # runs one after another


def _stack(task: Task) -> Stack:
    return Stack(random_dataset(task.transitions), {task.implementation: task.settings}, list(range(task.runs)), _CPU)
