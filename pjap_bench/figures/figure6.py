"""Figure 6: MADDPG+CQL on two-agent HalfCheetah with and without PJAP, for every dataset of the scale.

As in the paper: a and c, the final return's aggregates with their intervals over seeds; b and d, the mean distance of
the sampled actions to the current policy. Ours beside them: every seed as a dot, behaviour cloning, the normalisation
by the dataset's own return, the distance on a fixed uniform sample, what PJAP's selection alone makes of the baseline's
(that sample weighted by PJAP's formula), the data's noise floor, and the returns during training.
"""

import string
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pjap_bench.errors import BenchError
from pjap_bench.figures import PUBLISHED_FIGURE6, style
from pjap_bench.files import read_json

AGGREGATES = {"median": "Median", "iqm": "IQM", "mean": "Mean"}


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 6 from statistics.csv, scores.csv, curves.csv and datasets/*.json of `results`.

    Args:
        results: folder of a scale.
        stamp: where the figure comes from; its scale and regime are written into the figure.

    Raises:
        BenchError: a file is missing, or holds no numbers of an experiment.
    """
    settings = read_json(results / "statistics.provenance.json")["settings"]
    tables = {name: style.read_table(results / f"{name}.csv") for name in ("statistics", "scores", "curves")}
    datasets = list(settings["experiments"])
    colours = style.colours_of(settings["arms"])
    figure = style.new_figure(6.2 * len(datasets), 12.4)
    figure.get_layout_engine().set(w_pad=0.1)
    width = 75 * len(datasets)
    regime = textwrap.fill(f"Scale '{stamp['scale']}': {stamp['regime']}", width)
    figure.suptitle(f"{regime}\n{textwrap.fill(PUBLISHED_FIGURE6, width)}", fontsize=8.5, color=style.NEUTRAL_COLOUR)
    columns = np.atleast_1d(figure.subfigures(1, len(datasets)))
    for index, (dataset, column) in enumerate(zip(datasets, columns, strict=True)):
        own = {name: table[table["dataset"] == dataset] for name, table in tables.items()}
        if any(table.empty for table in own.values()):
            raise BenchError(f"no numbers of {dataset}", where=results, do="run the statistics step again")
        summary = read_json(results / "datasets" / f"{dataset}.json")
        experiment = settings["experiments"][dataset]
        labels = {arm: settings["arms"][arm]["label"] for arm in experiment["arms"]}
        letters = (string.ascii_lowercase + string.ascii_uppercase)[2 * index : 2 * index + 2]
        seeds = len(experiment["seeds"])
        column.suptitle(
            f"{style.DATASETS.get(dataset, dataset)} ({summary['origin']} data, {seeds} seed{'s' * (seeds > 1)})",
            fontsize=12,
            fontweight="bold",
        )
        _draw_dataset(column, own, summary, experiment, labels, colours, letters)
    style.footer(figure, stamp)
    return figure


def _draw_dataset(
    column: SubFigure,
    tables: dict,
    summary: dict,
    experiment: dict,
    labels: dict[str, str],
    colours: dict[str, str],
    letters: str,
) -> None:
    """One dataset from top to bottom: aggregates in both normalisations, distances, returns."""
    arms = len(labels)
    normalised = set(tables["scores"].query("normalisation == 'paper'")["arm"])
    published = {arm: label for arm, label in labels.items() if arm in normalised}
    aggregates = {"reference": (labels, "Normalised by reference: 0 = random policy, 1 = dataset's mean return")}
    if published:
        text = "Normalised as in the paper: min to max over these two arms' evaluations"
        aggregates = {"paper": (published, text)} | aggregates
    heights = [1.15, 0.55 + 0.3 * arms][-len(aggregates) :]
    grid = column.add_gridspec(len(heights) + 2, 3, height_ratios=[*heights, 3.2, 2.6])
    for row, (normalisation, (shown, text)) in enumerate(aggregates.items()):
        axes = [column.add_subplot(grid[row, part]) for part in range(3)]
        _draw_aggregates(axes, tables, normalisation, shown, colours)
        axes[1].set_xlabel(text, fontsize=8.5)
        if row == 0:
            axes[0].annotate(
                f"{letters[0]}   Final return", (0, 1), (0, 22), xycoords="axes fraction", textcoords="offset points",
                fontsize=10, fontweight="bold",
            )  # fmt: skip

    axis = column.add_subplot(grid[-2, :])
    for arm in labels:
        _draw_curve(axis, tables["curves"], arm, "distance_sampled", colours[arm], "-")
        _draw_curve(axis, tables["curves"], arm, "distance_uniform", colours[arm], "--")
    control = next((arm.partition(" - ")[2] for arm in tables["statistics"]["arm"] if " - " in arm), None)
    if control:
        _draw_curve(axis, tables["curves"], control, "distance_selected", colours[control], "-.")
    floor = summary["noise_floor"]  # None where the behaviour policies are not known
    if floor is not None:
        axis.axhline(floor, color="black", linestyle=":", linewidth=1.2)
    _frame_distances(axis, tables["curves"], floor)
    title = f"{letters[1]}   Mean distance of actions to the current joint policy"
    axis.set_title(title, loc="left", fontweight="bold")
    axis.set_ylabel("Mean |policy − data action|")
    axis.set_xlabel("Updates")
    arms_shown = [Patch(color=colours[arm], label=label) for arm, label in labels.items()]
    handles = [
        Line2D([], [], color="black", linestyle="-", label="in the sampled batch (the paper's)"),
        Line2D([], [], color="black", linestyle="--", label="on a fixed uniform sample"),
    ]
    if floor is not None:
        handles.append(Line2D([], [], color="black", linestyle=":", label="noise floor: behaviour policy to data"))
    if control:
        label = textwrap.fill(f"{labels[control]}, uniform, weighted by PJAP", 34)
        handles.append(Line2D([], [], color=colours[control], linestyle="-.", label=label))
    for short in (arms_shown, handles):  # a column each, whichever is shorter
        short += [Line2D([], [], linestyle="", label=" ")] * (max(arms, len(handles)) - len(short))
    _legend_below(axis, [*arms_shown, *handles])

    axis = column.add_subplot(grid[-1, :])
    for arm in labels:
        _draw_curve(axis, tables["curves"], arm, "evaluation_return", colours[arm], "-")
    for name, text, linestyle in (("random_return", "random policy", ":"), ("dataset_return", "dataset mean", "--")):
        axis.axhline(summary["reference"][name], color="black", linestyle=linestyle, linewidth=1.2, label=text)
    axis.set_title("Return during training (not in the paper)", loc="left", fontweight="bold")
    axis.set_ylabel("Episode return")
    axis.set_xlabel("Updates")
    axis.set_xlim(0, experiment["updates"])
    axis.grid(alpha=0.25)
    _legend_below(axis, axis.get_legend_handles_labels()[0])


def _legend_below(axis, handles: list) -> None:
    """Under the axis, where no curve can hide behind it."""
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=7.5, frameon=False)


def _draw_aggregates(axes: list, tables: dict, normalisation: str, labels: dict[str, str], colours: dict[str, str]) -> None:
    """Per aggregate: the interval as a bar, its value as a black mark, every seed as a dot. One row per arm."""
    statistics = tables["statistics"].query("quantity == 'final_return' and normalisation == @normalisation")
    statistics = statistics[statistics["method"] != "t"]  # that interval is for verdicts
    scores = tables["scores"].query("quantity == 'final_return' and normalisation == @normalisation")
    edges = [*scores["value"], *statistics.loc[statistics["estimator"].isin(list(AGGREGATES)), ["low", "high"]].stack()]
    margin = 0.06 * (max(edges) - min(edges) or 1.0)
    for axis, (estimator, title) in zip(axes, AGGREGATES.items(), strict=True):
        for row, arm in enumerate(labels):
            interval = statistics[(statistics["arm"] == arm) & (statistics["estimator"] == estimator)].iloc[0]
            if interval["method"] != "point":
                width = interval["high"] - interval["low"]
                axis.barh(row, width, left=interval["low"], height=0.62, color=colours[arm], alpha=0.7)
            axis.vlines(interval["value"], row - 0.31, row + 0.31, color="black", linewidth=1.8)
            seeds = scores.loc[scores["arm"] == arm, "value"]
            axis.plot(
                seeds, [row] * len(seeds), "o", markersize=3.5, markerfacecolor="white", markeredgecolor="black",
                markeredgewidth=0.7, clip_on=False,
            )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.set_xlim(min(edges) - margin, max(edges) + margin)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_yticks(range(len(labels)), style.in_lines(labels.values()) if axis is axes[0] else [""] * len(labels))
        axis.tick_params(axis="y", length=0)
        axis.locator_params(axis="x", nbins=4)
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", alpha=0.25)
        axis.set_axisbelow(True)


def _draw_curve(axis, curves: pd.DataFrame, arm: str, quantity: str, colour: str, linestyle: str) -> None:
    """Mean over seeds with its band; the dashed uniform distance goes without, to keep the lines readable."""
    rows = curves.query("arm == @arm and quantity == @quantity and normalisation == 'raw'")
    rows = rows.sort_values("update")
    axis.plot(rows["update"], rows["value"], color=colour, linestyle=linestyle)
    if linestyle == "-" and rows["low"].notna().all():
        axis.fill_between(rows["update"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)


def _frame_distances(axis, curves: pd.DataFrame, floor: float | None) -> None:
    """Not from zero, and cut above the fall of the first updates: either would flatten what sets the arms apart."""
    distances = curves[curves["quantity"].str.startswith("distance_")]
    late = distances.loc[distances["update"] >= 0.15 * distances["update"].max(), "value"]
    shown = [late.min(), late.max(), *([] if floor is None else [floor])]
    bottom, top = min(shown), max(shown)
    axis.set_ylim(bottom - 0.1 * (top - bottom), top + 0.1 * (top - bottom))
    axis.set_xlim(0, distances["update"].max())
    axis.grid(alpha=0.25)
