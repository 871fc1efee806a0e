"""The benchmark of a GPU, tiny, on every device there is: its rows, what is counted, what a precision changes."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from pjap_bench import config, kernels, products
from pjap_bench.__main__ import main
from pjap_bench.benchmarks import gpu, table, training
from pjap_bench.errors import BenchError

TINY = gpu.Effort(
    precisions=("float32", "tf32", "tf32_fused"),
    runs=(4, 1),
    repetitions=1,
    seconds=0.01,
    updates=2,
    transitions=2000,
    compared_runs=2,
    compared_updates=3,
    square=16,
    copied=1000,
    kernels=3,
)


@pytest.fixture(autouse=True)
def strict_afterwards():
    yield
    products.set_up(1)


def a_bench(settings: dict, device: torch.device, **effort) -> gpu.Bench:
    return gpu.Bench(settings, training.random_dataset(2000), device, TINY._replace(**effort))


def test_every_row_is_there(tiny_settings, device):
    found = pd.DataFrame(gpu.measure(tiny_settings, device.type, TINY))
    assert np.isfinite(found[["median", "min", "max"]]).all(axis=None)
    place = found.set_index(["name", "work", "at"])["median"]
    for preset in ("preprint", "submission"):
        for work in (f"{preset}, {precision}" for precision in TINY.precisions):
            for runs in (4, 1):
                rate = place["updates of all runs together", work, runs]
                assert place["40 runs of 500,000 updates", work, runs] == pytest.approx(40 * 500_000 / rate / 3600)
                for what in ("FLOP", "B"):
                    count, achieved = (place[f"G{what} {of}", work, runs] for of in ("of an update and run", "a second"))
                    assert achieved == pytest.approx(count * rate) and count > 0
            again = found[found["work"].str.startswith(f"{preset}, float32: ") & (found["name"] == "difference to float32")]
            assert len(again) == 6 and (again["max"] == 0).all()
        same = [place["GFLOP of an update and run", f"{preset}, {precision}", 4] for precision in TINY.precisions]
        assert same == [same[0]] * 3
    counts = found["name"].value_counts()
    assert not found[found["name"] == "difference to float32"]["work"].str.contains("fused").any()  # other draws
    expected = {"share of the kernels' time": 6, "ceiling of products": 6, "ceiling of memory": 1, "updates of eager": 4}
    assert {name: counts[name] for name in expected} == expected
    assert ("peak memory of the device" in counts) == (device.type == "cuda")
    assert found["at_least"].isna().all() and found["at_most"].isna().all()  # aims are of 40 runs


def test_the_aims_are_of_all_runs_in_fused_tf32_in_one_stack_and_in_two(tiny_settings, device, monkeypatch):
    monkeypatch.setattr(gpu, "RUNS", 4)
    bench = a_bench(tiny_settings, device)
    works = [(preset, precision, runs) for preset in gpu.AIMS for precision in TINY.precisions for runs in (4, 2, 1)]
    rows = [row for work in works for row in gpu._speed(bench, *work)]
    aims = [(row["work"], row["at"], row["at_most"]) for row in rows if row["at_most"]]
    assert aims == [
        *(("preprint, tf32_fused", runs, 1.0) for runs in (4, 2)),
        *(("submission, tf32_fused", runs, 3.0) for runs in (4, 2)),
    ]


def test_half_of_the_runs_have_pjap(tiny_settings, device):
    bench = a_bench(tiny_settings, device)
    assert bench.stack("preprint", "float32", 4).runs == [(arm, seed) for arm in gpu.ARMS for seed in (0, 1)]
    assert bench.stack("preprint", "float32", 1).runs == [("maddpg_cql_pjap", 0)]


def test_no_gpu(tiny_settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match="no CUDA device"):
        list(gpu.measure(tiny_settings))


def test_a_gpu_that_compiles_no_kernels(tiny_settings, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "triton.runtime", None)
    measured = []
    monkeypatch.setattr(gpu, "_speed", lambda bench, preset, precision, runs: measured.append(precision) or iter([{}]))
    next(gpu.measure(tiny_settings, effort=TINY._replace(precisions=("tf32_fused", "tf32"))))
    assert measured == ["tf32"]
    assert "left out tf32_fused: training.precision: Triton compiles nothing here" in capsys.readouterr().err


def test_whoever_stops_it_keeps_the_rows_so_far(tiny_settings, tmp_path, monkeypatch):
    def stopped(settings):
        yield table.row("a", "first", [1.0], "s")
        yield table.row("a", "second", [2.0], "s")
        assert len(pd.read_csv(tmp_path / "gpu.csv")) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "measure", stopped)
    monkeypatch.setattr(config, "load", lambda scale: tiny_settings)
    with pytest.raises(KeyboardInterrupt):
        main(["benchmark", "--only", "gpu", "--output", str(tmp_path / "gpu.csv")])
    assert list(pd.read_csv(tmp_path / "gpu.csv")["work"]) == ["first", "second"]
    assert json.loads((tmp_path / "gpu.json").read_text())["code"]
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.csv", "gpu.json"}


def test_products_and_bytes_are_counted(device):
    left, right = torch.randn(5, 3, 4, device=device), torch.randn(5, 4, 2, device=device)
    table_, index = torch.randn(1000, 7, device=device), torch.tensor([3, 5], device=device)

    def step():
        left.transpose(1, 2).detach()  # views move nothing
        torch.bmm(left, right)
        left[:, :1].expand(-1, 50, -1).neg()
        table_[index]
        table_.index_select(0, index)
        table_.index_copy_(0, index, torch.ones(2, 7, device=device))

    flops, moved = gpu.counted(step)
    assert flops == 2 * 5 * 3 * 4 * 2
    product, expanded = 60 + 40 + 30, 60 + 5 * 50 * 4  # numbers; of an expanded tensor what lies there
    picked, written = 2 * (2 * 14 + 2 * 2), 14 + 2 * 14 + 14 + 2 * 2  # an index has two numbers' bytes
    assert moved == 4 * (product + expanded + picked + written)


def test_arguments_of_kernels_are_counted(monkeypatch):
    class Kernel:
        def __init__(self, module):
            self.fn, self.pre_run_hooks = SimpleNamespace(__module__=f"{kernels.__name__}.{module}"), []

        def add_pre_run_hook(self, hook):
            self.pre_run_hooks.append(hook)

        def __call__(self, *arguments, **constants):
            for hook in self.pre_run_hooks:
                hook(*arguments, **constants)

    one, picking = Kernel("one"), Kernel("proportional")
    module = SimpleNamespace(_one=one, _again=one, _imported=picking, other={})
    monkeypatch.setitem(sys.modules, one.fn.__module__, module)
    tensors = torch.zeros(3, 5), torch.zeros(7, dtype=torch.int64)
    steps = [lambda: one(*tensors, 1000, BLOCK=16), lambda: picking(*tensors)]
    assert [gpu.counted(step) for step in steps] == [(0, 3 * 5 * 4 + 7 * 8), (0, 0)]
    assert one.pre_run_hooks == []


def test_gradients_are_counted(device):
    weight = torch.randn(1, 4, 2, device=device, requires_grad=True)
    inputs = torch.randn(1, 3, 4, device=device)
    flops, moved = gpu.counted(lambda: torch.autograd.grad(torch.bmm(inputs, weight).sum(), weight))
    assert flops == 2 * (2 * 3 * 4 * 2)
    assert moved > 4 * (12 + 8 + 6)


def test_the_papers_update_is_as_large_as_its_products(tiny_settings):
    """About 10 GFLOP with critics of width 128, of which the critics' hidden layers are most."""
    settings = config.load("paper")
    bench = a_bench(settings, torch.device("cpu"))
    flops, moved = gpu.counted(bench.stack("preprint", "float32", 1)._update)
    hidden = 3 * 2 * (2 * 19 * 64 * 31 * 128 * 128)  # a layer forward and two gradients, twins
    assert hidden < flops < 1.6 * hidden
    assert moved > 10 * 4 * 2 * 19 * 64 * 31 * 128


def test_what_a_precision_changes(tiny_settings, device, monkeypatch):
    """On a CPU products of rounded matrices stand for tf32."""
    if device.type == "cuda":  # which may multiply narrower matrices in full precision
        for preset in tiny_settings["presets"].values():
            preset |= {"critic_width": 128}
    else:
        exact = torch.bmm

        def rounded(left, right):
            return exact(*(((each.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) for each in (left, right)))

        monkeypatch.setattr(
            products, "set_up", lambda threads, precision: setattr(torch, "bmm", rounded if precision == "tf32" else exact)
        )
        monkeypatch.setattr(torch, "bmm", exact)  # put back in the end
    bench = a_bench(tiny_settings, device, compared_runs=4, compared_updates=30)
    one, same, other = (gpu.trained(bench, "preprint", precision) for precision in ("float32", "float32", "tf32"))
    assert one["td_loss"].shape == (30, 4) and one["policy"].shape[1] == 4
    assert all(max(values) == 0 for values in gpu.differences(one, same).values())
    changed = gpu.differences(one, other)
    assert len(changed["td_loss"]) == 120 and len(changed["policy"]) == 4
    assert all(0 < np.median(values) < 10 for values in changed.values())
