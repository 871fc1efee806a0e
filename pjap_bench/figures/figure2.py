"""Figure 2: the size of the replay buffer and online learning in the sign-agreement game."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# The drawn square: a little over the paper's, so that exploration around its edge is seen.
LIMIT = 1.15


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 2 from games/figure2.npz of `results`: a column a buffer size; trajectory, reward, last buffer.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure2.npz")
    game = PolynomialGame(arrays["coefficients"], "sign_agreement")
    sizes, target, steps = arrays["buffer_sizes"], float(arrays["target_reward"]), arrays["steps"]
    figure = style.new_figure(2.55 * len(sizes), 7.6)
    grid = figure.subplots(3, len(sizes), sharey="row", sharex="row")
    colour = style.COLOURS["maddpg"]
    end = int(min(steps.max(), arrays["policies"].shape[1] - 1))
    for column, size in enumerate(sizes):
        path, curve, buffer = grid[:, column]
        last = int(min(steps[column, 0], arrays["policies"].shape[1] - 1))
        shown = arrays["policies"][column, : last + 1]
        median_length = np.median(arrays["path_lengths"][column])
        path.set_title(f"Buffer size {size}")
        style.draw_surface(path, game.reward, limit=LIMIT)
        path.plot(*shown.T, color=colour, linewidth=2, path_effects=style.outlined(2), label="Policy, one run")
        path.plot(*shown[0], "o", color="black", markeredgecolor="white", markersize=7, label="Start")
        path.plot(*shown[-1], "*", color="black", markeredgecolor="white", markersize=12, label=f"R > {target:g}")
        path.text(0.03, 0.03, f"median path {median_length:.2f}", transform=path.transAxes, color="black", fontsize=7.5)
        path.set_xlabel("$a_x$")

        curve.plot(game.reward(shown), color=colour)
        curve.axhline(target, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
        median = np.median(steps[column])
        curve.axvline(median, color=style.NEUTRAL_COLOUR, linestyle="--", linewidth=1)
        look = {"color": style.NEUTRAL_COLOUR, "fontsize": 7.5, "rotation": 90, "ha": "right", "va": "bottom"}
        curve.text(median - 8, -0.28, f"median {median:.0f}", **look)
        curve.set(xlim=(0, 1.03 * end), ylim=(-0.4, 0.58), xlabel="Update")

        held = arrays[f"buffer_{size}"]
        style.draw_surface(buffer, game.reward, limit=LIMIT)
        buffer.plot(*held.T, "o", color=colour, markersize=3, markeredgecolor="white", markeredgewidth=0.3, label="Buffer")
        buffer.plot(*shown[-1], "*", color="black", markeredgecolor="white", markersize=12, label="Policy")
        stale = np.median(arrays["staleness"][column])
        buffer.text(0.03, 0.03, f"median distance {stale:.2f}", transform=buffer.transAxes, color="black", fontsize=7.5)
        buffer.set_xlabel("$a_x$")
    grid[0, 0].set_ylabel("Trajectory\n$a_y$")
    grid[1, 0].set_ylabel("Reward")
    grid[2, 0].set_ylabel("Buffer at the last update\n$a_y$")
    grid[0, 0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    grid[2, 0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    style.footer(figure, stamp)
    return figure
