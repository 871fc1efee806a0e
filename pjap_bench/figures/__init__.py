"""Figures: each module's `draw(results, stamp)` reads one scale's results folder and returns a matplotlib figure."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from pjap_bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figure N as in the paper, and its companion over seeds; the map of PJAP's robustness; the arms of Figure 6
# compared. Imported only when drawn, so that a
# figure does not depend on the others' sources.
FIGURES = {
    f"figure{number}{kind}": f"pjap_bench.figures.figure{number}{kind}" for number in range(1, 6) for kind in ("", "_seeds")
} | {name: f"pjap_bench.figures.{name}" for name in ("robustness", "robustness_beyond", "figure6", "comparisons")}

# Those of runs: drawn from the statistics, and told the settings of the runs.
OF_STATISTICS = ("figure6", "comparisons")

# With fewer seeds no interval over seeds is shown, as no verdict rests on one: workflow/claims.yaml's `minimum_seeds`.
MINIMUM_SEEDS = 5

# Claims with a small figure of their evidence, see `pjap_bench.figures.claims`.
CLAIMS = ("C1", "C2a", "C2b", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11")

# Figure 6 as published, read from its picture (error about 0.005).
PUBLISHED_FIGURE6 = (
    "The paper's picture, which does not say of which dataset it is, reads: normalised return of MADDPG+CQL 0.67 (median and "
    "mean, 0.44 to 0.84) and 0.79 (IQM, 0.42 to 0.87), with PJAP 0.97 (all three, 0.965 to 0.975); distance after 500,000 "
    "updates 0.095 to 0.10 without PJAP and 0.08 with it."
)


def draw(name: str, results: str | Path, stamp: dict) -> "Figure":
    """Draws figure `name` from the results folder of a scale (such as results/quick).

    Raises:
        BenchError: there is no such figure, or its data is missing or broken.
    """
    if name not in FIGURES:
        raise BenchError(f"unknown figure '{name}'", do=f"choose one of {', '.join(FIGURES)}")
    return importlib.import_module(FIGURES[name]).draw(Path(results), stamp)
