"""The picture of what training costs: an update against runs in a stack, size of the dataset and batch."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pjap_bench.benchmarks import training
from pjap_bench.figures import style

PANELS = {
    training.RUNS: "Runs in a stack",
    training.TRANSITIONS: "Transitions in the dataset",
    training.BATCH: "Sequences in a batch",
}
LOOKS = {
    training.EAGER: {"color": style.NEUTRAL_COLOUR, "marker": "s", "linestyle": "--", "label": "eager PyTorch, without PJAP"},
    training.OURS: {"color": style.COLOURS["maddpg_cql"], "marker": "o", "label": "ours, without PJAP"},
    training.PJAP: {"color": style.COLOURS["maddpg_cql_pjap"], "marker": "^", "label": "ours, PJAP with 1,024 extra sequences"},
}


@style.styled
def draw(rows: list[dict], stamp: dict) -> Figure:
    """Three panels from the rows of `training.measure`: medians, and the range of all repetitions as bars.

    Args:
        stamp: where the rows come from; its processor is named.
    """
    preset = next(row["work"] for row in rows if row["name"] in PANELS).partition(":")[0]
    figure = style.new_figure(9.6, 3.6)
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        for series, look in LOOKS.items():
            own = [row for row in rows if row["name"] == name and row["work"] == f"{preset}: {series}"]
            at, low, middle, high = np.array([[row[key] for key in ("at", "min", "median", "max")] for row in own]).T
            axes.errorbar(at, middle, yerr=[middle - low, high - middle], capsize=2.5, markersize=4.5, elinewidth=1, **look)
        axes.set(xscale="log", xlabel=label)
        axes.xaxis.set_major_locator(FixedLocator(at))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("ms per update and run")
    handles, labels = panels[0].get_legend_handles_labels()
    title = f"{stamp['device']}, preset {preset}: medians and ranges"
    figure.legend(handles, labels, loc="outside upper center", ncols=len(LOOKS), frameon=False, title=title)
    style.footer(figure, stamp)
    return figure


def _short(value: float) -> str:
    """100000 -> 100k, 2000000 -> 2M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
