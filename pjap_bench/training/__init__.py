"""Trains one stack of runs (arms x seeds on one dataset), from the first update to the final evaluation, resumable.

A killed stack goes on from its last checkpoint and ends with the same bytes on the same machine; on another machine it
goes on too, and its results name both. `stack` is the training itself, `graph` its form on a GPU.
"""

import contextlib
import csv
import io
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from pjap_bench import files, kernels, products
from pjap_bench.datasets import hdf5
from pjap_bench.errors import BenchError, TimeIsUp
from pjap_bench.evaluation import Evaluations, Request
from pjap_bench.stacks import uneven
from pjap_bench.training import checkpoints
from pjap_bench.training.energy import Meter
from pjap_bench.training.stack import Stack, on_host, stream

_PROGRESS_SECONDS = 20.0
ENVIRONMENT = ("python", "packages", "processor", "image")  # of a stamp, for which bytes are promised


def train(
    dataset_path: Path,
    settings: dict[str, dict],
    seeds: list[int],
    job_settings: dict,
    stamp: dict,
    output: Path,
    checkpoint_folder: Path,
) -> None:
    """Trains `seeds` of every arm side by side and writes their results into the folder `output`.

    Writes evaluations.csv, metrics.csv, policies.safetensors, timing.json and, last, run.json with the others' sha256.

    Args:
        settings: by arm, what its results depend on (`config.training_settings`).
        job_settings: {"checkpoint_every": updates, "threads": of this process, "device": "cpu" | "cuda", "evaluators":
            processes that play evaluations, "stop_after": minutes, 0 for never}: what they do not depend on.
        checkpoint_folder: where progress is kept while the stack trains. The file's name is made of what the numbers
            depend on, so that a changed configuration starts anew; it is removed when the results are written.

    Raises:
        BenchError: bad data, a broken checkpoint, a device without room for the stack, or a run whose numbers are no longer
            finite (named with its update; the other runs are finished first, and their results lie beside the checkpoint, which
            stays, in a folder of its name).
        TimeIsUp: after `stop_after` minutes, at a checkpoint.
    """
    began = time.monotonic()
    for arm, own in settings.items():
        if wrong := uneven(own, job_settings["checkpoint_every"]):
            raise BenchError(wrong, where=f"arm {arm}", do="correct the settings")
    device = _device(job_settings["device"], settings)
    products.set_up(job_settings["threads"], next(iter(settings.values()))["precision"])
    try:
        job = _Job(dataset_path, settings, seeds, stamp, device, job_settings)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        where = f"{dataset_path.stem}/{'+'.join(settings)}"
        raise BenchError(reason, where=where, do="lower jobs.runs_per_stack, or use a larger GPU") from error
    identity = job_identity(settings, seeds, stamp, device)
    checkpoint = checkpoint_folder / f"{identity[:16]}.safetensors"
    stopped = checkpoint.with_suffix(".stopped")
    with contextlib.closing(job.evaluations):
        if checkpoint.exists():
            job.resume(checkpoint, identity)
            _say(f"{job.name}: resumed at update {job.update} of {job.updates}")
        else:
            if others := sorted(checkpoint_folder.glob("[!.]*.safetensors")):
                _say(f"{job.name}: starts anew; {others[0]} is of other settings, data, code or another kind of device")
            job.evaluate("training")
        started = said = time.monotonic()
        before, first = job.seconds, job.update
        meter = Meter()
        while job.update < job.updates and len(job.stopped) < len(job.stack.runs):
            job.advance_to_next_log()
            late = 0 < job_settings["stop_after"] <= (time.monotonic() - began) / 60
            saves = late or job.update % job_settings["checkpoint_every"] == 0
            if saves:
                job.read()  # before the clock
            now = time.monotonic()
            job.seconds = before + now - started
            job.add_energy(meter.since_last())
            if saves:
                job.save(checkpoint, identity)
            if late and job.update < job.updates:
                raise TimeIsUp(f"{job.name}: stopped in time at update {job.update} of {job.updates}; start it again to go on")
            # not where a GPU has only been handed its work
            if (now - said > _PROGRESS_SECONDS and job.stack.idle()) or job.update == job.updates:
                said = now
                _say(_progress(job.name, job.update, job.updates, (job.update - first) / (now - started)))
        if job.stopped:
            job.save(checkpoint, identity)  # the same command would end here again: at once
        if len(job.stopped) < len(job.stack.runs) and not (job.stopped and (stopped / "run.json").exists()):
            job.evaluate("final")
            job.collect_evaluations(wait=True)
            job.write(stopped if job.stopped else output)
    if job.stopped:
        reasons = [
            f"{job.stack.runs[run][0]} seed {job.stack.runs[run][1]} at update {update} ({what})"
            for run, (update, what) in sorted(job.stopped.items())
        ]
        raise BenchError(
            f"stopped because a number is not finite: {'; '.join(reasons)}",
            where=job.name,
            do="lower training.reward_scale or the learning rates, or look at the dataset; other runs are not affected. To train "
            f"them once more as they were, delete {checkpoint}",
        )
    checkpoint.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: other checkpoints lie there
        checkpoint_folder.rmdir()


def job_identity(settings: dict[str, dict], seeds: list[int], stamp: dict, device: torch.device) -> str:
    """A digest of all that the numbers of a stack depend on, but for the last bits, which are the machine's."""
    origin = {key: stamp[key] for key in ("code", "datasets")}
    return files.sha256_of_json({"settings": settings, "seeds": seeds, "origin": origin, "device": device.type})


class _Job:
    """A stack with the tables that it has filled so far."""

    def __init__(
        self, path: Path, settings: dict[str, dict], seeds: list[int], stamp: dict, device: torch.device, job_settings: dict
    ):
        dataset = hdf5.read(path)
        self.stack = Stack(dataset, settings, seeds, device)
        names = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        self.name = f"{path.stem}/{'+'.join(settings)} {names}"
        self.updates = self.stack.settings["updates"]
        self._dataset, self._settings, self._seeds, self._stamp, self._device = path.stem, settings, seeds, stamp, device
        own = {key: stamp[key] for key in ENVIRONMENT} | {"device": _device_name(device)}
        self._environments: list[dict] = [{"from": 0, "environment": own}]
        data = self.stack.data
        self.evaluations = Evaluations(data.environment, self.stack.algorithm.policy, data.normaliser, job_settings["evaluators"])
        self._unread: list[tuple] = []  # what the device has recorded, for every `log_every` updates
        self.seconds = 0.0
        self._joules: float | None = 0.0  # None once a part of them could not be measured
        self.stopped: dict[int, tuple[int, str]] = {}
        self._metrics: list[tuple] = []  # rows of metrics.csv without the dataset
        self._returns: list[tuple] = []  # rows of evaluations.csv

    @property
    def update(self) -> int:
        """The last one that was asked for."""
        return self.stack.updates

    def advance_to_next_log(self) -> None:
        """Asks for the updates until the next multiple of `log_every` (or the end); evaluates where it is due, which reads."""
        settings = self.stack.settings
        values = self.stack.advance(min(settings["log_every"] - self.update % settings["log_every"], self.updates - self.update))
        self._unread.append((self.update, values, self.stack.measured_now(), self.stack.sound()))
        if self.stack.idle():  # always on a CPU
            self.read()
        self.collect_evaluations()
        if self.update == self.updates:
            self.read()
        elif self.update % settings["evaluation"]["every"] == 0:
            self.evaluate("training")

    def read(self) -> None:
        """Waits for the device, then stops diverged runs and logs, for every `log_every` updates since the last time."""
        for update, values, now, sound in self._unread:
            values = on_host(values)
            self._stop_diverged(update, values, sound.cpu().numpy())
            self._log(update, values, on_host(now))
        self._unread.clear()

    def _stop_diverged(self, last: int, values: dict[str, np.ndarray], sound: np.ndarray) -> None:
        """Marks runs with a number that is not finite: a loss at some update, or a parameter after the last one."""
        for run in set(range(len(self.stack.runs))) - set(self.stopped):
            bad = {
                name: last + 1 - len(column) + int(np.argmin(np.isfinite(column[:, run])))
                for name, column in values.items()
                if not np.isfinite(column[:, run]).all()
            }
            if not sound[run]:
                bad.setdefault("parameters", last)
            if bad:
                name = min(bad, key=lambda key: bad[key])
                self.stopped[run] = (bad[name], name)
                arm, seed = self.stack.runs[run]
                _say(f"{self.name}: {arm} seed {seed} stopped at update {bad[name]}, {name} is not finite")

    def _log(self, update: int, values: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> None:
        # Means over the updates since the last row, before each of them, and numbers of now. For the TD loss
        # the median: one time-limit terminal in a batch multiplies its mean by 40.
        rows = {name: np.median(column, axis=0) if name == "td_loss" else column.mean(axis=0) for name, column in values.items()}
        rows |= now
        for run, who in enumerate(self.stack.runs):
            if run not in self.stopped:
                self._metrics += [(*who, update, name, float(value[run])) for name, value in rows.items()]

    def add_energy(self, joules: float | None) -> None:
        """Adds what the processor took since the last call."""
        self._joules = None if joules is None or self._joules is None else self._joules + joules

    def evaluate(self, kind: str) -> None:
        """Asks for an evaluation of the policies as they are: "training", or "final" with more episodes, the headline."""
        self.read()  # so that it is known who has diverged
        options = self.stack.settings["evaluation"]
        episodes = options["final_episodes" if kind == "final" else "episodes"]
        # The update is part of the stream: every evaluation sees new start states, the same in all arms.
        seeds = [stream(seed, "evaluation", self.update).generate_state(episodes).tolist() for _, seed in self.stack.runs]
        self.evaluations.start(Request(self.update, kind, self.stack.policy, seeds))

    def collect_evaluations(self, wait: bool = False) -> None:
        """Puts the returns that are there into the table."""
        for request, returns in self.evaluations.finished(wait):
            for run, who in enumerate(self.stack.runs):
                stopped = self.stopped.get(run)
                if stopped is None or request.update < stopped[0]:
                    row = (*who, request.update, request.kind)
                    self._returns += [(*row, episode, float(value)) for episode, value in enumerate(returns[run])]

    def save(self, path: Path, identity: str) -> None:
        """Writes a checkpoint of what was read; evaluations that are under way go in as what they were asked with."""
        pending = self.evaluations.pending()
        progress = {
            "seconds": self.seconds,
            "joules": self._joules,
            "stopped": list(self.stopped.items()),
            "environments": self._environments,
            "metrics": self._metrics,
            "returns": self._returns,
            "pending": [(request.update, request.kind, request.seeds) for request in pending],
        }
        policies = {f"pending.{index}": request.policies for index, request in enumerate(pending)}
        checkpoints.save(path, identity, self.stack, policies, progress)

    def resume(self, path: Path, identity: str) -> None:
        """Goes on from a checkpoint (see `checkpoints.load`)."""
        tensors, progress = checkpoints.load(path, identity, self.stack)
        self.seconds, self._joules = progress["seconds"], progress["joules"]
        self.stopped = {run: tuple(reason) for run, reason in progress["stopped"]}
        here = self._environments[0]["environment"]
        self._environments = progress["environments"]
        if self._environments[-1]["environment"] != here:
            self._environments.append({"from": self.update, "environment": here})
        self._metrics = [tuple(row) for row in progress["metrics"]]
        self._returns = [tuple(row) for row in progress["returns"]]
        for index, (update, kind, seeds) in enumerate(progress["pending"]):
            self.evaluations.start(Request(update, kind, tensors[f"pending.{index}"], seeds))

    def write(self, output: Path) -> None:
        """The results of the runs that were not stopped, run.json last."""
        files.write_text(output / "metrics.csv", self._csv(("update", "metric", "value"), self._metrics))
        files.write_text(output / "evaluations.csv", self._csv(("update", "kind", "episode", "return"), self._returns))
        policies = self.stack.algorithm.policy.unflatten(self.stack.policy)  # [R, ...], arm after arm
        tensors = {name: value.contiguous() for name, value in policies.items()}
        normaliser = self.stack.data.normaliser
        tensors |= {"observation_offset": normaliser.offset, "observation_scale": normaliser.scale}
        with files.written_beside(output / "policies.safetensors") as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, metadata={"stamp": json.dumps(self._stamp, sort_keys=True)}))
        # ru_maxrss is in KiB on Linux
        timing = {"seconds": self.seconds, "updates_per_second": self.update / max(self.seconds, 1e-9)}
        timing |= {"runs": len(self.stack.runs), "processor_joules": self._joules}
        timing |= {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        if self._device.type == "cuda":
            timing |= {"peak_device_memory_bytes": torch.cuda.max_memory_allocated(self._device)}
        files.write_json(output / "timing.json", timing)
        described = {
            "stamp": self._stamp,
            "dataset": self._dataset,
            "arms": self._settings,
            "seeds": self._seeds,
            "updates": self.update,
            "environments": self._environments,
            "files": {name: files.sha256(output / name) for name in ("metrics.csv", "evaluations.csv", "policies.safetensors")},
        }
        files.write_json(output / "run.json", described)

    def _csv(self, header: tuple[str, ...], rows: list[tuple]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("dataset", "arm", "seed", *header))
        writer.writerows((self._dataset, *row) for row in rows)
        return text.getvalue()


def _device(name: str, settings: dict[str, dict]) -> torch.device:
    """The device of that name, if it is there and can do what the settings ask for."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchError("no CUDA device is to be had", where="jobs.device", do="use jobs.device=cpu, or a CUDA build of torch")
    precisions = {own["precision"] for own in settings.values()}
    if name == "cpu" and precisions != {"float32"}:
        raise BenchError("a CPU has no tf32", where="training.precision", do="use training.precision=float32 or jobs.device=cuda")
    if "tf32_fused" in precisions:
        kernels.check()
    return torch.device(name)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _progress(name: str, update: int, updates: int, rate: float) -> str:
    left = int((updates - update) / max(rate, 1e-9))
    filled = 20 * update // updates
    bar = "#" * filled + "." * (20 - filled)
    return f"{name}: [{bar}] {update}/{updates} updates, {rate:.0f} updates/s, {left // 60}:{left % 60:02d} left"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
