"""Datasets: a whole one collected from its pinned policies, and read into the form in which it trains."""

import functools
import tempfile
from pathlib import Path

from pjap_bench import config
from pjap_bench.benchmarks import table
from pjap_bench.datasets import cards, collection, hdf5
from pjap_bench.datasets.sequences import SequenceData


def measure(settings: dict) -> list[dict]:
    """Rows of `table.timed`.

    Args:
        settings: the whole configuration.
    """
    rows = []
    training = config.training_settings(settings, "good", "maddpg_cql")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("poor", "medium", "good"):
            path, episodes = Path(folder) / f"{name}.h5", cards.load(name)["episodes_per_policy"]
            work = f"{4 * episodes:,} episodes of {name}, two processes"
            collect = functools.partial(collection.collect, name, episodes, path, {}, processes=2)
            rows.append(table.timed("collect a dataset", work, collect, 1, 40))  # the three in two minutes
        work = f"{hdf5.read(path).transitions:,} transitions of good, from the file"
        rows.append(table.timed("read into training form", work, lambda: SequenceData(hdf5.read(path), training), 3, 2))
    return rows
