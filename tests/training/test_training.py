"""A stack of runs: its tables, its resumption, and what it refuses."""

import dataclasses
import json
import multiprocessing
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pjap_bench import config, draws, evaluation, files, products, samplers, training
from pjap_bench.__main__ import main
from pjap_bench.algorithms import ALGORITHMS
from pjap_bench.datasets import hdf5
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.environments import ENVIRONMENTS, MujocoTask
from pjap_bench.errors import BenchError, TimeIsUp
from pjap_bench.samplers import SAMPLERS
from pjap_bench.training.graph import captured
from pjap_bench.training.stack import Stack
from tests.datasets import toys
from tests.training import dying

JOB = {"checkpoint_every": 20, "threads": 1, "device": "cpu", "evaluators": 0, "stop_after": 0}
STAMP = {"code": "0", "datasets": {"noise": "0"}, "python": "3", "packages": {}, "processor": "none", "image": "none"}
TABLES = ("metrics.csv", "evaluations.csv")
BYTES = (*TABLES, "policies.safetensors", "run.json")
CPU = torch.device("cpu")


@pytest.fixture
def fast(settings, monkeypatch) -> dict:
    """Smoke settings with episodes of no physics: what is tested here is the stack, not the environment."""
    monkeypatch.setattr(evaluation, "evaluate", dying.returns)
    return settings | {"updates": 40}


def arguments(path, folder, settings, seeds=(0,), arms=("pjap",), stamp=STAMP, **job):
    """What a stack is trained with whose arms are named by their samplers."""
    of_arms = {arm: settings | {"sampler": arm} for arm in arms}
    return path, of_arms, list(seeds), JOB | job, stamp, folder / "out", folder / "checkpoints"


def run(path, folder, *more, **others):
    """Trains it."""
    training.train(*arguments(path, folder, *more, **others))
    return folder / "out"


def fits(algorithm, sampler):
    return SAMPLERS[sampler].measure in (None, *ALGORITHMS[algorithm].measures)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_with_every_sampler_and_writes_tidy_tables(noise_file, tmp_path, fast, algorithm):
    arms = [name for name in SAMPLERS if fits(algorithm, name)]
    out = run(noise_file, tmp_path, fast | {"algorithm": algorithm}, seeds=(0, 1), arms=arms)
    metrics, evaluations = (pd.read_csv(out / name) for name in TABLES)
    assert list(metrics.columns) == ["dataset", "arm", "seed", "update", "metric", "value"]
    assert list(evaluations.columns) == ["dataset", "arm", "seed", "update", "kind", "episode", "return"]
    wide = metrics.pivot(index=["arm", "seed", "update"], columns="metric", values="value")
    distances = {"distance_sampled", "distance_uniform", "distance_selected"}
    expected = distances | {"policy_loss", "effective_sample_size", "share:first", "share:second"}
    for arm in arms:
        assert list(wide.loc[arm, 0].index) == [10, 20, 30, 40]
        assert expected <= set(wide)
        assert (wide["distance_selected"] < wide["distance_uniform"]).all()  # near sequences weigh more
        shares = wide.loc[arm][["share:first", "share:second"]].to_numpy()
        assert shares.sum(axis=1) == pytest.approx(1.0)
        counts = shares * fast["log_every"] * fast["batch"]  # whole numbers: of what was sampled since the last row
        assert counts == pytest.approx(np.rint(counts))
    final = evaluations[evaluations["kind"] == "final"]
    assert (final["update"] == 40).all()
    assert (final.groupby(["arm", "seed"]).size() == fast["evaluation"]["final_episodes"]).all()
    assert sorted(evaluations.loc[evaluations["kind"] == "training", "update"].unique()) == [0, 30]
    described = json.loads((out / "run.json").read_text())
    assert {arm: own["sampler"] for arm, own in described["arms"].items()} == {arm: arm for arm in arms}
    with safe_open(out / "policies.safetensors", framework="np") as file:
        assert file.get_tensor("out_w").shape[0] == 2 * len(arms)
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_sampler_that_needs_what_the_algorithm_does_not_measure(noise_file, tmp_path, fast):
    with pytest.raises(BenchError, match="'td_error' needs a td_error of every sequence, which behaviour_cloning"):
        run(noise_file, tmp_path, fast | {"algorithm": "behaviour_cloning"}, arms=("td_error",))


@pytest.mark.parametrize("part", [lambda sampled: sampled[:, :-1], lambda sampled: sampled[:1]], ids=["sequences", "runs"])
def test_a_sampler_that_gives_a_smaller_batch_is_named(noise_dataset, fast, monkeypatch, part):
    own = SAMPLERS["uniform"]
    sample = own.sample
    monkeypatch.setattr(own, "sample", lambda *given: part(sample(*given)))
    stack = Stack(noise_dataset, {"plain": fast | {"sampler": "uniform"}}, [0, 1], CPU)
    with pytest.raises(BenchError, match=r"arm plain: the sampler 'uniform' gave .* shape \[\d+, \d+\] instead of \[2, \d+\]"):
        stack.advance(1)


def die_in_update(monkeypatch, count):
    """Makes the update number `count` of this process die."""
    update, made = Stack._update, []

    def dying(stack):
        made.append(1)
        if len(made) == count:
            raise KeyboardInterrupt
        return update(stack)

    monkeypatch.setattr(Stack, "_update", dying)


@pytest.mark.parametrize("refresh", ["sampled", "proportional", "uniform"])
def test_a_killed_stack_ends_with_the_same_bytes(noise_file, tmp_path, fast, monkeypatch, refresh):
    settings = fast | {"refresh": refresh, "refresh_sequences": 8}
    whole = run(noise_file, tmp_path / "whole", settings, seeds=(0, 1), arms=SAMPLERS)
    killed = tmp_path / "killed"
    with monkeypatch.context() as patch:
        die_in_update(patch, 33)
        with pytest.raises(KeyboardInterrupt):
            run(noise_file, killed, settings, seeds=(0, 1), arms=SAMPLERS)
    assert not (killed / "out").exists()
    assert len(list((killed / "checkpoints").iterdir())) == 1
    resumed = run(noise_file, killed, settings, seeds=(0, 1), arms=SAMPLERS)
    for name in BYTES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


CHECKPOINT = r"[0-9a-f]{16}\."
MOMENTS = [
    ("pjap_bench.training.stack:Stack", "_update", "", 11, "before"),  # the first after a checkpoint
    *(("pathlib:Path", "write_bytes", rf"\.{CHECKPOINT}", number, "halfway") for number in (1, 2)),
    ("pathlib:Path", "write_bytes", r"\.policies", 1, "halfway"),
    *(("os", "replace", CHECKPOINT, *when) for when in ((1, "before"), (1, "after"), (2, "after"))),  # it gets its name
    ("pjap_bench.evaluation", "evaluate", "", 3, "before"),  # the final one
    ("pathlib:Path", "write_text", r"\.metrics", 1, "halfway"),
    *(("os", "replace", name, 1, "before") for name in ("evaluations", "run")),
    ("pathlib:Path", "unlink", CHECKPOINT, 1, "before"),  # of a finished run
]


def die(moment, *more, **others):
    """Trains in a process of its own until that moment; whether it died then. One process, which has imported all, forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.dying"])
    process = context.Process(target=dying.train, args=(*moment, *arguments(*more, **others)))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_a_stack_that_dies_at_any_moment_ends_with_the_same_bytes(noise_file, tmp_path, fast):
    settings = fast | {"updates": 20, "log_every": 5, "evaluation": {"every": 10, "episodes": 1, "final_episodes": 2}}
    given = {"checkpoint_every": 10}
    whole = {path.name: path.read_bytes() for path in run(noise_file, tmp_path / "whole", settings, **given).iterdir()}
    for index, moment in enumerate(MOMENTS):
        folder = tmp_path / str(index)
        assert die(moment, noise_file, folder, settings, **given), f"{moment} did not come"
        left = [path for path in folder.glob("out/[!.]*") if path.name != "timing.json"]
        assert all(path.read_bytes() == whole[path.name] for path in left), moment
        assert len(left) == len(BYTES) or not (folder / "out/run.json").exists(), moment
        out = run(noise_file, folder, settings, **given)
        assert {path.name for path in out.iterdir()} == set(whole), moment
        assert all((out / name).read_bytes() == whole[name] for name in BYTES), moment
        assert not (folder / "checkpoints").exists(), moment


def test_a_stack_that_dies_again_and_again_ends_with_the_same_bytes(noise_file, tmp_path, fast):
    settings, folder = fast | {"updates": 80}, tmp_path / "killed"
    whole = run(noise_file, tmp_path / "whole", settings)
    for number in (33, 27, 5, 38):  # counted from the last checkpoint: before updates 33, 47, 45 and 78
        assert die(("pjap_bench.training.stack:Stack", "_update", "", number, "before"), noise_file, folder, settings)
    out = run(noise_file, folder, settings)
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in BYTES)


def test_a_time_budget_stops_at_a_checkpoint_and_ends_with_the_same_bytes(noise_file, tmp_path, fast):
    whole = run(noise_file, tmp_path / "whole", fast)
    for update in (10, 20, 30):
        with pytest.raises(TimeIsUp, match=f"stopped in time at update {update} of 40"):
            run(noise_file, tmp_path / "cut", fast, stop_after=1e-9)
    resumed = run(noise_file, tmp_path / "cut", fast, stop_after=1e-9)
    for name in BYTES:
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_table_does_not_depend_on_when_it_is_read(noise_file, tmp_path, fast):
    settings = fast | {"updates": 50, "evaluation": {"every": 10, "episodes": 1, "final_episodes": 1}}
    often = run(noise_file, tmp_path / "often", settings, arms=SAMPLERS)
    settings["evaluation"]["every"] = 50
    once = run(noise_file, tmp_path / "once", settings, arms=SAMPLERS, checkpoint_every=50)
    assert (once / "metrics.csv").read_bytes() == (often / "metrics.csv").read_bytes()


def test_progress_is_said_of_what_the_device_has_done(noise_file, tmp_path, fast, monkeypatch, capsys):
    monkeypatch.setattr(training, "_PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(Stack, "idle", lambda stack: stack.updates != 20)
    run(noise_file, tmp_path, fast)
    assert re.findall(r"(\d+)/40 updates", capsys.readouterr().err) == ["10", "30", "40"]


def test_another_machine_goes_on_and_is_named(noise_file, tmp_path, fast):
    with pytest.raises(TimeIsUp):
        run(noise_file, tmp_path, fast, stop_after=1e-9)
    out = run(noise_file, tmp_path, fast, stamp=STAMP | {"processor": "another"})
    environments = json.loads((out / "run.json").read_text())["environments"]
    assert [(each["from"], each["environment"]["processor"]) for each in environments] == [(0, "none"), (10, "another")]


@pytest.mark.parametrize("arms", [("uniform", "pjap", "td_error")])
def test_a_run_does_not_depend_on_its_neighbours(noise_file, tmp_path, fast, arms):
    def values(out, arm, seed):
        table = pd.read_csv(out / "metrics.csv")
        return table.loc[(table["arm"] == arm) & (table["seed"] == seed), "value"].to_numpy()

    together = run(noise_file, tmp_path / "all", fast, seeds=(0, 1), arms=arms)
    for arm in arms:
        alone = run(noise_file, tmp_path / arm, fast, seeds=(1,), arms=(arm,))
        # alone, products of another stacking: to rounding
        assert values(alone, arm, 1) == pytest.approx(values(together, arm, 1), rel=1e-4, abs=1e-5)
        assert not np.allclose(values(together, arm, 0), values(together, arm, 1))
    # with as many others beside it, which sample otherwise: bit for bit
    other = fast | {"refresh": "uniform", "refresh_sequences": 5, "td_exponent": 0.1}
    others = run(noise_file, tmp_path / "others", other, seeds=(3, 1), arms=arms)
    assert not np.array_equal(values(others, "pjap", 1), values(together, "pjap", 1))
    assert np.array_equal(values(others, "uniform", 1), values(together, "uniform", 1))


def test_arms_of_a_seed_start_alike(noise_dataset, fast):
    def stack(seed, *arms):
        return Stack(noise_dataset, {arm: fast | {"sampler": arm} for arm in arms}, [seed], CPU)

    both, other = stack(3, "uniform", "pjap"), stack(4, "pjap")
    for name, value in both.tensors().items():
        if name.startswith("state."):
            assert torch.equal(value[0], value[1]), name
    assert not torch.equal(both.policy[0], other.policy[0])
    streams = both.generators() | {"other": other.generators()["noise.0"]}
    drawn = {name: torch.rand(5, generator=each) for name, each in streams.items()}
    assert torch.equal(drawn["noise.0"], drawn["noise.1"]) and torch.equal(drawn["sampling.0"], drawn["sampling.1"])
    assert not torch.equal(drawn["noise.0"], drawn["other"]) and not torch.equal(drawn["noise.0"], drawn["sampling.0"])
    assert torch.equal(both._uniform_sample.actions[0], both._uniform_sample.actions[1])


def test_extra_sequences_are_measured_in_parts(noise_dataset, fast, monkeypatch):
    stack = Stack(noise_dataset, {arm: fast | {"sampler": arm} for arm in ("uniform", "pjap")}, [0, 1], CPU)
    stack.advance(5)  # arms of a seed start alike
    starts = torch.randint(stack.data.starts, (2, 50), generator=torch.Generator().manual_seed(0))
    state = {name: value[2:] for name, value in stack.tensors().items() if name.startswith("state.")}
    state = {name.removeprefix("state."): value for name, value in state.items()}
    expected = stack.algorithm.distances(state, stack.data.batch(starts))
    for numbers in (1, 100_000, products._PART):  # of one sequence each; a few; all
        monkeypatch.setattr(products, "_PART", numbers)
        torch.testing.assert_close(stack._distances(starts, slice(2, 4)), expected)


@pytest.mark.parametrize("refresh", ["sampled", "proportional", "uniform"])
def test_the_batch_is_refreshed_by_the_policy_before_the_update_and_others_by_that_after_it(
    noise_dataset, fast, monkeypatch, refresh
):
    """As in the released code: the batch's distances are of the target actions that the update itself used."""
    rates = {"policy_learning_rate": 0.1, "target_rate": 0.5}  # far enough apart to tell one from the other
    rule = {"refresh": refresh, "refresh_sequences": 7, "on_ramp": 10, "steepness": 2.0}
    stack = Stack(noise_dataset, {"uniform": fast | rates | {"sampler": "uniform"}, "pjap": fast | rates | rule}, [0, 1], CPU)
    stack.advance(4)
    wanted, own = [], type(stack._samplers[1])
    choose = own.to_refresh
    monkeypatch.setattr(own, "to_refresh", lambda *given: wanted.append(choose(*given)) or wanted[-1])

    def pjap_rows():
        return {name.removeprefix("state."): value[2:].clone() for name, value in stack.tensors().items() if "state." in name}

    expected, before = stack._samplers[1].state()["priorities"].double(), pjap_rows()
    stack._step()
    (indices,), after = wanted, pjap_rows()
    assert indices.shape == (2, fast["batch"] if refresh == "sampled" else 7)
    batch = stack.data.batch(indices)
    distances, others = (stack.algorithm.distances(state, batch).double() for state in (before, after))
    if refresh != "sampled":
        distances, others = others, distances
    assert (distances - others).abs().min() > 1e-3
    share = 5 / 10  # of the on-ramp, at the fifth update
    found = (-(2.0 * share * distances).square()).exp().clamp_min(fast["epsilon"]) ** 0.99
    expected.scatter_(1, indices, found)
    torch.testing.assert_close(stack._samplers[1].state()["priorities"].double(), expected, rtol=1e-5, atol=1e-6)


def test_only_samplers_may_differ_inside_a_stack(noise_dataset, fast):
    with pytest.raises(BenchError, match=r"arms one and two differ in cql_weight: only samplers"):
        Stack(noise_dataset, {"one": fast, "two": fast | {"cql_weight": 1.0, "steepness": 2.0}}, [0], CPU)


class NoHostTensors(TorchDispatchMode):
    """Refuses every operation with a tensor of the host, also those that torch lets through: copies, indices, scalars."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        tensors = [each for each in tree_leaves((arguments, keywords, result)) if isinstance(each, torch.Tensor)]
        assert all(each.device.type == "meta" for each in tensors), f"{function} on the host"
        return result


class NoHostData(TorchFunctionMode):
    """Refuses what makes a tensor of Python's or numpy's data: a copy from the host that on `meta` leaves no trace above."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        copies = function in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.Tensor.new_tensor)
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = arguments[1] if isinstance(arguments[1], tuple) else arguments[1:2]
            copies = any(isinstance(each, (list, np.ndarray)) for each in index)
        assert not copies, f"{function.__name__} of data on the host"
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("refresh", ["sampled", "proportional", "uniform"])
def test_an_update_stays_on_its_device(noise_dataset, fast, monkeypatch, algorithm, refresh):
    """On the device of tensors without values, where whoever reads one fails, and with nothing of the host's: no update waits for
    the host or copies from it, which would keep a graph from being recorded."""

    class Nowhere(draws.Streams):  # there are no generators on that device
        def uniform(self, *shape, dtype=None):
            return torch.rand(len(self.generators()), *shape, dtype=dtype, device="meta")

        def normal(self, *shape):
            return torch.randn(len(self.generators()), *shape, device="meta")

        def of(self, runs):
            return Nowhere(self.generators()[runs])

    monkeypatch.setattr(draws, "make", lambda seeds, device: Nowhere([torch.Generator().manual_seed(seed) for seed in seeds]))
    arms = {
        name: fast | {"algorithm": algorithm, "sampler": name, "refresh": refresh} for name in SAMPLERS if fits(algorithm, name)
    }
    stack = Stack(noise_dataset, arms, [0, 1], torch.device("meta"))
    with NoHostTensors(), NoHostData():
        recorded = [*stack.advance(2).values(), *stack.measured_now().values(), stack.sound()]
    assert {value.device.type for value in recorded} == {"meta"}
    assert {value.device.type for value in stack.tensors().values()} == {"meta"}


INDICES, SCALAR = torch.tensor([0, 1]), torch.tensor(2.0)  # on the host


@pytest.mark.parametrize(
    "step",
    [
        lambda there: torch.tensor(1.0, device="meta"),
        lambda there: torch.as_tensor([1.0], device="meta"),
        lambda there: there.new_tensor([1.0]),
        lambda there: torch.from_numpy(np.ones(2)),
        lambda there: torch.zeros(3),
        lambda there: INDICES.to("meta"),
        lambda there: there.copy_(INDICES),
        lambda there: there[[0, 1]],
        lambda there: there[:, [0, 1]],
        lambda there: there[np.arange(2)],
        lambda there: there.__setitem__([0, 1], 1.0),
        lambda there: there[INDICES],
        lambda there: there * SCALAR,
        lambda there: there.sum().item(),
        lambda there: there[there > 0],
        lambda there: there.cpu(),
    ],
)
def test_what_waits_for_the_host_or_copies_from_it_is_seen(step):
    there = torch.ones(3, 2, device="meta")
    with NoHostTensors(), NoHostData():
        assert (there[:1, 0] + 1.0).sum().device.type == "meta"  # what may be
        with pytest.raises(Exception, match=r"on the host|item\(\)|nonzero|no data"):
            step(there)


def test_a_graph_is_the_step_itself_without_a_gpu():
    def step():
        raise AssertionError

    assert captured(step, {}, {}, CPU) is step


def test_a_changed_configuration_starts_anew_and_never_takes_a_foreign_checkpoint(
    noise_file, tmp_path, fast, monkeypatch, capsys
):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    changed = fast | {"batch": 5}
    fresh = run(noise_file, tmp_path / "fresh", changed)
    capsys.readouterr()
    assert (run(noise_file, tmp_path, changed) / "metrics.csv").read_bytes() == (fresh / "metrics.csv").read_bytes()
    assert f"starts anew; {checkpoint} is of other settings" in capsys.readouterr().err
    identity = training.job_identity({"pjap": changed | {"sampler": "pjap"}}, [0], STAMP, CPU)
    checkpoint.rename(checkpoint.with_name(f"{identity[:16]}.safetensors"))
    with pytest.raises(BenchError, match=r"another configuration.*delete it"):
        run(noise_file, tmp_path, changed)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"x" * 500])
def test_a_broken_checkpoint_is_refused(noise_file, tmp_path, fast, monkeypatch, damage):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(BenchError, match="not a readable checkpoint"):
        run(noise_file, tmp_path, fast)


def test_the_tables_of_a_checkpoint_are_no_header(noise_file, tmp_path, fast, monkeypatch):
    """A header takes 100 MB at most, which the tables of a large stack exceed."""
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    with safe_open(checkpoint, framework="pt") as file:
        assert list(file.metadata()) == ["identity"]
        tables = json.loads(file.get_tensor("progress").numpy().tobytes())
    assert len(json.dumps(tables)) > 1000
    damaged = training.safetensors.torch.load_file(checkpoint) | {"progress": torch.zeros(9, dtype=torch.uint8)}
    with safe_open(checkpoint, framework="pt") as file:
        checkpoint.write_bytes(training.safetensors.torch.save(damaged, metadata=file.metadata()))
    with pytest.raises(BenchError, match="not a readable checkpoint"):
        run(noise_file, tmp_path, fast)


def test_intervals_that_no_log_row_meets_are_refused(noise_file, tmp_path, fast):
    with pytest.raises(BenchError, match=r"evaluation\.every 30 is not a multiple of log_every 20"):
        run(noise_file, tmp_path, fast | {"log_every": 20, "evaluation": fast["evaluation"] | {"every": 30}})


def test_a_checkpoint_that_lacks_a_tensor_is_refused(noise_file, tmp_path, fast, monkeypatch):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != "stack.state.critic"}  # noqa: SIM118
    checkpoint.write_bytes(training.safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(BenchError, match="has not the tensors"):
        run(noise_file, tmp_path, fast)


def test_a_checkpoint_with_a_tensor_of_another_type_is_refused(noise_file, tmp_path, fast, monkeypatch):
    checkpoint = interrupted(noise_file, tmp_path, fast, monkeypatch)
    with safe_open(checkpoint, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors["stack.state.critic"] = tensors["stack.state.critic"].double()
        checkpoint.write_bytes(training.safetensors.torch.save(tensors, metadata=file.metadata()))
    with pytest.raises(BenchError, match="has not the tensors"):
        run(noise_file, tmp_path, fast)


def interrupted(noise_file, tmp_path, settings, monkeypatch):
    """Leaves the checkpoint of a stack that was interrupted after its last update."""
    with monkeypatch.context() as patch:
        patch.setattr(training._Job, "write", lambda job, output: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(noise_file, tmp_path, settings)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    return checkpoint


def poison(monkeypatch, runs, update_of_poison, tensor="critic"):
    """Makes a tensor of some runs NaN before an update; returns the list of updates that were made."""
    update, made = Stack._update, []

    def poisoned(stack):
        made.append(stack.updates + 1)
        if made[-1] == update_of_poison:
            stack._state[tensor][runs] = float("nan")
        return update(stack)

    monkeypatch.setattr(Stack, "_update", poisoned)
    return made


@pytest.mark.parametrize(("evaluated", "saved"), [(30, 20), (20, 40)])  # every so many updates: which reads first
def test_a_diverged_run_is_named_and_the_others_finish(noise_file, tmp_path, fast, monkeypatch, evaluated, saved):
    settings = fast | {"evaluation": fast["evaluation"] | {"every": evaluated}}

    def trained(name):
        return run(noise_file, tmp_path / name, settings, seeds=(0, 1), arms=("uniform", "pjap"), checkpoint_every=saved)

    clean = trained("clean")
    poison(monkeypatch, [3], 17)
    with pytest.raises(BenchError, match=r"noise/uniform\+pjap.*pjap seed 1 at update 17"):
        trained("ill")
    assert not (tmp_path / "ill" / "out").exists()
    updates = poison(monkeypatch, [3], 17)
    monkeypatch.setattr(evaluation, "evaluate", None)
    with pytest.raises(BenchError, match=r"pjap seed 1 at update 17.*delete .*\.safetensors"):
        trained("ill")
    assert not updates  # neither trained nor evaluated once more
    (stopped,) = (tmp_path / "ill" / "checkpoints").glob("*.stopped")
    for name, kept_until in zip(TABLES, (10, 0), strict=True):
        kept, expected = (pd.read_csv(folder / name) for folder in (stopped, clean))
        ill = (expected["arm"] == "pjap") & (expected["seed"] == 1)
        assert kept.loc[(kept["arm"] == "pjap") & (kept["seed"] == 1), "update"].max() == kept_until
        others = kept[(kept["arm"] != "pjap") | (kept["seed"] != 1)].reset_index(drop=True)
        assert others.equals(expected[~ill].reset_index(drop=True)), name


def test_a_stack_ends_when_all_its_runs_have_diverged(noise_file, tmp_path, fast, monkeypatch):
    updates = poison(monkeypatch, [0], 12)
    with pytest.raises(BenchError, match="seed 0 at update 12"):
        run(noise_file, tmp_path, fast)
    assert max(updates) == 20
    assert not list((tmp_path / "checkpoints").glob("*.stopped"))
    with pytest.raises(BenchError, match="seed 0 at update 12"):
        run(noise_file, tmp_path, fast)
    assert max(updates) == 20


@pytest.mark.parametrize("last", [10, 40])  # before a row that is read later, at the end
def test_parameters_that_diverge_in_the_last_update_are_no_success(noise_file, tmp_path, fast, monkeypatch, last):
    update = Stack._update

    def broken(stack):
        update(stack)
        if stack.updates + 1 == last:
            stack._state["policy"][0, 0] = float("inf")

    monkeypatch.setattr(Stack, "_update", broken)
    with pytest.raises(BenchError, match=rf"seed 0 at update {last} \(parameters\)"):
        run(noise_file, tmp_path, fast)
    assert not (tmp_path / "out").exists()


def test_full_disk_while_saving_a_checkpoint(noise_file, tmp_path, fast, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.Path, "write_bytes", full)
    with pytest.raises(BenchError, match=r"safetensors: cannot be written \(No space left on device\)"):
        run(noise_file, tmp_path, fast)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_stack_that_is_killed_by_the_system_goes_on(noise_file, tmp_path, settings, label):
    """Through the command line, with evaluations in a process of their own."""
    settings = settings | {"updates": 200, "evaluation": {"every": 20, "episodes": 1, "final_episodes": 1}}
    command = [sys.executable, "-m", "pjap_bench", "train", "--dataset", str(noise_file), "--seeds", "0"]
    command += ["--settings", json.dumps({"pjap": settings}), "--label", label, "--checkpoint-every", "20", "--evaluators", "1"]

    def start(folder):
        arguments = ["--checkpoints", str(tmp_path / folder / "checkpoints"), "--output", str(tmp_path / folder / "out")]
        return subprocess.Popen([*command, *arguments], cwd=config.ROOT, stderr=subprocess.PIPE, text=True)

    assert start("whole").wait() == 0
    killed = start("killed")
    while killed.poll() is None and not list(tmp_path.glob("killed/checkpoints/[!.]*.safetensors")):
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "killed" / "out").exists(), "too fast to be killed: raise `updates`"
    resumed = start("killed")
    _, said = resumed.communicate()
    assert resumed.returncode == 0
    assert "resumed at update" in said
    for name in BYTES:
        assert (tmp_path / "killed/out" / name).read_bytes() == (tmp_path / "whole/out" / name).read_bytes(), name


def test_processes_of_their_own_play_the_same_evaluations(tmp_path, settings):
    """Real episodes, which end at different steps."""
    path = toys.write(tmp_path / "toy.h5", toys.make("three_agent_hopper", lengths=(30, 20, 25)))
    given = settings | {"updates": 40, "evaluation": {"every": 10, "episodes": 3, "final_episodes": 5}}
    alone, beside = (
        run(path, tmp_path / str(count), given, seeds=(0, 1), arms=("uniform", "pjap"), evaluators=count) for count in (0, 2)
    )
    for name in BYTES:
        assert (alone / name).read_bytes() == (beside / name).read_bytes(), name
    assert pd.read_csv(alone / "evaluations.csv").groupby(["seed", "update"])["return"].nunique().min() > 1


def test_a_time_budget_has_an_exit_code_of_its_own(noise_file, tmp_path, settings, label):
    settings = settings | {"evaluation": {"every": 30, "episodes": 1, "final_episodes": 1}}
    command = [sys.executable, "-m", "pjap_bench", "train", "--dataset", str(noise_file), "--seeds", "0", "--label", label]
    command += ["--settings", json.dumps({"pjap": settings}), "--checkpoint-every", "20", "--stop-after", "0.00001"]
    command += ["--checkpoints", str(tmp_path / "checkpoints"), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert "start it again to go on" in done.stderr


@pytest.mark.parametrize(
    ("settings", "seeds", "message"),
    [
        ("{}", ["0"], "no settings by arm"),
        ('{"a": 1}', ["0"], "no settings by arm"),
        ('{"a": {}}', ["1", "1"], "a seed is there twice"),
    ],
)
def test_arguments_that_cannot_be(noise_file, tmp_path, label, capsys, settings, seeds, message):
    command = ["train", "--dataset", str(noise_file), "--settings", settings, "--label", label, "--checkpoint-every", "20"]
    command += ["--checkpoints", str(tmp_path / "c"), "--output", str(tmp_path / "out"), "--seeds", *seeds]
    assert main(command) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["-1", "nan", "inf", "soon"])
def test_a_budget_that_is_no_time(capsys, minutes):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--stop-after", minutes])
    assert f"{minutes} is no number of minutes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [("cpu", "tf32", "a CPU has no tf32"), ("cuda", "float32", "no CUDA device is to be had")],
)
def test_a_device_that_is_not_there(noise_file, tmp_path, fast, monkeypatch, device, precision, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match=message):
        run(noise_file, tmp_path, fast | {"precision": precision}, device=device)


def test_a_gpu_without_a_compiler_for_its_kernels(noise_file, tmp_path, fast, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "triton.runtime", None)
    with pytest.raises(BenchError, match=r"Triton compiles nothing here.*install a C compiler"):
        run(noise_file, tmp_path, fast | {"precision": "tf32_fused"}, device="cuda")


def test_a_device_without_room_for_the_stack(noise_file, tmp_path, fast, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training, "Stack", full)
    with pytest.raises(BenchError, match=r"CUDA out of memory.*lower jobs.runs_per_stack"):
        run(noise_file, tmp_path, fast)


PAPER = config.load("paper", {"jobs": {"device": "cuda", "runs_per_stack": 8}})  # as docs/training.md proposes for a GPU
STACKS = {stack.name: (dataset, stack) for dataset in PAPER["experiments"] for stack in config.stacks(PAPER, dataset)}


@pytest.mark.parametrize("name", [name for name in STACKS if "/seeds-0-" in name])  # others have as many seeds or fewer
def test_a_checkpoint_of_the_papers_size_is_small(noise_dataset, monkeypatch, name):
    """Every stack that the configuration gives, on 2,000,000 transitions: 60 MiB at most."""
    make, (dataset, proposed) = samplers.make, STACKS[name]
    monkeypatch.setattr(samplers, "make", lambda sampler, runs, starts, *more: make(sampler, runs, 2_000_000, *more))
    arms = {arm: config.training_settings(PAPER, dataset, arm) | {"uniform_sequences": 1} for arm in proposed.arms}
    stack, settings = Stack(noise_dataset, arms, [0], CPU), next(iter(arms.values()))  # of one seed: all grows with their number
    tensors = sum(value.numel() * value.element_size() for value in stack.tensors().values())
    streams = sum(len(each.get_state()) for each in stack.generators().values())
    pending = 10 * stack.policy.numel() * 4  # evaluations that are under way
    metrics = settings["updates"] // settings["log_every"] * (len(stack._recorded) + 3 + 8)  # rows of a run; 8 behaviour policies
    evaluations = settings["updates"] // settings["evaluation"]["every"] * settings["evaluation"]["episodes"]
    rows = len(stack.runs) * (metrics + evaluations)
    assert len(proposed.seeds) * (tensors + streams + pending + 100 * rows) < 60 * 2**20  # bytes of a row as JSON


def test_a_dataset_shorter_than_a_sequence(noise_file, tmp_path, fast):
    with pytest.raises(BenchError, match="fewer than one sequence"):
        run(noise_file, tmp_path, fast | {"sequence": 3001})


def test_rewards_that_are_no_numbers_never_reach_the_trainer(noise_file, tmp_path, fast):
    with h5py.File(noise_file, "r+") as file:
        file["rewards"][7] = np.nan
    files.write_json(hdf5.summary_path(noise_file), {"sha256": files.sha256(noise_file)})
    with pytest.raises(BenchError, match="rewards holds values that are not finite"):
        run(noise_file, tmp_path, fast)


def test_zero_variance_features_do_not_divide_by_zero(noise_dataset, settings):
    flat = dataclasses.replace(noise_dataset, physics=np.ones_like(noise_dataset.physics))
    data = SequenceData(flat, settings)
    batch = data.batch(torch.tensor([[0, 5]]))
    assert (batch.observations == 0).all()
    assert (batch.states == 0).all()


@pytest.mark.parametrize(("agents", "action"), [(1, 1), (1, 3), (2, 1), (100, 2)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_data_that_never_changes_trains_any_number_of_agents_to_finite_results(
    tmp_path, fast, monkeypatch, algorithm, agents, action
):
    sizes = {"agents": agents, "action_size": action, "observation_size": 4, "state_size": 5}
    monkeypatch.setitem(ENVIRONMENTS, "flat", type("Flat", (MujocoTask,), sizes | {"name": "flat"}))
    noise = toys.make("flat", "observations", lengths=(30, 20, 25))
    flat = {name: np.full_like(getattr(noise, name), 0.5) for name in ("observations", "states", "actions", "rewards")}
    path = toys.write(tmp_path / "flat.h5", dataclasses.replace(noise, **flat))
    arms = [name for name in SAMPLERS if fits(algorithm, name)]
    out = run(path, tmp_path, fast | {"algorithm": algorithm, "updates": 20}, arms=arms)
    tables = [pd.read_csv(out / name) for name in TABLES]
    assert np.isfinite(tables[0]["value"]).all() and np.isfinite(tables[1]["return"]).all()
    assert set(tables[0]["arm"]) == set(arms) and (tables[1]["kind"] == "final").any()
    with safe_open(out / "policies.safetensors", framework="np") as file:
        assert all(np.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("clip", [True, False])
def test_actions_outside_are_clipped_only_where_the_settings_say_so(noise_dataset, settings, clip):
    wide = dataclasses.replace(noise_dataset, actions=noise_dataset.actions * 1.5)
    before = wide.actions.copy()
    found = SequenceData(wide, settings | {"clip_actions": clip}).batch(torch.arange(0, 2990, 5)[None]).actions  # all steps
    expected = torch.from_numpy(before[:2990]).view(-1, 5, 2, 3).transpose(0, 1)[None]  # [R, T, B, N, A]
    assert (expected.abs() > 1).any() and torch.equal(found, expected.clamp(-1, 1) if clip else expected)
    assert np.array_equal(wide.actions, before)


@pytest.mark.parametrize("standardise", [True, False])
def test_masked_observations_are_zero_in_training_and_in_evaluation(noise_dataset, settings, standardise):
    data = SequenceData(noise_dataset, settings | {"mask_unbounded": True, "standardise": standardise})
    seen = data.batch(torch.tensor([[0, 5]])).observations
    (hidden,) = data.environment.unbounded_observations
    assert (seen[..., hidden] == 0).all()
    assert (seen.flatten(0, 3).std(dim=0) > 0).sum() == 12
    observed = torch.as_tensor(noise_dataset.observed()[0][:5])
    assert torch.allclose(data.normaliser(observed), seen[0, :5, 0])
