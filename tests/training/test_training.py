"""A training job: its tables, its resumption, and what it refuses."""

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from pjap_bench import config, training
from pjap_bench.algorithms import ALGORITHMS
from pjap_bench.errors import BenchError
from pjap_bench.samplers import SAMPLERS

JOB = {"checkpoint_every": 20, "threads": 1}
STAMP = {"code": "0", "datasets": {"noise": "0"}, "python": "3", "packages": {}, "processor": "none", "image": "none"}


@pytest.fixture
def fast(settings, monkeypatch) -> dict:
    """Smoke settings with episodes of no physics: what is tested here is the job, not the environment."""

    def returns(environment, layout, policy, normaliser, seeds):
        return np.array([[float(policy[run, 0]) + seed % 7 for seed in row] for run, row in enumerate(seeds)])

    monkeypatch.setattr(training, "evaluate", returns)
    return settings | {"updates": 40}


def run(path, folder, settings, seeds=(0,), job=JOB):
    training.train(path, "maddpg_cql_pjap", list(seeds), settings, job, STAMP, folder / "out", folder / "checkpoints")
    return folder / "out"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_pair_trains_and_writes_tidy_tables(noise_file, tmp_path, fast, algorithm, sampler):
    out = run(noise_file, tmp_path, fast | {"algorithm": algorithm, "sampler": sampler}, seeds=(0, 1))
    metrics, evaluations = pd.read_csv(out / "metrics.csv"), pd.read_csv(out / "evaluations.csv")
    assert list(metrics.columns) == ["dataset", "arm", "seed", "update", "metric", "value"]
    assert list(evaluations.columns) == ["dataset", "arm", "seed", "update", "kind", "episode", "return"]
    wide = metrics.pivot(index=["seed", "update"], columns="metric", values="value")
    assert list(wide.loc[0].index) == [10, 20, 30, 40]
    assert {"policy_loss", "distance_sampled", "distance_uniform", "effective_sample_size", "share:first", "share:second"} <= set(
        wide
    )
    assert wide[["share:first", "share:second"]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    final = evaluations[evaluations["kind"] == "final"]
    assert (final["update"] == 40).all()
    assert final.groupby("seed").size().tolist() == [fast["evaluation"]["final_episodes"]] * 2
    assert sorted(evaluations.loc[evaluations["kind"] == "training", "update"].unique()) == [0, 30]
    described = json.loads((out / "run.json").read_text())
    assert described["settings"]["sampler"] == sampler
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_job_ends_with_the_same_bytes(noise_file, tmp_path, fast, monkeypatch, sampler):
    settings = fast | {"sampler": sampler}
    whole = run(noise_file, tmp_path / "whole", settings, seeds=(0, 1))
    killed = tmp_path / "killed"
    step, steps = training._Job._step, []

    def dying_step(job, update, seen):
        steps.append(update)
        if len(steps) == 33:
            raise KeyboardInterrupt
        return step(job, update, seen)

    with monkeypatch.context() as patch:
        patch.setattr(training._Job, "_step", dying_step)
        with pytest.raises(KeyboardInterrupt):
            run(noise_file, killed, settings, seeds=(0, 1))
    assert not (killed / "out").exists()
    assert len(list((killed / "checkpoints").iterdir())) == 1
    resumed = run(noise_file, killed, settings, seeds=(0, 1))
    for name in ("metrics.csv", "evaluations.csv", "policy.safetensors", "run.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_does_not_depend_on_its_neighbours(noise_file, tmp_path, fast):
    together = pd.read_csv(run(noise_file, tmp_path / "both", fast, seeds=(0, 1)) / "metrics.csv")
    alone = pd.read_csv(run(noise_file, tmp_path / "one", fast, seeds=(1,)) / "metrics.csv")
    expected = together[together["seed"] == 1].reset_index(drop=True)
    assert alone["value"].to_numpy() == pytest.approx(expected["value"].to_numpy(), rel=1e-4, abs=1e-5)
    assert not np.allclose(together.loc[together["seed"] == 0, "value"].to_numpy(), expected["value"].to_numpy())


def test_arms_of_a_seed_start_alike(noise_dataset, fast):
    first, second = (training._Job(noise_dataset, "noise", "arm", [3], fast | {"sampler": name}) for name in ("uniform", "pjap"))
    other = training._Job(noise_dataset, "noise", "arm", [4], fast)
    for name, value in first._state.items():
        assert torch.equal(value, second._state[name]), name
    assert not torch.equal(first._state["policy"], other._state["policy"])
    draws = [torch.rand(5, generator=job._noise[0]) for job in (first, second, other)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(first._uniform_batch.actions, second._uniform_batch.actions)


def test_a_changed_configuration_starts_anew_and_never_takes_a_foreign_checkpoint(noise_file, tmp_path, fast, monkeypatch):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    changed = fast | {"batch": 5}
    fresh = run(noise_file, tmp_path / "fresh", changed)
    assert (run(noise_file, tmp_path, changed) / "metrics.csv").read_bytes() == (fresh / "metrics.csv").read_bytes()
    identity = training.job_identity("maddpg_cql_pjap", [0], changed, STAMP)
    checkpoint.rename(checkpoint.with_name(f"{identity[:16]}.safetensors"))
    with pytest.raises(BenchError, match=r"another configuration.*delete it"):
        run(noise_file, tmp_path, changed)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"x" * 500])
def test_a_broken_checkpoint_is_refused(noise_file, tmp_path, fast, monkeypatch, damage):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(BenchError, match="not a readable checkpoint"):
        run(noise_file, tmp_path, fast)


def interrupted(noise_file, tmp_path, settings, monkeypatch):
    """Leaves the checkpoint of a job that was interrupted before its final evaluation."""
    with monkeypatch.context() as patch:
        patch.setattr(training._Job, "evaluate_final", lambda job: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(noise_file, tmp_path, settings)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    return checkpoint


def poison(monkeypatch, runs, update_of_poison, tensor="critic"):
    """Makes a tensor of some runs NaN before an update; returns the list of updates that were made."""
    step, steps = training._Job._step, []

    def poisoned(job, update, seen):
        steps.append(update)
        if update == update_of_poison:
            job._state = {name: value.clone() for name, value in job._state.items()}
            job._state[tensor][runs] = float("nan")
        return step(job, update, seen)

    monkeypatch.setattr(training._Job, "_step", poisoned)
    return steps


def test_a_diverged_run_is_named_and_the_others_finish(noise_file, tmp_path, fast, monkeypatch):
    clean = pd.read_csv(run(noise_file, tmp_path / "clean", fast, seeds=(0, 1, 2)) / "metrics.csv")
    poison(monkeypatch, [1], 17)
    with pytest.raises(BenchError, match=r"noise/maddpg_cql_pjap.*seed 1 at update 17"):
        run(noise_file, tmp_path / "ill", fast, seeds=(0, 1, 2))
    assert not (tmp_path / "ill" / "out").exists()
    assert not list((tmp_path / "ill" / "checkpoints").glob("*.safetensors"))
    kept = pd.read_csv(tmp_path / "ill" / "checkpoints" / "stopped" / "metrics.csv")
    assert kept.loc[kept["seed"] == 1, "update"].max() == 10
    for seed in (0, 2):
        assert kept.loc[kept["seed"] == seed, "value"].tolist() == clean.loc[clean["seed"] == seed, "value"].tolist()


def test_a_job_ends_when_all_its_runs_have_diverged(noise_file, tmp_path, fast, monkeypatch):
    steps = poison(monkeypatch, [0], 12)
    with pytest.raises(BenchError, match="seed 0 at update 12"):
        run(noise_file, tmp_path, fast)
    assert max(steps) == 20
    assert not list((tmp_path / "checkpoints").rglob("*.*"))


def test_parameters_that_diverge_in_the_last_update_are_no_success(noise_file, tmp_path, fast, monkeypatch):
    step = training._Job._step

    def broken_step(job, update, seen):
        metrics = step(job, update, seen)
        if update == 40:
            job._state["policy"][0, 0] = float("inf")
        return metrics

    monkeypatch.setattr(training._Job, "_step", broken_step)
    with pytest.raises(BenchError, match=r"seed 0 at update 40 \(parameters\)"):
        run(noise_file, tmp_path, fast)
    assert not (tmp_path / "out").exists()


def test_full_disk_while_saving_a_checkpoint(noise_file, tmp_path, fast, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.Path, "write_bytes", full)
    with pytest.raises(BenchError, match=r"safetensors: cannot be written \(No space left on device\)"):
        run(noise_file, tmp_path, fast)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_job_that_is_killed_by_the_system_goes_on(noise_file, tmp_path, settings, label):
    """Through the command line, with a real SIGKILL, and with real evaluations."""
    settings = settings | {"updates": 600, "evaluation": {"every": 300, "episodes": 1, "final_episodes": 1}}
    command = [sys.executable, "-m", "pjap_bench", "train", "--dataset", str(noise_file), "--arm", "maddpg_cql_pjap"]
    command += ["--seeds", "0", "--settings", json.dumps(settings), "--label", label, "--checkpoint-every", "20"]

    def start(folder):
        arguments = ["--checkpoints", str(tmp_path / folder / "checkpoints"), "--output", str(tmp_path / folder / "out")]
        return subprocess.Popen([*command, *arguments], cwd=config.ROOT, stderr=subprocess.PIPE, text=True)

    assert start("whole").wait() == 0
    killed = start("killed")
    while killed.poll() is None and not list(tmp_path.glob("killed/checkpoints/*.safetensors")):
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "killed" / "out").exists(), "too fast to be killed: raise `updates`"
    resumed = start("killed")
    _, said = resumed.communicate()
    assert resumed.returncode == 0
    assert "resumed at update" in said
    for name in ("metrics.csv", "evaluations.csv", "policy.safetensors", "run.json"):
        assert (tmp_path / "killed/out" / name).read_bytes() == (tmp_path / "whole/out" / name).read_bytes(), name


def test_a_dataset_shorter_than_a_sequence(noise_file, tmp_path, fast):
    with pytest.raises(BenchError, match="fewer than one sequence"):
        run(noise_file, tmp_path, fast | {"sequence": 3001})


def test_zero_variance_features_do_not_divide_by_zero(noise_dataset, settings):
    flat = dataclasses.replace(noise_dataset, physics=np.ones_like(noise_dataset.physics))
    data = training.SequenceData(flat, settings)
    batch = data.batch(torch.tensor([[0, 5]]))
    assert (batch.observations == 0).all()
    assert (batch.states == 0).all()
