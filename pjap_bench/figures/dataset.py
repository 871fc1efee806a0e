"""A dataset at a glance: returns by behaviour policy, distances between these policies, actions, lengths if they vary."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pjap_bench.datasets import description
from pjap_bench.figures import style

DISTANCES = "cividis"  # differs in lightness from end to end, so it reads in grey and for colour-blind readers
COLUMNS = 6  # of the small histograms of actions
NAMED = 12  # behaviour policies that a legend or a matrix can still name


@style.styled
def draw(name: str, results: Path, stamp: dict) -> Figure:
    """Draws datasets/NAME.description.json of `results`.

    Raises:
        BenchError: the description is missing or broken.
    """
    described = description.read(results / "datasets" / f"{name}.description.json")
    found = described["statistics"]
    panels = [counts for agent in found["action"]["agents"] for counts in agent["counts"]]
    rows = math.ceil(len(panels) / COLUMNS)
    heights = [3.3, 0.35 + 1.15 * rows]
    figure = style.new_figure(10.0, 0.8 + sum(heights))
    size = f"{found['episodes']:,} episode{'s' * (found['episodes'] != 1)}, {found['transitions']:,} steps"
    figure.suptitle(f"{described['card']['title']} ({described['origin']} data): {size}", fontsize=10.5, fontweight="bold")
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    vary = found["length"]["min"] != found["length"]["max"]
    known = description.any_distance(found)
    widths = [1.5, *[0.9] * vary, *[1.2] * known]
    axes = above.subplots(1, len(widths), gridspec_kw={"width_ratios": widths}, squeeze=False)[0]
    _draw_returns(axes[0], found)
    if len(found["policies"]) <= NAMED:
        handles, labels = axes[0].get_legend_handles_labels()
        above.legend(handles, labels, loc="outside lower left", ncols=7, frameon=False, handlelength=1.2, columnspacing=1.2)
    if vary:
        _draw_lengths(axes[1], found["length"])
    if known:
        _draw_distances(axes[-1], found)
    _draw_actions(below, found["action"], rows)
    style.footer(figure, stamp)
    return figure


def _draw_returns(axes: Axes, found: dict) -> None:
    """Episodes by return, the policies' bars on top of each other, dark to light by their mean return."""
    edges, counts = np.array(found["return"]["edges"]), np.array(found["return"]["counts"])
    means = [policy["return"]["mean"] if policy["return"] else -math.inf for policy in found["policies"]]
    order, colours = np.argsort(means, kind="stable"), style.levels(len(means))
    bottom = np.zeros(len(edges) - 1)
    for colour, index in zip(colours, order, strict=True):
        policy = found["policies"][index]
        label = f"{policy['name']}: {means[index]:.0f}" if policy["return"] else f"{policy['name']}: no episode"
        look = {"color": colour, "edgecolor": "white", "linewidth": 0.4, "align": "edge"}
        axes.bar(edges[:-1], counts[index], np.diff(edges), bottom=bottom, label=label, **look)
        bottom += counts[index]
    axes.set_xlim(edges[0], edges[-1])
    if found["published"]:
        published = found["published"]["returns"]
        low, high = published["mean"] - published["sd"], published["mean"] + published["sd"]
        axes.axvspan(low, high, color=style.NEUTRAL_COLOUR, alpha=0.13, linewidth=0, zorder=0)
        axes.axvline(published["mean"], color="black", linestyle="--", linewidth=1.2, label="published mean ± sd")
        axes.set_xlim(min(edges[0], low), max(edges[-1], high))
    axes.set(xlabel="Episode return", ylabel="Episodes", ylim=(0, 1.05 * max(bottom.max(), 1)))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_title("Returns, by behaviour policy: mean", loc="left")


def _draw_lengths(axes: Axes, length: dict) -> None:
    edges = np.array(length["edges"])
    axes.bar(edges[:-1], length["counts"], np.diff(edges), align="edge", color=style.NEUTRAL_COLOUR)
    axes.set(xlabel="Steps of an episode", xlim=(edges[0], edges[-1]))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_title("Lengths", loc="left")


def _draw_distances(axes: Axes, found: dict) -> None:
    """Numbers on colours; the noise floors on the diagonal are framed."""
    values = np.array(description.distances(found), dtype=float)  # None becomes nan
    names, count = [policy["name"] for policy in found["policies"]], len(values)
    top = np.nanmax(values)
    axes.imshow(np.ma.masked_invalid(values), cmap=DISTANCES, vmin=0, vmax=top, aspect="auto")
    for k, j in np.ndindex(values.shape):
        if count <= NAMED:
            text = "–" if math.isnan(values[k, j]) else f"{values[k, j]:.2f}"
            dark = values[k, j] < 0.45 * top
            axes.text(j, k, text, ha="center", va="center", fontsize=8 if count <= 6 else 6.5, color="white" if dark else "black")
        if k == j:
            axes.add_patch(Rectangle((j - 0.46, k - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", linewidth=1.5))
    if count <= NAMED:
        axes.set_xticks(range(count), names, rotation=0 if count <= 4 else 45, ha="center" if count <= 4 else "right")
        axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Mean |action of row − of column|\n(framed: noise floor)", loc="left")


def _draw_actions(figure: SubFigure, action: dict, rows: int) -> None:
    """The share of steps by action: a small panel for every number of every agent's action."""
    edges = np.array(action["edges"])
    labels, counts = [], []
    for agent, own in enumerate(action["agents"], 1):
        several = len(own["counts"]) > 1
        labels += [f"agent {agent}" + f", action {number}" * several for number in range(1, len(own["counts"]) + 1)]
        counts += [np.array(column) for column in own["counts"]]
    columns = min(COLUMNS, len(counts))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, panel in enumerate(axes.flat):
        if place >= len(counts):
            panel.set_visible(False)
            continue
        shares = counts[place] / counts[place].sum()
        panel.bar(edges[:-1], shares, np.diff(edges), align="edge", color=style.NEUTRAL_COLOUR)
        panel.set_title(labels[place], fontsize=8, pad=2)
        panel.set(xlim=(-1, 1), xticks=(-1, 0, 1))
    figure.supylabel("Share of steps", fontsize=9)
    figure.supxlabel(f"Action; {100 * action['at_bounds']:.0f} % of all are at the bounds", fontsize=9)
