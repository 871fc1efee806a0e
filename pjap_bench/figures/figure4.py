"""Figure 4: the spread of the data and the limit of learning in Twin Peaks, around the origin and around the optimum."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# Twin Peaks falls without bound; below this the surface is one colour, as in the paper's pictures.
FLOOR = -0.5


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 4 from games/figure4.npz of `results`: trajectories by spread, and a*(sigma) against its closed form.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure4.npz")
    game = PolynomialGame(arrays["coefficients"], "twin_peaks")
    sigmas, optimum = arrays["sigmas"], float(arrays["optimum"])
    figure = style.new_figure(8.6, 8.0)
    (origin_paths, origin_ends), (optimum_paths, optimum_ends) = figure.subplots(2, 2)

    origin_paths.set_title("(a) Data around the origin, exactly centred")
    _trajectories(origin_paths, game, arrays["centred_policies"], sigmas, optimum)
    optimum_paths.set_title("(b) Data around the optimum")
    _trajectories(optimum_paths, game, arrays["optimum_policies"], sigmas, optimum)
    origin_paths.legend(loc="lower right", title="Spread of the data", alignment="left")
    optimum_paths.legend(loc="lower right", title="Spread of the data", alignment="left")

    curve = arrays["curve_sigma"]
    origin_ends.set_title("Learnt action by spread, data around the origin")
    origin_ends.plot(curve, np.zeros_like(curve), color=style.NEUTRAL_COLOUR, label="Closed form, mean exactly 0")
    _ends(origin_ends, sigmas, arrays["centred_final"], "o", style.COLOURS["maddpg"], "Simulated, exactly centred")
    _ends(origin_ends, sigmas, arrays["origin_final"], "s", "#E69F00", "Simulated, not recentred", shift=0.025)
    optimum_ends.set_title("Learnt action by spread, data around the optimum")
    optimum_ends.plot(curve, arrays["curve_action"], color=style.NEUTRAL_COLOUR, label=r"Closed form $a^*(\sigma)$")
    _ends(optimum_ends, sigmas, arrays["optimum_final"], "o", style.COLOURS["maddpg"], "Simulated")
    datasets = arrays["optimum_final"].shape[1]
    for axes in (origin_ends, optimum_ends):
        axes.axhline(optimum, color="black", linestyle=":", linewidth=1)
        axes.text(curve[-1], optimum + 0.012, r"true optimum $a^\dagger$", ha="right", va="bottom", fontsize=8)
        label = f"$a^*$, mean and middle 95 % of {datasets} datasets"
        axes.set(ylim=(-0.2, 0.75), xlim=(-0.03, curve[-1]), xlabel=r"Spread $\sigma$ of the data", ylabel=label)
    origin_ends.legend(loc="center right", bbox_to_anchor=(1.0, 0.6))
    optimum_ends.legend(loc="lower left")
    style.footer(figure, stamp)
    return figure


def _trajectories(axes: Axes, game: PolynomialGame, policies: np.ndarray, sigmas: np.ndarray, optimum: float) -> None:
    style.draw_surface(axes, game.reward, floor=FLOOR)
    # The widest line first: where trajectories coincide, all remain visible.
    for place, (sigma, trail, colour) in enumerate(zip(sigmas, policies, style.levels(len(sigmas)), strict=True)):
        width = 1.2 + 1.1 * (len(sigmas) - 1 - place)
        axes.plot(*trail.T, color=colour, linewidth=width, label=rf"$\sigma$ = {sigma:g}", zorder=2)
        axes.plot(*trail[-1], "o", color=colour, markeredgecolor="white", markersize=9 - place, zorder=3)
    axes.plot(*policies[0, 0], "o", color="black", markeredgecolor="white", markersize=7, zorder=4)
    axes.annotate("start", policies[0, 0], (0, 8), textcoords="offset points", color="white", ha="center")
    for peak in (optimum, -optimum):
        axes.plot(peak, peak, "+", color="black", markersize=11, markeredgewidth=1.5, zorder=4)
    axes.set(xlabel="$a_x$", ylabel="$a_y$")


def _ends(axes: Axes, sigmas: np.ndarray, final: np.ndarray, marker: str, colour: str, label: str, shift: float = 0) -> None:
    # final [sigma, dataset, agent]: the dataset is the unit, its value the mean over agents.
    values = final.mean(axis=-1)
    middle, (low, high) = values.mean(axis=1), np.percentile(values, [2.5, 97.5], axis=1)
    # Rounding may leave a mean of equal values beside them.
    below, above = np.maximum(middle - low, 0), np.maximum(high - middle, 0)
    axes.errorbar(sigmas + shift, middle, yerr=[below, above], fmt=marker, color=colour, capsize=3, markersize=5, label=label)
