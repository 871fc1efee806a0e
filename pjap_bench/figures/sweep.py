"""The figure of a sweep: one row per variant; returns of the arms, and what the treatment changes in return and distances."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.files import read_json


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws sweep.csv of `results`: mean over seeds, Student's t interval where there are several, every seed as a dot.

    Args:
        results: folder of the sweep.
        stamp: where the figure comes from; its regime is written into the figure.

    Raises:
        BenchError: the table is missing.
    """
    path = results / "sweep.csv"
    if not path.exists():
        raise BenchError("the table is not there", where=path, do="run the sweep's table step")
    table = pd.read_csv(path, dtype={"variant": str})  # a name may be a number
    settings = read_json(results / "sweep.provenance.json")["settings"]
    sweep = settings["sweep"]
    reference = read_json(results / "datasets" / f"{sweep['dataset']}.json")["reference"]
    variants, (control, *others) = list(dict.fromkeys(table["variant"])), sweep["arms"]  # JSON has lost their order
    first = sweep["variants"][variants[0]]
    labels = {arm: settings["arms"][first["arms"][arm]]["label"].removesuffix(f", {first['label']}") for arm in sweep["arms"]}

    colours = style.colours_of(sweep["arms"])
    figure = style.new_figure(11.0, 1.9 + 0.36 * len(variants))
    regime = textwrap.fill(f"{sweep['title']} ({sweep['dataset']}). {stamp['regime']}", 150)
    figure.suptitle(regime, fontsize=8.5, color=style.NEUTRAL_COLOUR)
    axes = figure.subplots(1, 2 + len(others), sharey=True, width_ratios=[1.5, *[1] * (1 + len(others))], squeeze=False)[0]

    for place, arm in enumerate(sweep["arms"]):
        rows = table[(table["arm"] == arm) & (table["quantity"] == "final_return")]
        _points(axes[0], rows, variants, colours[arm], 0.18 * (place - (len(labels) - 1) / 2))
    for name, linestyle in (("random_return", ":"), ("dataset_return", "--")):
        axes[0].axvline(reference[name], color="black", linestyle=linestyle, linewidth=1.0)
    axes[0].set_title("Final return", loc="left", fontweight="bold")
    handles = [Line2D([], [], color=colours[arm], marker="o", linestyle="", label=label) for arm, label in labels.items()]
    handles += [
        Line2D([], [], color="black", linestyle=":", label="random policy"),
        Line2D([], [], color="black", linestyle="--", label="dataset mean"),
    ]
    axes[0].legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=2.0, ncols=2, frameon=False)
    for axis, arm in zip(axes[1:], others, strict=False):
        rows = table[(table["arm"] == f"{arm} - {control}") & (table["quantity"] == "final_return")]
        _points(axis, rows, variants, colours[arm], 0.0)
        axis.set_title(f"{labels[arm]}\nminus {labels[control]}: return", loc="left", fontweight="bold", fontsize=9)
        axis.axvline(0, color="black", linewidth=0.8)
    distances = {"distance_sampled": ("in the sampled batch", "o"), "distance_uniform": ("on a fixed uniform sample", "D")}
    handles = []
    for place, (quantity, (label, marker)) in enumerate(distances.items()):
        for arm in others:
            rows = table[(table["arm"] == f"{arm} - {control}") & (table["quantity"] == quantity)]
            filled = "white" if place else None
            _points(axes[-1], rows, variants, colours[arm], 0.18 * (place - 0.5), marker, filled)
        face = "white" if place else "black"
        handles.append(Line2D([], [], color="black", marker=marker, markerfacecolor=face, linestyle="", label=label))
    axes[-1].axvline(0, color="black", linewidth=0.8)
    axes[-1].set_title("The same: distance\nto the policy", loc="left", fontweight="bold", fontsize=9)
    axes[-1].legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=2.0, frameon=False)
    axes[0].set_yticks(range(len(variants)), [sweep["variants"][name]["label"] for name in variants])
    axes[0].set_ylim(len(variants) - 0.5, -0.5)
    for axis in axes:
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(axis="y", length=0)
        axis.locator_params(axis="x", nbins=5)
        for line in range(1, len(variants)):
            axis.axhline(line - 0.5, color="black", linewidth=0.3, alpha=0.2)
    style.footer(figure, stamp)
    return figure


def _points(axis, rows: pd.DataFrame, variants: list[str], colour, shift: float, marker: str = "o", face=None) -> None:
    """One row of the figure per variant: seeds as small dots, their mean, its interval."""
    for row in rows.to_dict("records"):
        height = variants.index(row["variant"]) + shift
        seeds = np.array([float(value) for value in str(row["seeds"]).split()])
        if len(seeds) > 1:
            axis.plot(seeds, np.full(len(seeds), height), "o", color=colour, markersize=2.5, alpha=0.5, markeredgewidth=0)
            # Of two or three seeds an interval of Student's t is wider than the figure: the table has it.
            if len(seeds) > 3:
                axis.hlines(height, row["low"], row["high"], color=colour, linewidth=1.5)
        axis.plot(row["value"], height, marker, color=colour, markersize=5, markerfacecolor=face or colour)
