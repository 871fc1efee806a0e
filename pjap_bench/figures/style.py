"""The look that all figures share, and how a figure is written with its provenance inside the file."""

import functools
import itertools
import json
import textwrap
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke
from matplotlib.ticker import MaxNLocator

from pjap_bench.errors import BenchError
from pjap_bench.files import written_beside

# Okabe and Ito's palette, safe for the common colour-vision deficiencies; one colour per arm through all figures.
COLOURS = {
    "maddpg": "#D55E00",
    "maddpg_pjap": "#0072B2",
    "maddpg_cql": "#D55E00",
    "maddpg_cql_pjap": "#0072B2",
    "behaviour_cloning": "#009E73",
    "maddpg_cql_current": "#CC79A7",
    "independent_ddpg_cql": "#E69F00",
    "maddpg_cql_td_error": "#56B4E9",
}
# Of arms that are not named above, in their order: Paul Tol's dark ones, told apart from those and from each other.
SPARE_COLOURS = ("#332288", "#882255", "#999933", "#555555")
NEUTRAL_COLOUR = "#555555"
DATASETS = {"good": "Good", "medium": "Medium", "good_medium": "GoodMedium", "all": "All datasets"}

# The lower edge of a figure belongs to its stamp: 0.28 inch, which at the 150 dpi of a picture are so many pixels.
FOOTER_INCHES = 0.28
FOOTER_PIXELS = 42
SURFACE_MAP = "viridis"


def colours_of(arms: Iterable[str]) -> dict[str, str]:
    """The colour of each arm in all figures; those without one of their own take the spare ones in turn.

    An arm of a sweep, `ARM__VARIANT`, has its arm's colour, where it is the only one.
    """
    arms = list(arms)
    names = [arm.partition("__")[0] for arm in arms]
    spare = itertools.cycle(SPARE_COLOURS)
    return {
        arm: COLOURS.get(name if names.count(name) == 1 else arm) or next(spare) for arm, name in zip(arms, names, strict=True)
    }


def in_lines(labels: Iterable[str], width: int = 20) -> list[str]:
    """Labels broken into lines, so that a long one beside an axis does not take the axis' room."""
    return [textwrap.fill(label, width) for label in labels]


def levels(count: int) -> list[tuple[float, ...]]:
    """Colours of `count` ordered settings (buffer sizes, spreads), dark to light, none of them an arm's colour."""
    return [matplotlib.colormaps["magma"](0.05 + 0.7 * place / max(count - 1, 1)) for place in range(count)]


SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 8,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.5,
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator: `draw` runs under the common settings, and matplotlib's global ones are as before afterwards."""

    @functools.wraps(draw)
    def wrapper(*arguments, **named) -> Figure:
        with matplotlib.rc_context(SETTINGS):
            return draw(*arguments, **named)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) of its own, unknown to pyplot, with room for the footer."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0, FOOTER_INCHES / height, 1, 1 - FOOTER_INCHES / height))
    return figure


def draw_surface(axes: Axes, reward: Callable[[np.ndarray], np.ndarray], limit: float = 1.0, floor: float | None = None) -> None:
    """Paints a game's reward over the joint actions in [-limit, limit]^2, rewards below `floor` in one colour.

    Args:
        reward: from actions [..., 2] to rewards [...].
    """
    side = np.linspace(-limit, limit, 201)
    values = reward(np.stack(np.meshgrid(side, side), axis=-1))
    box = (-limit, limit, -limit, limit)
    axes.imshow(values, origin="lower", extent=box, cmap=SURFACE_MAP, vmin=floor, interpolation="bilinear", aspect="equal")
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 5, 10]))
    axes.spines[["top", "right"]].set_visible(True)


def outlined(width: float, edge: float = 0.9) -> list[AbstractPathEffect]:
    """A white edge for lines (and letters) on a surface, since no colour contrasts with the whole map."""
    return [Stroke(linewidth=width + 2 * edge, foreground="white"), Normal()]


def draw_band(axes: Axes, band: np.ndarray, colour, label: str | None = None, width: float = 1.5) -> None:
    """A median over the steps from 0 with the middle of runs around it, from `band` [(low, median, high), step]."""
    low, middle, high = band
    steps = np.arange(len(middle))
    axes.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(steps, middle, color=colour, linewidth=width, label=label)


def draw_runs(axes: Axes, at: float, values: np.ndarray, colour, width: float = 0.3, **look) -> None:
    """Each run's value [run] as a dot, spread around the place `at` of the x axis in the order of runs."""
    places = at + np.linspace(-width, width, len(values))
    axes.plot(places, values, "o", color=colour, markeredgewidth=0, **({"markersize": 2.2, "alpha": 0.45} | look))


def draw_middle(axes: Axes, at: float, values: np.ndarray, colour, label: str | None = None, marker: str = "o") -> None:
    """The median of runs [run] at the place `at` of the x axis, with their middle 95 %."""
    low, middle, high = np.percentile(values, [2.5, 50, 97.5])
    bars = {"fmt": marker, "color": colour, "capsize": 5, "markersize": 5, "markeredgecolor": "white", "elinewidth": 1.8}
    # Rounding may leave the median of equal values beside their percentiles.
    reach = [[max(middle - low, 0)], [max(high - middle, 0)]]
    axes.errorbar([at], [middle], yerr=reach, label=label, zorder=4, **bars)


def read_table(path: Path) -> pd.DataFrame:
    """A table of the statistics.

    Raises:
        BenchError: the file is missing or broken.
    """
    try:
        return pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BenchError(f"cannot be read ({reason})", where=path, do="run the statistics step again") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file.

    Raises:
        BenchError: the file is missing or broken.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BenchError(f"not a readable npz file ({error})", where=path, do="run the games step again") from error


def footer(figure: Figure, stamp: dict) -> None:
    """Writes where the figure came from in small type along its lower edge.

    Args:
        stamp: provenance (see `pjap_bench.provenance`): pjap_bench, scale, code and image are shown.
    """
    image = str(stamp.get("image", "uncontained"))
    name, _, digest = image.partition("@sha256:")
    if digest:
        image = f"{name}@sha256:{digest[:12]}…"
    parts = [f"pjap_bench {stamp.get('pjap_bench', '?')}", f"scale {stamp.get('scale', '?')}"]
    parts += [f"code {stamp.get('code', '?')}", image]
    figure.text(0.995, 0.006, " · ".join(parts), ha="right", va="bottom", fontsize=6, color=NEUTRAL_COLOUR)


def save(figure: Figure, target_stem: str | Path, stamp: dict, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Writes `target_stem`.png (150 dpi) and .pdf, each with the stamp inside and no date, so equal input gives equal bytes.

    The stamp is JSON: text chunk 'Description' of the PNG, document information 'Subject' of the PDF.

    Returns:
        the paths written.
    """
    target_stem = Path(target_stem)
    text = json.dumps(stamp, sort_keys=True)
    metadata = {
        "png": {"Title": target_stem.name, "Description": text},
        "pdf": {"Title": target_stem.name, "Subject": text, "CreationDate": None},
    }
    with matplotlib.rc_context(SETTINGS):
        _settle(figure)
    written = []
    for kind in kinds:
        # Not with_suffix: a stem may hold a dot.
        target = target_stem.with_name(f"{target_stem.name}.{kind}")
        with written_beside(target) as temporary, matplotlib.rc_context(SETTINGS):
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata[kind])
        written.append(target)
    return written


def _settle(figure: Figure) -> None:
    """Ends the layout of a figure at rounded places.

    The solver behind it visits its variables in the order of their addresses in memory, so that the last digits of what it
    finds differ from one process to the next.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(float(value), 6) for value in axes.get_position(original=True).bounds])
