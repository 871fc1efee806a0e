"""Figure 1 over seeds: BRUD steps from random policies and data points in opposite quadrants of sign agreement."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# Drawn length of an arrow for a gradient of length 1.
ARROW_SCALE = 0.25


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws the pairs with their BRUD steps, and the changes of R, from games/figure1.npz of `results`.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure1.npz")
    game = PolynomialGame(arrays["coefficients"], "sign_agreement")
    policies, datums = arrays["seed_policies"], arrays["seed_data"]
    figure = style.new_figure(10.5, 4.3)
    pairs, changes = figure.subplots(1, 2, width_ratios=(1, 1.5))
    red = style.COLOURS["maddpg"]

    pairs.set_title(f"{len(policies)} policies, data points and BRUD steps")
    style.draw_surface(pairs, game.reward)
    steps = game.brud_gradient(policies, datums[:, None])
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004}
    pairs.quiver(*policies.T, *(ARROW_SCALE * steps).T, color=red, **look)
    pairs.plot(*policies.T, "o", color="black", markersize=2.5, label="Policy")
    pairs.plot(*datums.T, "x", color="black", markersize=3.5, label="Data point")
    pairs.plot([], [], color=red, marker=r"$\rightarrow$", markersize=11, linestyle="none", label=r"BRUD step $\nabla J$")
    pairs.set(xlabel="$a_x$", ylabel="$a_y$")
    pairs.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, columnspacing=1)

    rate = float(arrays["learning_rate"])
    changes.set_title(f"Change of R by one step of size {rate:g}: runs, median and middle 95 %")
    names = ("BRUD,\ndata in the opposite quadrant", "BRUD,\ndata in the policy's quadrant", "True gradient")
    for place, (of_kind, colour) in enumerate(zip(arrays["seed_changes"], (red, "#E69F00", "#009E73"), strict=True)):
        style.draw_runs(changes, place, of_kind, colour)
        style.draw_middle(changes, place, of_kind, "black")
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
        changes.annotate(f"R rises in {np.sum(of_kind > 0)} of {len(of_kind)}", (place, 1), (0, -12), **where)
    changes.axhline(0, color=style.NEUTRAL_COLOUR, linewidth=1, linestyle=":")
    low, high = changes.get_ylim()
    changes.set(xticks=range(3), xlim=(-0.5, 2.5), ylim=(low, high + 0.12 * (high - low)), ylabel=r"Change of R")
    changes.set_xticklabels(names)
    style.footer(figure, stamp)
    return figure
