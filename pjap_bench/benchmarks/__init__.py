"""What things cost, measured: `make benchmark`. Each part has a `measure(settings)` that gives rows of the table.

Times on shared machines are noisy: the rows of one table were measured in one run, and medians of repetitions count.
"""

from collections.abc import Iterable, Iterator
from types import ModuleType

import torch

from pjap_bench.provenance import processor

PARTS = ("games", "notebook", "datasets", "containers", "training", "gpu")  # modules beside this


def measure(settings: dict, parts: Iterable[str]) -> Iterator[dict]:
    """The rows (see `table`) of some of `PARTS`, with the part before them, as they are measured.

    Args:
        settings: the whole configuration.
    """
    for part in parts:
        for row in _module(part).measure(settings):
            yield {"part": part} | row


def _module(part: str) -> ModuleType:
    """Imported when it is asked for, since a lent machine with a GPU has not the packages of all, and by its name, since the
    table's digest follows imports."""
    match part:
        case "games":
            from pjap_bench.benchmarks import games as found
        case "notebook":
            from pjap_bench.benchmarks import notebook as found
        case "datasets":
            from pjap_bench.benchmarks import datasets as found
        case "containers":
            from pjap_bench.benchmarks import containers as found
        case "training":
            from pjap_bench.benchmarks import training as found
        case _:
            from pjap_bench.benchmarks import gpu as found
    return found


def devices(parts: Iterable[str]) -> dict[str, str]:
    """What trains, for the table's stamp."""
    found = {"device": f"One core of {processor()}"}
    return found | {"gpu": torch.cuda.get_device_name()} if "gpu" in parts and torch.cuda.is_available() else found
