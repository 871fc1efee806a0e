"""The small figures of claims C1 to C11: for each, the evidence in one panel, to stand next to the verdict."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pjap_bench.errors import BenchError
from pjap_bench.figures import style

MADDPG, PJAP = style.COLOURS["maddpg"], style.COLOURS["maddpg_pjap"]
# For what succeeds, fails, and is predicted.
GOOD, BAD, PREDICTED = "#009E73", "#CC79A7", style.NEUTRAL_COLOUR

GAMES = {
    "decoupled": "Decoupled",
    "sign_agreement": "Sign\nagreement",
    "action_agreement": "Action\nagreement",
    "twin_peaks": "Twin\nPeaks",
}


@style.styled
def draw(claim: str, results: Path, stamp: dict) -> Figure:
    """Draws the figure of `claim`, 4 x 2.75 inch, from its npz file in games/ of `results`.

    Raises:
        BenchError: a claim without a figure, or its data is missing or broken.
    """
    if claim not in CLAIMS:
        raise BenchError(f"claim '{claim}' has no figure", do=f"choose one of {', '.join(CLAIMS)}")
    source, paint = CLAIMS[claim]
    figure = style.new_figure(4, 2.75)
    axes = figure.subplots()
    paint(axes, style.read_arrays(results / "games" / f"{source}.npz"))
    axes.set_title(f"{claim}: {axes.get_title()}", fontsize=9)
    style.footer(figure, stamp)
    return figure


def _reward_change(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    changes = arrays["reward_changes"]
    axes.set_title("change of R by one step in Figure 1")
    bars = axes.barh([1, 0], changes, color=[MADDPG, GOOD], height=0.55)
    axes.bar_label(bars, [f"{change:+.4f}".replace("-", "−") for change in changes], padding=3, fontsize=8)
    axes.axvline(0, color=PREDICTED, linewidth=1)
    reach = 1.8 * np.abs(changes).max()
    axes.set(yticks=[1, 0], xlim=(-reach, reach), ylim=(-0.6, 1.6), xlabel="Change of R")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticklabels(["BRUD", "True\ngradient"])


def _buffer_sizes(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    sizes = arrays["buffer_sizes"]
    axes.set_title("medians by buffer size, smallest = 1")
    looks = {"steps": ("Steps", "o", MADDPG), "path_lengths": ("Path length", "s", PJAP), "staleness": ("Staleness", "^", GOOD)}
    places = np.arange(len(sizes))
    for shift, (key, (label, marker, colour)) in zip((-0.08, 0, 0.08), looks.items(), strict=True):
        values = arrays[key] / np.median(arrays[key][0])
        low, middle, high = np.percentile(values, [2.5, 50, 97.5], axis=1)
        reach = [middle - low, high - middle]
        axes.errorbar(places + shift, middle, yerr=reach, fmt=f"{marker}-", color=colour, capsize=3, markersize=4, label=label)
    axes.set(xticks=places, ylim=(0, None), xlabel="Buffer size", ylabel="Relative to the smallest")
    axes.set_xticklabels([str(size) for size in sizes])
    axes.legend(loc="upper left", fontsize=7.5, title="Median, middle 95 % of runs", title_fontsize=7.5)


def _final_policies(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    sizes, final = arrays["buffer_sizes"], arrays["final_policies"]
    reached = (final.prod(axis=-1) > float(arrays["target_reward"])).sum()
    axes.set_title(f"{reached} of {final[..., 0].size} runs end in ++ or −−")
    reach = 2 * np.abs(final).max()
    for x in (0, -reach):
        axes.fill_between([x, x + reach], x, x + reach, color=GOOD, alpha=0.13, linewidth=0)
    # Small buffers run far along the diagonal in the same number of updates.
    axes.set(xscale="symlog", yscale="symlog")
    markers = ("o", "s", "^", "D", "v", "P")
    for place, (size, of_size, colour) in enumerate(zip(sizes, final, style.levels(len(sizes)), strict=True)):
        axes.plot(*of_size.T, markers[place % len(markers)], color=colour, markersize=2.5, markeredgewidth=0, label=f"{size}")
    axes.axhline(0, color=PREDICTED, linewidth=0.8)
    axes.axvline(0, color=PREDICTED, linewidth=0.8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), box_aspect=1, xlabel="Final $a_x$", ylabel="Final $a_y$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([-100, 0, 100])
    axes.legend(
        title="Buffer size", loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7.5, title_fontsize=7.5, markerscale=2
    )


def _directions(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    policies, predicted = arrays["policies"], arrays["predicted"]
    moved, expected = policies[:, -1] - policies[:, 0], predicted - policies[:, 0]
    axes.set_title(f"directions from {len(moved)} starts")
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1}
    places = np.stack([np.zeros(len(moved)), np.arange(len(moved))], axis=1)
    axes.quiver(
        *places.T,
        *expected.T,
        color="#BBBBBB",
        width=0.035,
        headwidth=2.2,
        headlength=2,
        headaxislength=2,
        label="Predicted",
        **arrow,
    )
    axes.quiver(*places.T, *moved.T, color=MADDPG, width=0.008, label="Simulated", **arrow)
    axes.plot(*places.T, "o", color="black", markersize=4)
    width, fall = np.abs(moved).max(axis=0)
    axes.set(xlim=(-0.25, width + 0.25), ylim=(-fall - 0.3, len(moved) - 0.6), xlabel="Displacement of $a_x$", ylabel="Start")
    axes.set(yticks=places[:, 1])
    axes.set_yticklabels([f"({x:g}, {y:g})" for x, y in policies[:, 0]])
    axes.legend(loc="upper right", fontsize=7.5)


def _decoupled(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    speed, means = arrays["decoupled_speed"], arrays["means"]
    axes.set_title(f"R rises in {np.sum(speed > 0)} of {len(speed)} datasets")
    axes.plot(means.sum(axis=1), speed, "o", color=GOOD, markersize=2.5, alpha=0.6, markeredgewidth=0)
    axes.axhline(0, color=PREDICTED, linewidth=1, linestyle=":")
    axes.set(xlabel=r"Sum of the data's means, $\bar a_x + \bar a_y$", ylabel="Change of R\nper step × rate")
    axes.set_ylim(-0.2 * speed.max(), 1.3 * speed.max())


def _sign_agreement(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    means, rises = arrays["means"], arrays["sign_agreement_rises"]
    agree = np.sum((means.prod(axis=1) > 0) == rises)
    axes.set_title(f"predicted right in {agree} of {len(rises)}")
    reach = 1.05 * np.abs(means).max()
    for x, low, colour in ((0, 0, GOOD), (-reach, -reach, GOOD), (0, -reach, BAD), (-reach, 0, BAD)):
        axes.fill_between([x, x + reach], low, low + reach, color=colour, alpha=0.13, linewidth=0)
    for group, colour, marker, label in ((rises, GOOD, "o", "R rises"), (~rises, BAD, "x", "R falls")):
        axes.plot(*means[group].T, marker, color=colour, markersize=2.6, label=label)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel=r"$\bar a_x$", ylabel=r"$\bar a_y$")
    axes.fill_between([], [], color=GOOD, alpha=0.2, label="predicted to rise")
    axes.fill_between([], [], color=BAD, alpha=0.2, label="predicted to fall")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7.5, markerscale=1.8)


def _action_agreement(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    predicted, final = arrays["means"][:, ::-1], arrays["action_agreement_final"]
    error = np.abs(final - predicted).max()
    axes.set_title(f"{len(final)} datasets, largest error {error:.0e}")
    reach = 1.05 * np.abs(predicted).max()
    axes.plot([-reach, reach], [-reach, reach], color=PREDICTED, linewidth=0.8, label="simulated = predicted")
    for agent, colour, marker in ((0, MADDPG, "o"), (1, PJAP, "x")):
        label = f"agent {'xy'[agent]}, predicted {'mean $a_y$' if agent == 0 else 'mean $a_x$'}"
        axes.plot(predicted[:, agent], final[:, agent], marker, color=colour, markersize=2.6, label=label)
    axes.set(xlabel="Predicted action", ylabel="Final action", xlim=(-reach, reach), ylim=(-reach, reach))
    axes.legend(loc="upper left", fontsize=7.5, markerscale=1.8)


def _origin(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    sigmas, optimum = arrays["sigmas"], float(arrays["optimum"])
    axes.set_title("final actions, data around the origin")
    axes.axhline(optimum, color="black", linestyle=":", linewidth=1)
    axes.text(0.02, optimum - 0.015, r"true optimum $a^\dagger$", va="top", fontsize=7.5)
    for key, colour, marker, shift, label in (
        ("centred_final", MADDPG, "o", -0.012, "exactly centred"),
        ("origin_final", "#E69F00", "s", 0.012, "as drawn"),
    ):
        values = arrays[key].mean(axis=-1)
        low, middle, high = np.percentile(values, [2.5, 50, 97.5], axis=1)
        reach = np.maximum([middle - low, high - middle], 0)
        axes.errorbar(sigmas + shift, middle, yerr=reach, fmt=marker, color=colour, capsize=3, markersize=4, label=label)
    axes.set(xlabel=r"Spread $\sigma$ of the data", ylabel="$a^*$", ylim=(-0.12, 0.7))
    axes.legend(loc="center right", fontsize=7.5, title="Median, middle 95 % of datasets", title_fontsize=7.5)


def _optimum(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    sigmas, optimum = arrays["sigmas"], float(arrays["optimum"])
    axes.set_title(r"$a^*(\sigma)$, and Eq. 5's curve")
    axes.plot(arrays["curve_sigma"], arrays["curve_action"], color=PREDICTED, label=r"closed form $a^*(\sigma)$")
    values = arrays["optimum_final"].mean(axis=-1)
    low, middle, high = np.percentile(values, [2.5, 50, 97.5], axis=1)
    reach = np.maximum([middle - low, high - middle], 0)
    axes.errorbar(sigmas, middle, yerr=reach, fmt="o", color=MADDPG, capsize=3, markersize=4, label="simulated")
    axes.axhline(optimum, color="black", linestyle=":", linewidth=1)
    axes.set(xlabel=r"Spread $\sigma$ of the data", ylabel="$a^*$", ylim=(0, 1.1), yticks=(0, 0.2, 0.4, 0.6))
    axes.legend(loc="lower left", fontsize=7.5)
    axes.text(0.0, optimum + 0.02, r"true optimum $a^\dagger$", va="bottom", fontsize=7.5)
    inset = axes.inset_axes((0.5, 0.68, 0.48, 0.2))
    inset.plot(arrays["equation5_means"], arrays["equation5_sigma"], color=PJAP)
    inset.tick_params(labelsize=6.5, length=2)
    inset.set_title(r"Eq. 5: $\sigma$ needed, by mean", fontsize=7, pad=2)
    inset.spines[["top", "right"]].set_visible(False)


def _shares(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    share, low, high = arrays["shares"].T
    axes.set_title("share of random datasets that succeed")
    places = np.arange(len(share))
    axes.bar(places, share, color=style.levels(len(share)), width=0.6)
    axes.errorbar(places, share, yerr=[share - low, high - share], fmt="none", color="black", capsize=4)
    for place, value, top in zip(places, share, high, strict=True):
        axes.annotate(f"{value:.1%}", (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    axes.set(xticks=places, ylim=(0, 1.14), yticks=np.linspace(0, 1, 5))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticklabels(GAMES.values(), fontsize=7.5)
    axes.set_xlabel("more interaction →", fontsize=8)


def _final_rewards(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    sigmas, best = arrays["sigmas"], float(arrays["optimum_reward"])
    failing = 0
    for place in range(len(sigmas)):
        for arm, colour, shift in (("maddpg", MADDPG, -0.2), ("maddpg_pjap", PJAP, 0.2)):
            values = arrays[f"{arm}_final_reward"][place] / best
            style.draw_runs(axes, place + shift, values, colour, 0.15, alpha=0.6)
            if arm == "maddpg_pjap":
                missed = values[values < 0.95]
                failing += len(missed)
                axes.plot(np.full(len(missed), place + shift), missed, "X", color="black", markersize=6, markeredgecolor="white")
    axes.set_title(f"final R / R*, {failing} PJAP run{'s' * (failing != 1)} below 0.95")
    axes.axhline(0.95, color=PREDICTED, linewidth=1, linestyle="--")
    axes.text(-0.45, 0.94, "0.95", va="top", fontsize=7.5, color=PREDICTED)
    handles = [
        axes.plot([], [], "o", color=colour, label=label)[0] for colour, label in ((MADDPG, "MADDPG"), (PJAP, "MADDPG+PJAP"))
    ]
    handles += axes.plot([], [], "X", color="black", linestyle="none", label="PJAP, fails")
    axes.legend(handles=handles, loc="lower left", fontsize=7.5, markerscale=0.8)
    axes.set(
        xticks=range(len(sigmas)), xlim=(-0.5, len(sigmas) - 0.5), xlabel=r"Spread $\sigma$ of the data", ylabel="Final R / R*"
    )
    axes.set_xticklabels([f"{sigma:g}" for sigma in sigmas])


def _distance_changes(axes: Axes, arrays: dict[str, np.ndarray]) -> None:
    spread = arrays["sigmas"] > 0
    sigmas, changes = arrays["sigmas"][spread], arrays["distance_changes"][spread]
    below = np.sum(changes < 0)
    axes.set_title(f"PJAP is closer in {below} of {changes.size} pairs")
    for place, of_sigma in enumerate(changes):
        style.draw_runs(axes, place, of_sigma, PJAP)
        # The claim's interval, of the mean, is narrower than a dot; its place is shown with the middle of the runs.
        style.draw_middle(axes, place, of_sigma, "black", label="median, middle 95 % of runs" if place == 0 else None)
    axes.axhline(0, color=PREDICTED, linewidth=1, linestyle=":")
    axes.set(xticks=range(len(sigmas)), xlim=(-0.5, len(sigmas) - 0.5), xlabel=r"Spread $\sigma$ of the data")
    axes.set(ylim=(1.1 * changes.min(), 0.08), ylabel="Distance with PJAP\nminus without")
    axes.set_xticklabels([f"{sigma:g}" for sigma in sigmas])
    axes.legend(loc="lower left", fontsize=7.5)


# Where a claim's evidence lies in games/, and what paints it.
CLAIMS: dict[str, tuple[str, Callable[[Axes, dict[str, np.ndarray]], None]]] = {
    "C1": ("figure1", _reward_change),
    "C2a": ("figure2", _buffer_sizes),
    "C2b": ("figure2", _final_policies),
    "C3": ("figure3", _directions),
    "C4": ("random_datasets", _decoupled),
    "C5": ("random_datasets", _sign_agreement),
    "C6": ("random_datasets", _action_agreement),
    "C7": ("figure4", _origin),
    "C8": ("figure4", _optimum),
    "C9": ("random_datasets", _shares),
    "C10": ("figure5", _final_rewards),
    "C11": ("figure5", _distance_changes),
}
