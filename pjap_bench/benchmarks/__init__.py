"""What things cost, measured: `make benchmark`. Each part has a `measure(settings)` that gives rows of the table.

Times on shared machines are noisy: the rows of one table were measured in one run, and medians of repetitions count.
"""

from collections.abc import Iterable, Iterator

import torch

from pjap_bench.benchmarks import containers, datasets, games, gpu, notebook, training
from pjap_bench.provenance import processor

PARTS = {
    "games": games.measure,
    "notebook": notebook.measure,
    "datasets": datasets.measure,
    "containers": containers.measure,
    "training": training.measure,
    "gpu": gpu.measure,  # only when it is named
}


def measure(settings: dict, parts: Iterable[str]) -> Iterator[dict]:
    """The rows (see `table`) of some of `PARTS`, with the part before them, as they are measured.

    Args:
        settings: the whole configuration.
    """
    for part in parts:
        for row in PARTS[part](settings):
            yield {"part": part} | row


def devices(parts: Iterable[str]) -> dict[str, str]:
    """What trains, for the table's stamp."""
    found = {"device": f"One core of {processor()}"}
    return found | {"gpu": torch.cuda.get_device_name()} if "gpu" in parts and torch.cuda.is_available() else found
