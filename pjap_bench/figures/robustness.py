"""The robustness map of PJAP: how often it finds the optimum of Twin Peaks, by spread, alpha, epsilon, refreshing and start."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pjap_bench.errors import BenchError
from pjap_bench.figures import style

# From no run to all runs; its ends differ in lightness, so it reads in grey and for colour-blind readers.
RATES = "cividis"


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws the sweep `map` of games/robustness.csv in `results`: a panel a start (row) and rule of refreshing (column).

    Raises:
        BenchError: the data is missing or broken.
    """
    cells = read_cells(results)
    cells = cells[cells["sweep"] == "map"]
    without, pjap = cells[cells["refresh"] == "none"], cells[cells["refresh"] != "none"]
    starts = list(dict.fromkeys(pjap["start"]))
    rules = list(dict.fromkeys(zip(pjap["refresh"], pjap["rounds"], strict=True)))
    sigmas, alphas, epsilons = (sorted(pjap[key].unique()) for key in ("sigma", "alpha", "epsilon"))
    figure = style.new_figure(2.2 + 1.75 * len(rules), 1.2 + 2.9 * len(starts))
    widths = [0.32, *[1] * len(rules)]
    grid = figure.subplots(len(starts), 1 + len(rules), sharey="row", gridspec_kw={"width_ratios": widths}, squeeze=False)
    height = len(epsilons)
    for row, start in enumerate(starts):
        of_start = without[without["start"] == start].set_index("sigma")["success_rate"]
        image = _rates(grid[row, 0], np.repeat([[of_start[sigma]] for sigma in sigmas], height, axis=0), len(sigmas), height)
        grid[row, 0].set_xticks([])
        grid[row, 0].set_ylabel(f"Start: {start.replace('_', ' ')}\n" + r"$\epsilon$, for each $\sigma$")
        grid[row, 0].set_yticks(range(len(sigmas) * height), [_power(value) for _ in sigmas for value in epsilons], fontsize=6.5)
        for column, (rule, rounds) in enumerate(rules, start=1):
            axes = grid[row, column]
            chosen = pjap[(pjap["start"] == start) & (pjap["refresh"] == rule) & (pjap["rounds"] == rounds)]
            by_cell = chosen.set_index(["sigma", "epsilon", "alpha"])["success_rate"]
            keys = [(sigma, epsilon) for sigma in sigmas for epsilon in epsilons]
            _rates(axes, np.array([[by_cell[(*key, alpha)] for alpha in alphas] for key in keys]), len(sigmas), height)
            axes.set_xticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
            # The rule of thumb is broken.
            for place, (sigma, epsilon) in enumerate(keys):
                for at, alpha in enumerate(alphas):
                    if epsilon * math.pi * sigma**2 * alpha >= 0.01:
                        axes.plot(at, place, "x", color="#D55E00", markersize=3.5, markeredgewidth=0.9)
            if row == len(starts) - 1:
                axes.set_xlabel(r"$\alpha$")
            if row == 0:
                axes.set_title(f"{rule}\n{'' if rule == 'all' else f'{rounds} round' + 's' * (rounds > 1)}")
            if column == len(rules):
                for group, sigma in enumerate(sigmas):
                    axes.text(len(alphas) - 0.35, height * (group + 0.5) - 0.5, rf"$\sigma$ = {sigma:g}", va="center", fontsize=8)
        if row == 0:
            grid[row, 0].set_title("no\nPJAP")
    bar = figure.colorbar(image, ax=grid, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    runs = int(pjap["runs"].iloc[0])
    succeeds = rf"Share of {runs} datasets with final $R \geq 0.95\,R^*$"
    bar.set_label(rf"{succeeds};  ×: $\epsilon\,\pi\,\sigma^2\alpha \geq 0.01$, the floor weighs 1 % of the kernel or more")
    style.footer(figure, stamp)
    return figure


def read_cells(results: Path) -> pd.DataFrame:
    """games/robustness.csv of `results`.

    Raises:
        BenchError: the file is missing or is not a robustness map.
    """
    path = results / "games" / "robustness.csv"
    try:
        # "none" is a rule of refreshing here, not a missing value.
        cells = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise BenchError(f"not a readable CSV file ({error})", where=path, do="run the robustness step again") from error
    needed = {
        "sweep",
        "sigma",
        "shift",
        "refresh",
        "rounds",
        "start",
        "kernel",
        "distance",
        "alpha",
        "epsilon",
        "success_rate",
        "runs",
    }
    missing = needed - set(cells.columns)
    if missing or cells.empty:
        what = f"no column {', '.join(sorted(missing))}" if missing else "no rows"
        raise BenchError(what, where=path, do="run the robustness step again")
    return cells


def _rates(axes: Axes, rates: np.ndarray, groups: int, height: int) -> AxesImage:
    """A heat map of rates [group * height, column] with a white line between groups."""
    image = axes.imshow(rates, cmap=RATES, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for group in range(1, groups):
        axes.axhline(group * height - 0.5, color="white", linewidth=2.5)
    axes.tick_params(length=2)
    return image


def _power(value: float) -> str:
    exponent = math.log10(value)
    return rf"$10^{{{exponent:.0f}}}$" if abs(exponent - round(exponent)) < 1e-9 else f"{value:g}"
