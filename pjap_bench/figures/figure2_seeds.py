"""Figure 2 over seeds: reward by update, and what it took to reach the target, by size of the replay buffer."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws the reward's bands, and steps, path lengths and staleness of all runs, from games/figure2.npz of `results`.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure2.npz")
    sizes, target = arrays["buffer_sizes"], float(arrays["target_reward"])
    runs = arrays["steps"].shape[1]
    colours = style.levels(len(sizes))
    figure = style.new_figure(11, 4.2)
    curves, *columns = figure.subplots(1, 4, width_ratios=(2.1, 1, 1, 1))

    curves.set_title(f"Reward, {runs} runs a size")
    for size, band, colour in zip(sizes, arrays["reward_bands"], colours, strict=True):
        style.draw_band(curves, band, colour, f"Buffer size {size}")
    curves.axhline(target, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
    # The reward has no bound: shown until the target.
    curves.set(xlim=(0, 1.05 * np.percentile(arrays["steps"], 99)), ylim=(-0.4, 1.16 * target), xlabel="Update", ylabel="Reward")
    curves.text(4, target, f"target R = {target:g}", va="bottom", fontsize=7.5, color=style.NEUTRAL_COLOUR)
    curves.legend(loc="lower right", bbox_to_anchor=(1.0, 0.02))

    quantities = (
        ("steps", "Steps to the target", 0),
        ("path_lengths", "Path length to the target", 1),
        ("staleness", "Staleness", None),
    )
    for axes, (key, title, column) in zip(columns, quantities, strict=True):
        axes.set_title(title)
        for place, (values, colour) in enumerate(zip(arrays[key], colours, strict=True)):
            style.draw_runs(axes, place, values, colour)
            style.draw_middle(axes, place, values, "black", label="Median, middle 95 %" if place == 0 else None)
        if column is not None:
            expected = arrays["expected_medians"][:, column]
            look = {"color": "#009E73", "markersize": 15, "markeredgewidth": 2, "linestyle": "none"}
            axes.plot(range(len(sizes)), expected, "_", label="Expected median", zorder=3, **look)
        axes.set(xticks=range(len(sizes)), xlim=(-0.6, len(sizes) - 0.4), ylim=(0, None), xlabel="Buffer size")
        axes.set_xticklabels([str(size) for size in sizes])
        axes.legend(loc="lower right", fontsize=7)
    columns[2].set_ylabel("Mean distance of the data to the policy")
    style.footer(figure, stamp)
    return figure
