"""Figures: each `figureN.draw(results, stamp)` reads one scale's results folder and returns a matplotlib figure."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from pjap_bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Imported only when drawn, so that a figure does not depend on the others' sources.
FIGURES = {f"figure{number}": f"pjap_bench.figures.figure{number}" for number in range(1, 7)}


def draw(name: str, results: str | Path, stamp: dict) -> "Figure":
    """Draws figure `name` from the results folder of a scale (such as results/quick).

    Raises:
        BenchError: there is no such figure, or its data is missing or broken.
    """
    if name not in FIGURES:
        raise BenchError(f"unknown figure '{name}'", do=f"choose one of {', '.join(FIGURES)}")
    return importlib.import_module(FIGURES[name]).draw(Path(results), stamp)
