"""A table of measured numbers, its rows and how it is written.

A row is {"name", "work", "at", "unit", "repetitions", "median", "min", "max", "at_least", "at_most"}: what is measured, of
which work, at which place of the axis where it is one of a series (else None), what was found over the repetitions, and
what the specification asks of the median (or None).
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pjap_bench.files import write_json, written_beside


def row(
    name: str,
    work: str,
    values: list[float],
    unit: str,
    at: int | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> dict:
    """A row of the table, from the values of all repetitions."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    measured = {"name": name, "work": work, "at": at, "unit": unit, "repetitions": len(values)}
    return measured | found | {"at_least": at_least, "at_most": at_most}


def timed(name: str, work: str, run: Callable[[], object], repetitions: int, aim: float | None) -> dict:
    """A row in seconds: `run` is called `repetitions` times.

    Args:
        work: what one call does, for the table.
        aim: seconds that the specification asks for, if it does.
    """
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return row(name, work, seconds, "s", at_most=aim)


def write(rows: list[dict], stamp: dict, output: Path) -> str:
    """Writes the table to `output` (.csv) with its stamp beside it (.json), and returns it as text."""
    table = pd.DataFrame(rows).astype({"at": "Int64"})
    with written_beside(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4g", lineterminator="\n")
    write_json(output.with_suffix(".json"), stamp)
    as_text = table.astype({"at": str}).replace({"at": "<NA>"}, "")
    return as_text.to_string(index=False, float_format="%.4g", na_rep="")
