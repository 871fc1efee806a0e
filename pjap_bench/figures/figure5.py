"""Figure 5: Twin Peaks with and without PJAP, a row a spread of the data."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# The paper's colour range: below it the surface is one colour.
FLOOR = -0.5
LABELS = {"maddpg": "MADDPG", "maddpg_pjap": "MADDPG+PJAP"}


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 5 from games/figure5.npz of `results`: dataset, trajectories, mean distance, reward.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure5.npz")
    game = PolynomialGame(arrays["coefficients"], "twin_peaks")
    sigmas = arrays["sigmas"]
    figure = style.new_figure(11, 2.6 * len(sigmas) + 0.9)
    grid = figure.subplots(len(sigmas), 4)
    titles = ("Dataset", "Trajectory", "Mean distance between training\nsamples and current policy", "Sample efficiency")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    best = float(arrays["optimum_reward"])
    for row, sigma in enumerate(sigmas):
        points, paths, distances, rewards = grid[row]
        data = arrays["data"][row]
        points.scatter(*data.T, c=game.reward(data), cmap=style.SURFACE_MAP, vmin=FLOOR, vmax=best, s=12)
        points.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", ylabel=rf"$\sigma$ = {sigma:g}")
        points.yaxis.label.set_fontsize(11)
        style.draw_surface(paths, game.reward, floor=FLOOR)
        for arm, label in LABELS.items():
            trail, colour = arrays[f"{arm}_policies"][row], style.COLOURS[arm]
            # Where both arms do the same (no spread), the wider line below stays visible.
            wide, edge, curve = (3.2, 0.9, 2.4) if arm == "maddpg" else (1.2, 0.4, 1.3)
            paths.plot(*trail.T, color=colour, linewidth=wide, path_effects=style.outlined(wide, edge))
            paths.plot(*trail.T, ".", color=colour, markersize=wide + 3)
            paths.plot(*trail[-1], "*", color=colour, markeredgecolor="white", markersize=12, zorder=3)
            distances.plot(arrays[f"{arm}_distances"][row], color=colour, linewidth=curve, label=label)
            rewards.plot(game.reward(trail), color=colour, linewidth=curve, label=label)
        paths.plot(*arrays["maddpg_policies"][row, 0], "o", color="black", markeredgecolor="white", markersize=7, zorder=3)
        distances.set(ylabel="Distance", ylim=(0, None))
        rewards.axhline(best, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1, label="R*")
        limit = float(arrays["maddpg_limit_reward"][row])
        rewards.axhline(limit, color="black", linewidth=0.6, label="Closed form of MADDPG's limit, dataset shown", zorder=3)
        rewards.set(ylabel="Reward", ylim=(-2.1, 0.75))
        ours, published = _final(arrays, row), arrays["published_final_reward"][row]
        if np.isfinite(published).all():
            text = "\n".join(
                f"{name} {ours[arm]} (paper {value:.3f})"
                for arm, name, value in zip(LABELS, ("without", "with PJAP"), published, strict=True)
            )
            runs = arrays["maddpg_final_reward"].shape[1]
            text = f"Final R, middle 95 % of {runs} runs\n{text}"
            rewards.text(0.98, 0.06, text, transform=rewards.transAxes, ha="right", va="bottom", fontsize=6.5)
        if row == len(sigmas) - 1:
            for axes in (distances, rewards):
                axes.set_xlabel("Epochs")
    handles, labels = grid[0, 3].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9)
    style.footer(figure, stamp)
    return figure


def _final(arrays: dict[str, np.ndarray], row: int) -> dict[str, str]:
    bands = {arm: np.percentile(arrays[f"{arm}_final_reward"][row], [2.5, 97.5]) for arm in LABELS}
    return {arm: f"{low:.3f}–{high:.3f}" for arm, (low, high) in bands.items()}
