"""Figure 4 over seeds: actions by step, and their distance to the closed form, by spread of the data."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws bands over the datasets from games/figure4.npz of `results`: above the action, below the error.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure4.npz")
    sigmas, datasets = arrays["sigmas"], arrays["optimum_final"].shape[1]
    colours = style.levels(len(sigmas))
    figure = style.new_figure(9, 7)
    grid = figure.subplots(2, 2, sharey="row", sharex="row")
    titles = {"origin": "(a) Data around the origin, as drawn", "optimum": "(b) Data around the optimum, as drawn"}
    for (actions, errors), (centre, title) in zip(grid.T, titles.items(), strict=True):
        actions.set_title(title)
        for place, (sigma, colour) in enumerate(zip(sigmas, colours, strict=True)):
            label = rf"$\sigma$ = {sigma:g}"
            style.draw_band(actions, arrays[f"{centre}_action_bands"][place], colour, label)
            # Below rounding an error may be exactly zero, which a logarithmic axis cannot show.
            style.draw_band(errors, np.maximum(arrays[f"{centre}_error_bands"][place], 1e-18), colour, label)
        actions.axhline(float(arrays["optimum"]), color="black", linestyle=":", linewidth=1)
        actions.set(xlim=(0, 250), xlabel="Step")
        errors.set(xlim=(0, 1000), ylim=(1e-18, 2), yscale="log", xlabel="Step")
        errors.axhline(1e-12, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
        errors.text(990, 1.6e-12, "tolerance $10^{-12}$", ha="right", va="bottom", fontsize=8, color=style.NEUTRAL_COLOUR)
    grid[0, 0].text(248, float(arrays["optimum"]) + 0.012, r"true optimum $a^\dagger$", ha="right", va="bottom", fontsize=8)
    grid[0, 0].set_ylabel(f"Mean action of both agents,\nmedian and middle 95 % of {datasets} datasets")
    grid[1, 0].set_ylabel("Distance to the dataset's own closed form\n(larger of the agents')")
    grid[0, 0].legend(loc="center right", title="Spread of the data")
    style.footer(figure, stamp)
    return figure
