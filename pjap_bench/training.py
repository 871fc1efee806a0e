"""One training job: some seeds of one arm on one dataset, from the first update to the final evaluation, resumable.

A killed job goes on from its last checkpoint and ends with the same bytes. Every run has its own random streams
(initialisation, sampling, out-of-distribution actions, evaluation, the fixed uniform sample), so that arms of one seed
start alike and differ in what they are meant to differ.
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
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pjap_bench import algorithms, files, products, samplers
from pjap_bench.datasets import hdf5
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.errors import BenchError
from pjap_bench.evaluation import evaluate

STREAMS = ("initialisation", "sampling", "ood_actions", "evaluation", "uniform_sample")
_PROGRESS_SECONDS = 20.0


def train(
    dataset_path: Path,
    arm: str,
    seeds: list[int],
    settings: dict,
    job_settings: dict,
    stamp: dict,
    output: Path,
    checkpoints: Path,
) -> None:
    """Trains `seeds` of `arm` side by side and writes their results into the folder `output`.

    Writes evaluations.csv, metrics.csv, policy.safetensors, timing.json and, last, run.json with the others' sha256.

    Args:
        settings: what the result depends on (`config.training_settings`).
        job_settings: {"checkpoint_every": updates, "threads": ...}: what it does not.
        checkpoints: folder where progress is kept while the job runs. The file's name is made of what the job depends on,
            so that a changed configuration starts anew; it is removed when the results are written.

    Raises:
        BenchError: bad data, a broken checkpoint, or a run whose numbers are no longer finite (named with its update; the
            other runs of the job are finished first, and their results lie in the folder `stopped` beside the checkpoint).
    """
    products.set_up(job_settings["threads"])
    dataset = hdf5.read(dataset_path)
    job = _Job(dataset, dataset_path.stem, arm, seeds, settings)
    identity = job_identity(arm, seeds, settings, stamp)
    checkpoint = checkpoints / f"{identity[:16]}.safetensors"
    if checkpoint.exists():
        job.resume(checkpoint, identity)
        _say(f"{job.name}: resumed at update {job.update} of {settings['updates']}")
    else:
        job.evaluate_start()
    started = said = time.monotonic()
    before, first = job.seconds, job.update
    while job.update < settings["updates"] and len(job.stopped) < len(seeds):
        job.step_to_next_log()
        now = time.monotonic()
        job.seconds = before + now - started
        if job.update % job_settings["checkpoint_every"] == 0:
            job.save(checkpoint, identity)
        if now - said > _PROGRESS_SECONDS or job.update == settings["updates"]:
            said = now
            _say(_progress(job.name, job.update, settings["updates"], (job.update - first) / (now - started)))
    if len(job.stopped) < len(seeds):
        job.evaluate_final()
        job.write(checkpoints / "stopped" if job.stopped else output, stamp)
    checkpoint.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: other checkpoints lie there
        checkpoints.rmdir()
    if job.stopped:
        reasons = [f"seed {seeds[run]} at update {update} ({what})" for run, (update, what) in sorted(job.stopped.items())]
        raise BenchError(
            f"stopped because a number is not finite: {'; '.join(reasons)}",
            where=job.name,
            do="lower training.reward_scale or the learning rates, or look at the dataset; other runs are not affected",
        )


def job_identity(arm: str, seeds: list[int], settings: dict, stamp: dict) -> str:
    """A digest of everything that the numbers of a job depend on."""
    environment = {key: stamp[key] for key in ("code", "datasets", "python", "packages", "processor", "image")}
    return files.sha256_of_json({"arm": arm, "seeds": seeds, "settings": settings, "environment": environment})


class _Job:
    """The state of a job between two log points, and the tables it has filled so far."""

    def __init__(self, dataset: hdf5.Dataset, dataset_name: str, arm: str, seeds: list[int], settings: dict):
        self.name = f"{dataset_name}/{arm} seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        self._dataset_name, self._arm, self._seeds, self._settings = dataset_name, arm, seeds, settings
        self._data = SequenceData(dataset, settings)
        self._algorithm = algorithms.make(settings["algorithm"], self._data, settings)
        self._samplers = [samplers.make(settings["sampler"], self._data.starts, settings) for _ in seeds]
        self._random = [np.random.default_rng(_stream(seed, "sampling")) for seed in seeds]
        self._noise = [_torch_generator(seed, "ood_actions") for seed in seeds]
        self._state = self._algorithm.initialise([_torch_generator(seed, "initialisation") for seed in seeds])
        uniform = [
            np.random.default_rng(_stream(seed, "uniform_sample")).integers(self._data.starts, size=settings["uniform_sequences"])
            for seed in seeds
        ]
        self._uniform_batch = self._data.batch(torch.as_tensor(np.stack(uniform)))
        self.update = 0
        self.seconds = 0.0
        self.stopped: dict[int, tuple[int, str]] = {}
        self._metrics: list[tuple] = []  # rows of metrics.csv without its first two columns
        self._evaluations: list[tuple] = []

    def step_to_next_log(self) -> None:
        """Updates until the next multiple of `log_every` (or the end), then logs, and evaluates where it is due."""
        last = min((self.update // self._settings["log_every"] + 1) * self._settings["log_every"], self._settings["updates"])
        window: list[dict[str, Tensor]] = []
        seen = np.zeros((len(self._seeds), len(self._data.policy_names)), dtype=np.int64)
        for update in range(self.update + 1, last + 1):
            window.append(self._step(update, seen))
        values = {name: torch.stack([row[name] for row in window]).double().numpy() for name in window[0]}  # [window, R]
        self._stop_diverged(values, first=self.update + 1)
        self.update = last
        self._log(values, seen)
        every = self._settings["evaluation"]["every"]
        if self.update % every == 0 and self.update < self._settings["updates"]:
            self._evaluate("training", self._settings["evaluation"]["episodes"])

    def _step(self, update: int, seen: np.ndarray) -> dict[str, Tensor]:
        size = self._settings["batch"]
        sampled = [sampler.sample(size, random) for sampler, random in zip(self._samplers, self._random, strict=True)]
        for run, starts in enumerate(sampled):
            seen[run] += np.bincount(self._data.policy_of_step[starts], minlength=seen.shape[1])
        batch = self._data.batch(torch.as_tensor(np.stack(sampled)))
        self._state, metrics, distances = self._algorithm.update(self._state, batch, self._noise)
        self._refresh(sampled, distances, update)
        return metrics | {"distance_sampled": distances.mean(dim=1)}

    def _refresh(self, sampled: list[np.ndarray], distances: Tensor, update: int) -> None:
        """Hands every sampler the distances it asks for: those of the batch, or of extra sequences."""
        wanted = [
            sampler.to_refresh(starts, random)
            for sampler, starts, random in zip(self._samplers, sampled, self._random, strict=True)
        ]
        if wanted[0] is None:
            return
        if wanted[0] is not sampled[0]:
            distances = self._algorithm.distances(self._state, self._data.batch(torch.as_tensor(np.stack(wanted))))
        for sampler, indices, measured in zip(self._samplers, wanted, distances.double().numpy(), strict=True):
            if np.isfinite(measured).all():  # a diverged run is stopped at the next log point; no priority may be NaN
                sampler.refresh(indices, measured, update)

    def _stop_diverged(self, values: dict[str, np.ndarray], first: int) -> None:
        """Marks runs with a number that is not finite: a loss at some update, or a parameter after the last one."""
        last = first + len(values["distance_sampled"]) - 1
        sound = torch.stack([value.flatten(1).isfinite().all(dim=1) for value in self._state.values()]).all(dim=0)
        for run in set(range(len(self._seeds))) - set(self.stopped):
            bad = {
                name: first + int(np.argmin(np.isfinite(column[:, run])))
                for name, column in values.items()
                if not np.isfinite(column[:, run]).all()
            }
            if not sound[run]:
                bad.setdefault("parameters", last)
            if bad:
                name = min(bad, key=lambda key: bad[key])
                self.stopped[run] = (bad[name], name)
                _say(f"{self.name}: seed {self._seeds[run]} stopped at update {bad[name]}, {name} is not finite")

    def _log(self, values: dict[str, np.ndarray], seen: np.ndarray) -> None:
        # Means over the updates since the last row, before each of them; distance_uniform is measured now. For the TD loss
        # the median: one time-limit terminal in a batch multiplies its mean by 40.
        rows = {name: np.median(column, axis=0) if name == "td_loss" else column.mean(axis=0) for name, column in values.items()}
        rows["distance_uniform"] = self._algorithm.distances(self._state, self._uniform_batch).double().mean(dim=1).numpy()
        rows["effective_sample_size"] = np.array([sampler.effective_sample_size() for sampler in self._samplers])
        for index, policy in enumerate(self._data.policy_names):
            rows[f"share:{policy}"] = seen[:, index] / seen.sum(axis=1)
        for run, seed in enumerate(self._seeds):
            if run not in self.stopped:
                self._metrics += [(seed, self.update, name, float(value[run])) for name, value in rows.items()]

    def evaluate_start(self) -> None:
        """Where the curves begin: the untrained policy."""
        self._evaluate("training", self._settings["evaluation"]["episodes"])

    def evaluate_final(self) -> None:
        """The headline: many episodes of the last policy."""
        self._evaluate("final", self._settings["evaluation"]["final_episodes"])

    def _evaluate(self, kind: str, episodes: int) -> None:
        # The update is part of the stream: every evaluation sees new start states, the same in all arms.
        seeds = [_stream(seed, "evaluation", self.update).generate_state(episodes).tolist() for seed in self._seeds]
        returns = evaluate(self._data.environment, self._algorithm.policy, self._state["policy"], self._data.normaliser, seeds)
        for run, seed in enumerate(self._seeds):
            if run not in self.stopped:
                self._evaluations += [
                    (seed, self.update, kind, episode, float(value)) for episode, value in enumerate(returns[run])
                ]

    def save(self, path: Path, identity: str) -> None:
        """Writes everything that the future of the job depends on; pickles nothing."""
        tensors = {f"state.{name}": value for name, value in self._state.items()}
        for run, (sampler, noise) in enumerate(zip(self._samplers, self._noise, strict=True)):
            tensors[f"noise.{run}"] = noise.get_state()
            tensors |= {f"sampler.{run}.{name}": torch.as_tensor(value) for name, value in sampler.state().items()}
        progress = {
            "identity": identity,
            "update": self.update,
            "seconds": self.seconds,
            "stopped": list(self.stopped.items()),
            "random": [random.bit_generator.state for random in self._random],
            "metrics": self._metrics,
            "evaluations": self._evaluations,
        }
        with files.written_beside(path) as temporary:
            contiguous = {name: value.contiguous() for name, value in tensors.items()}
            temporary.write_bytes(safetensors.torch.save(contiguous, metadata={"progress": json.dumps(progress)}))

    def resume(self, path: Path, identity: str) -> None:
        """Takes the state from a checkpoint.

        Raises:
            BenchError: truncated, not a checkpoint, or of another configuration, dataset or code.
        """
        advice = "delete it to start this job anew"
        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads((file.metadata() or {}).get("progress", "null"))
            tensors = safetensors.torch.load_file(path)
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise BenchError(f"not a readable checkpoint ({error})", where=path, do=advice) from error
        if not isinstance(progress, dict) or progress.get("identity") != identity:
            raise BenchError(
                "the checkpoint belongs to another configuration, dataset or version of the code", where=path, do=advice
            )
        # Clones, since products may round differently on memory that is aligned otherwise.
        self._state = {name.removeprefix("state."): value.clone() for name, value in tensors.items() if name.startswith("state.")}
        for run, (sampler, noise, random) in enumerate(zip(self._samplers, self._noise, self._random, strict=True)):
            noise.set_state(tensors[f"noise.{run}"])
            random.bit_generator.state = progress["random"][run]
            prefix = f"sampler.{run}."
            sampler.load({name.removeprefix(prefix): value.numpy() for name, value in tensors.items() if name.startswith(prefix)})
        self.update, self.seconds = progress["update"], progress["seconds"]
        self.stopped = {run: tuple(reason) for run, reason in progress["stopped"]}
        self._metrics = [tuple(row) for row in progress["metrics"]]
        self._evaluations = [tuple(row) for row in progress["evaluations"]]

    def write(self, output: Path, stamp: dict) -> None:
        """The results of the job (of the runs that were not stopped), run.json last."""
        files.write_text(output / "metrics.csv", self._csv(("seed", "update", "metric", "value"), self._metrics))
        header = ("seed", "update", "kind", "episode", "return")
        files.write_text(output / "evaluations.csv", self._csv(header, self._evaluations))
        tensors = {name: value.contiguous() for name, value in self._algorithm.policy.unflatten(self._state["policy"]).items()}
        tensors |= {"observation_offset": self._data.normaliser.offset, "observation_scale": self._data.normaliser.scale}
        with files.written_beside(output / "policy.safetensors") as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, metadata={"stamp": json.dumps(stamp, sort_keys=True)}))
        # ru_maxrss is in KiB on Linux
        timing = {"seconds": self.seconds, "updates_per_second": self.update / max(self.seconds, 1e-9)}
        timing |= {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        files.write_json(output / "timing.json", timing)
        described = {
            "stamp": stamp,
            "dataset": self._dataset_name,
            "arm": self._arm,
            "algorithm": self._settings["algorithm"],
            "sampler": self._settings["sampler"],
            "seeds": self._seeds,
            "updates": self.update,
            "settings": self._settings,
            "files": {name: files.sha256(output / name) for name in ("metrics.csv", "evaluations.csv", "policy.safetensors")},
        }
        files.write_json(output / "run.json", described)

    def _csv(self, header: tuple[str, ...], rows: list[tuple]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("dataset", "arm", *header))
        writer.writerows((self._dataset_name, self._arm, *row) for row in rows)
        return text.getvalue()


def _stream(seed: int, name: str, *more: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, STREAMS.index(name), *more])


def _torch_generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(int(_stream(seed, name).generate_state(1, np.uint64)[0] >> 1))


def _progress(name: str, update: int, updates: int, rate: float) -> str:
    left = int((updates - update) / max(rate, 1e-9))
    filled = 20 * update // updates
    bar = "#" * filled + "." * (20 - filled)
    return f"{name}: [{bar}] {update}/{updates} updates, {rate:.0f} updates/s, {left // 60}:{left % 60:02d} left"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
