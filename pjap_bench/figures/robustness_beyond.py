"""Beyond the paper's kernel and data: where the optimum lies outside the data, and other kernels and distances."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.figures.robustness import RATES, read_cells


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws the sweeps `centre` and `kernels` of games/robustness.csv in `results`.

    Raises:
        BenchError: the data is missing or broken.
    """
    cells = read_cells(results)
    centre, kernels = cells[cells["sweep"] == "centre"], cells[cells["sweep"] == "kernels"]
    sigmas = sorted(kernels["sigma"].unique())
    figure = style.new_figure(11, 5.2)
    grid = figure.subplots(1, 1 + len(sigmas), gridspec_kw={"width_ratios": [1.5, *[1] * len(sigmas)]})

    moved = grid[0]
    moved.set_title("Data around another centre")
    spreads = sorted(centre["sigma"].unique())
    for place, (sigma, colour) in enumerate(zip(spreads, style.levels(len(spreads)), strict=True)):
        for with_pjap, line in ((True, "-"), (False, ":")):
            rows = centre[(centre["sigma"] == sigma) & ((centre["refresh"] != "none") == with_pjap)].sort_values("shift")
            error = [rows["success_rate"] - rows["low"], rows["high"] - rows["success_rate"]]
            # Side by side, so that curves which coincide remain visible.
            at = rows["shift"] + 0.012 * (place - (len(spreads) - 1) / 2)
            label = rf"$\sigma$ = {sigma:g}, {'PJAP' if with_pjap else 'without'}"
            look = {"color": colour, "linestyle": line, "capsize": 2, "marker": "o" if with_pjap else "s", "markersize": 4}
            moved.errorbar(at, rows["success_rate"], yerr=np.maximum(error, 0), label=label, **look)
    runs = int(cells["runs"].iloc[0])
    moved.set(xlabel="Shift of the data's centre from the optimum, both agents", ylim=(-0.04, 1.04))
    moved.set_ylabel(rf"Share of {runs} datasets with final $R \geq 0.95\,R^*$ (95 % interval)")
    moved.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=7.5)

    for axes, sigma in zip(grid[1:], sigmas, strict=True):
        rows = kernels[kernels["sigma"] == sigma]
        names = list(dict.fromkeys(zip(rows["kernel"], rows["distance"], strict=True)))
        alphas = sorted(rows["alpha"].unique())
        by_cell = rows.set_index(["kernel", "distance", "alpha"])["success_rate"]
        rates = np.array([[by_cell[(*name, alpha)] for alpha in alphas] for name in names])
        axes.imshow(rates, cmap=RATES, vmin=0, vmax=1, aspect="auto")
        for (row, column), rate in np.ndenumerate(rates):
            axes.text(column, row, f"{rate:.0%}", ha="center", va="center", fontsize=7, color="black" if rate > 0.5 else "white")
        axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
        axes.set(title=rf"Share by kernel, distance, $\sigma$ = {sigma:g}", xlabel=r"$\alpha$")
        axes.set_yticks(range(len(names)), [", ".join(name) for name in names] if axes is grid[1] else [""] * len(names))
    style.footer(figure, stamp)
    return figure
