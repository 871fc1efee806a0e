"""What things cost, measured: `make benchmark`. Each part has a `measure(settings)` that gives rows of the table.

Times on shared machines are noisy: the rows of one table were measured in one run, and medians of repetitions count.
"""

import functools
from collections.abc import Iterable

import torch

from pjap_bench.benchmarks import containers, datasets, games, notebook, training
from pjap_bench.provenance import processor

PARTS = {
    "games": games.measure,
    "notebook": notebook.measure,
    "datasets": datasets.measure,
    "containers": containers.measure,
    "training": training.measure,
}


def measure(settings: dict, parts: Iterable[str], device: str) -> list[dict]:
    """All rows (see `table`) of some of `PARTS`, with the part before them.

    Args:
        settings: the whole configuration.
        device: of training: cpu | cuda.
    """
    known = PARTS | {"training": functools.partial(training.measure, device=device)}
    return [{"part": part} | row for part in parts for row in known[part](settings)]


def device_name(device: str) -> str:
    """What trains, for the table's stamp."""
    return torch.cuda.get_device_name() if device == "cuda" else f"One core of {processor()}"
