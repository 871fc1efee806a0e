"""Figure 5 over seeds: distance, reward and final reward with and without PJAP, a row a spread of the data."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pjap_bench.figures import style
from pjap_bench.figures.figure5 import LABELS


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws bands over the runs, and all final rewards, from games/figure5.npz of `results`.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure5.npz")
    sigmas, best = arrays["sigmas"], float(arrays["optimum_reward"])
    runs = arrays["maddpg_final_reward"].shape[1]
    figure = style.new_figure(11, 2.5 * len(sigmas) + 1.1)
    grid = figure.subplots(len(sigmas), 4, width_ratios=(1.7, 1.7, 1, 1))
    titles = ("Mean distance between training\nsamples and current policy", "Reward", "Final R,\nMADDPG", "Final R,\nMADDPG+PJAP")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    for row, sigma in enumerate(sigmas):
        distances, rewards, *finals = grid[row]
        for arm, label in LABELS.items():
            # Where both arms do the same (no spread), the wider line below stays visible.
            width = 2.4 if arm == "maddpg" else 1.3
            look = {"colour": style.COLOURS[arm], "label": f"{label}, median and middle 95 % of {runs} runs", "width": width}
            style.draw_band(distances, arrays[f"{arm}_distance_bands"][row], **look)
            style.draw_band(rewards, arrays[f"{arm}_reward_bands"][row], **look)
        distances.set(ylabel=rf"$\sigma$ = {sigma:g}" + "\nDistance", ylim=(0, None))
        rewards.axhline(best, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
        rewards.set(ylabel="Reward", ylim=(-2.1, 0.75))
        for place, (axes, arm) in enumerate(zip(finals, LABELS, strict=True)):
            _final(axes, arrays, row, place, arm)
    for axes in grid[-1, :2]:
        axes.set_xlabel("Epochs")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    for axes in grid[:, 2:].flat:
        found = zip(*axes.get_legend_handles_labels(), strict=True)
        named |= {label: handle for handle, label in found if label not in named}
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=3, fontsize=8)
    style.footer(figure, stamp)
    return figure


def _final(axes: Axes, arrays: dict[str, np.ndarray], row: int, place: int, arm: str) -> None:
    """Every run's final R, our band and what it is compared with; runs far below the others are counted, not drawn."""
    values, best = arrays[f"{arm}_final_reward"][row], float(arrays["optimum_reward"])
    (low, high), published = arrays["expected_final_reward"][row, place], arrays["published_final_reward"][row, place]
    style.draw_runs(axes, 0, values, style.COLOURS[arm], 0.25)
    style.draw_middle(axes, 0.45, values, style.COLOURS[arm])
    shown = [*np.percentile(values, [1.5, 98.5]), best]
    axes.axhline(best, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1, label="R*")
    if np.isfinite(low):
        look = {"color": "#009E73", "capsize": 5, "elinewidth": 1.8, "fmt": "none"}
        middle = (low + high) / 2
        axes.errorbar([0.65], [middle], yerr=(high - low) / 2, label="Expected band of 200 runs", **look)
        axes.plot(0.85, published, "D", color="black", markersize=5, label="Paper's picture (error 0.005)")
        shown += [low, high, published]
        if arm == "maddpg_pjap":
            biased = float(arrays["fixed_point_reward"])
            axes.axhline(biased, color="#CC79A7", linestyle="--", linewidth=1.2, label="PJAP's fixed point, locally uniform data")
            shown.append(biased)
    margin = max(0.12 * (max(shown) - min(shown)), 2e-3)
    bottom = min(shown) - margin
    below = int(np.sum(values < bottom))
    if below:
        text = f"↓ {below} run{'s' * (below > 1)} below this axis, to {values.min():.2f}".replace("-", "−")
        axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=6.5)
    axes.set(xlim=(-0.4, 1.05), ylim=(bottom, max(shown) + margin), xticks=[])
    axes.yaxis.set_major_locator(MaxNLocator(5))
