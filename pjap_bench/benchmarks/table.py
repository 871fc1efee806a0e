"""A table of measured times, its rows and how it is written."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pjap_bench.files import write_json, written_beside


def timed(name: str, work: str, run: Callable[[], object], repetitions: int, aim: float) -> dict:
    """A row: `run` is called `repetitions` times.

    Args:
        work: what one call does, for the table.
        aim: seconds that the specification asks for.

    Returns:
        {"name", "work", "repetitions", "median_s", "min_s", "max_s", "aim_s"}.
    """
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    found = {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds), "aim_s": aim}
    return {"name": name, "work": work, "repetitions": repetitions} | found


def write(rows: list[dict], stamp: dict, output: Path) -> str:
    """Writes the table to `output` (.csv) with its stamp beside it (.json), and returns it as text."""
    table = pd.DataFrame(rows)
    with written_beside(output) as temporary:
        table.to_csv(temporary, index=False, float_format="%.3f", lineterminator="\n")
    write_json(output.with_suffix(".json"), stamp)
    return table.to_string(index=False, float_format="%.2f")
