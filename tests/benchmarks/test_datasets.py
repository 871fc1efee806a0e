"""The benchmark of datasets, tiny: every figure that was asked for has a row, and what it measures with is right."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from pjap_bench import config
from pjap_bench.benchmarks import datasets
from pjap_bench.datasets import hdf5, vault
from pjap_bench.environments import TwoAgentHalfCheetah
from tests.datasets import toys


def test_every_figure_has_a_row_with_what_is_asked(monkeypatch):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 20)
    rows = datasets.measure(config.load("paper"), episodes=2)
    found = {}
    for row in rows:
        found.setdefault((row["name"], row["at_most"]), []).append(row)
    asked = {
        ("collect a dataset", None): 3,
        ("mix a dataset", None): 1,
        ("all four datasets", 120): 1,
        ("off the published mean", 5): 3,
        ("off the published sd", 15): 3,
        ("size of a file", 92.4): 1,
        ("convert a vault", 60): 1,
        ("read into training form", 2): 4,
        ("most memory of reading, in sizes of the data read", 2): 4,
    }
    assert {key: len(of_key) for key, of_key in found.items()} == asked
    assert all(np.isfinite(row["median"]) and row["median"] > 0 for row in rows)
    assert found["collect a dataset", None][2]["work"] == "8 episodes of good, two processes"
    assert found["convert a vault", 60][0]["work"].startswith("160 transitions")
    parts = [row["median"] for row in rows[:4]]
    assert found["all four datasets", 120][0]["median"] == pytest.approx(sum(parts))
    assert all(row["median"] > 50 for row in found["off the published mean", 5] if "good" in row["work"]), (
        "20 steps return little"
    )


@pytest.mark.parametrize("layout", hdf5.LAYOUTS)
def test_the_vault_that_is_converted_is_the_dataset(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(TwoAgentHalfCheetah, "horizon", 10)
    dataset = toys.make(layout=layout)
    datasets.write_vault(tmp_path / "toy.vlt" / "Good", dataset)
    found = vault.read_vault(tmp_path / "toy.vlt", "Good", "two_agent_halfcheetah", actions="refuse")
    for name in ("lengths", "terminated", "actions", "rewards"):
        assert np.array_equal(getattr(found, name), getattr(dataset, name)), name
    for values, expected in zip(found.observed(), dataset.observed(), strict=True):
        assert np.array_equal(values, expected)


class Wasteful:
    """Data of 40 MB for which 360 MB are needed."""

    def __init__(self, path, settings):
        needed = np.ones(40_000_000)
        self.values = torch.from_numpy(needed[:10_000_000]).float()


def memory_of_wasteful_reading() -> float:
    datasets._read = Wasteful  # in a process of its own
    return datasets.memory_of_reading("a file", {})


def test_memory_of_reading_counts_what_is_needed_at_once():
    with ProcessPoolExecutor(1, mp_context=datasets._CLEAN) as fresh:
        assert fresh.submit(memory_of_wasteful_reading).result() == pytest.approx(9, rel=0.1)
