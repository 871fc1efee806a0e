"""Beyond the paper: the arms of Figure 6 compared, for every dataset of the scale.

The difference of every arm's final return to MADDPG+CQL's, paired by seed, with the interval on which verdicts rest; the
probability that a run of it is better; and performance profiles. Nothing that needs more seeds than there are is drawn.
"""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pjap_bench.errors import BenchError
from pjap_bench.figures import MINIMUM_SEEDS, style
from pjap_bench.files import read_json


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws statistics.csv, scores.csv and profiles.csv of `results`: a row of panels per dataset, and one for all.

    Args:
        results: folder of a scale.
        stamp: where the figure comes from; its scale and regime are written into the figure.

    Raises:
        BenchError: a file is missing, or holds no numbers of an experiment.
    """
    settings = read_json(results / "statistics.provenance.json")["settings"]
    tables = {name: style.read_table(results / f"{name}.csv") for name in ("statistics", "scores", "profiles")}
    datasets = [*settings["experiments"], *(["all"] if "all" in set(tables["profiles"]["dataset"]) else [])]
    arms = dict.fromkeys(arm for experiment in settings["experiments"].values() for arm in experiment["arms"])
    labels = {arm: settings["arms"][arm]["label"] for arm in arms}
    seeds = {dataset: len(experiment["seeds"]) for dataset, experiment in settings["experiments"].items()}
    seeds["all"] = min(seeds.values())
    colours = style.colours_of(settings["arms"])
    figure = style.new_figure(12.0, 1.2 + (1.1 + 0.35 * len(labels)) * len(datasets))
    figure.get_layout_engine().set(w_pad=0.1)
    regime = textwrap.fill(f"Scale '{stamp['scale']}': {stamp['regime']}", 150)
    figure.suptitle(regime, fontsize=8.5, color=style.NEUTRAL_COLOUR)
    axes = figure.subplots(len(datasets), 3, width_ratios=[1.3, 1, 1.4], squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        own = {name: table[table["dataset"] == dataset] for name, table in tables.items()}
        if own["profiles"].empty:
            raise BenchError(f"no numbers of {dataset}", where=results, do="run the statistics step again")
        title = style.DATASETS.get(dataset, dataset)
        if dataset == "all":
            row[0].set_axis_off()  # returns of different datasets have no common unit
        else:
            title += f" ({seeds[dataset]} seed{'s' * (seeds[dataset] > 1)})"
            _draw_differences(row[0], own, labels, colours)
            row[0].set_title(f"{title}: final return minus MADDPG+CQL's", loc="left", fontweight="bold", fontsize=9)
        enough = seeds[dataset] >= MINIMUM_SEEDS
        _draw_improvement(row[1], own["statistics"], labels, colours, enough)
        _draw_profiles(row[2], own["profiles"], colours, enough)
        if dataset == "all":
            row[1].set_title(title, loc="left", fontweight="bold", fontsize=9)
    axes[0][1].set_title("Probability of a better run", loc="left", fontweight="bold", fontsize=9)
    axes[0][2].set_title("Performance profile", loc="left", fontweight="bold", fontsize=9)
    handles = [Patch(color=colours[arm], label=label) for arm, label in labels.items()]
    if "all" in datasets:
        axes[-1][0].legend(handles=handles, loc="center", frameon=False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    style.footer(figure, stamp)
    return figure


def _draw_differences(axis, tables: dict[str, pd.DataFrame], labels: dict[str, str], colours: dict[str, str]) -> None:
    """Per arm: seeds as dots, their mean, Student's t interval of the paired differences where there are seeds enough."""
    rows = tables["statistics"].query(
        "quantity == 'final_return' and normalisation == 'raw' and estimator == 'paired_difference'"
    )
    scores = tables["scores"].query("quantity == 'final_return' and normalisation == 'raw'")
    returns = scores.pivot(index="seed", columns="arm", values="value")
    names = list(dict.fromkeys(rows["arm"]))
    for height, name in enumerate(names):
        arm, _, control = name.partition(" - ")
        differences = (returns[arm] - returns[control]).to_numpy()
        interval = rows[(rows["arm"] == name) & (rows["method"] == "paired t")]
        # Of few seeds the interval is wider than the figure: the table has it.
        if len(interval) and len(differences) >= MINIMUM_SEEDS:
            axis.hlines(height, interval["low"], interval["high"], color=colours[arm], linewidth=6, alpha=0.45)
        axis.plot(differences, np.full(len(differences), height), "o", color="white", markeredgecolor="black", markersize=4)
        axis.vlines(differences.mean(), height - 0.25, height + 0.25, color="black", linewidth=1.8)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel(f"Difference of returns by seed; t interval from {MINIMUM_SEEDS} seeds on")
    _rows(axis, [labels[name.partition(" - ")[0]] for name in names])


def _draw_improvement(axis, statistics: pd.DataFrame, labels: dict[str, str], colours: dict[str, str], enough: bool) -> None:
    """Per arm the probability with its interval, in words where that has no width: of few seeds it would look certain."""
    rows = statistics.query("quantity == 'final_return' and estimator == 'probability_of_improvement'")
    rows = rows.drop_duplicates("arm")  # the same in every normalisation
    for height, row in enumerate(rows.to_dict("records") if enough else []):
        colour = colours[row["arm"].partition(" - ")[0]]
        if row["method"] != "point":
            axis.hlines(height, row["low"], row["high"], color=colour, linewidth=6, alpha=0.45)
            if row["low"] == row["high"]:
                words = {0: "no pair", 1: "all pairs"}.get(row["value"], "no width")
                side, shift = ("right", -0.03) if row["value"] > 0.5 else ("left", 0.03)
                axis.text(row["value"] + shift, height, words, ha=side, va="center", fontsize=8)
        axis.plot(row["value"], height, "|", color="black", markersize=12, markeredgewidth=1.8)
    if enough:
        axis.axvline(0.5, color="black", linewidth=0.8)
    else:
        axis.text(0.5, 0.5, f"too few seeds\n(needs {MINIMUM_SEEDS})", transform=axis.transAxes, ha="center", va="center")
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("P(better than MADDPG+CQL)")
    _rows(axis, [labels[arm.partition(" - ")[0]] for arm in rows["arm"]])


def _draw_profiles(axis, profiles: pd.DataFrame, colours: dict[str, str], enough: bool) -> None:
    rows = profiles[profiles["normalisation"] == "reference"]
    for arm, own in rows.groupby("arm", sort=False):
        axis.plot(own["threshold"], own["value"], color=colours[arm], drawstyle="steps-post")
        if enough and own["low"].notna().all():
            axis.fill_between(own["threshold"], own["low"], own["high"], step="post", color=colours[arm], alpha=0.15, linewidth=0)
    if not enough:
        axis.set_title("no bands: too few seeds", loc="right", fontsize=8)
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("Share of runs above")
    axis.set_xlabel("Final return (0: random policy, 1: dataset)")
    axis.grid(alpha=0.25)


def _rows(axis, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), style.in_lines(names))
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25)
