"""What the notebook shows for a study: pictures and the text beside them, as one piece of HTML without scripts or links."""

import base64
import functools
import html
import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame
from pjap_bench.notebook.study import Arm, Study

ARMS = {"maddpg": "BRUD", "maddpg_pjap": "BRUD with PJAP"}
SIZE, DPI = (3.6, 3.5), 150  # of a panel, inches
SQUARE = (0.135, 0.115, 0.86 * SIZE[1] / SIZE[0], 0.86)  # of a panel with a surface: where the joint actions are
# Colours of small things, which a palette of the most frequent ones would miss.
KEPT = [tuple(round(255 * part) for part in to_rgb(name)) for name in ("white", "black", *map(style.COLOURS.get, ARMS))]
# Of the critical points: marker, its name in the text, words.
KINDS = {
    "maximum": ("^", "▲", "maximum"),
    "minimum": ("v", "▼", "minimum"),
    "saddle": ("X", "✖", "saddle"),
    "degenerate": (".", "•", "on a line of critical points, or too flat to tell"),
}
LISTED = 6  # critical points in the text

CSS = """
<style>
.study { font-size: 15px; line-height: 1.5; }
.study .panels { display: grid; gap: 0.8rem; margin: 0.8rem 0; }
.study .panels { grid-template-columns: repeat(auto-fit, minmax(min(100%, 16rem), 1fr)); }
.study figure { margin: 0; max-width: 34rem; }
.study figcaption { font-weight: bold; font-size: 0.93em; padding: 0 0 0.2rem; }
.study img { display: block; width: 100%; height: auto; margin: 0; }
.study p { margin: 0.4rem 0; max-width: 62rem; }
.study .key { color: #444; font-size: 0.9em; }
.study .arm { font-weight: bold; }
.study .error { border-left: 4px solid #8c1d04; background: #fdeae4; color: #5c1200; padding: 0.8rem 1rem; }
</style>
"""


def page(study: Study) -> str:
    """The text and all panels of a study."""
    with np.errstate(over="ignore", invalid="ignore"):  # of runs on their way to infinity
        return _page(study)


def _page(study: Study) -> str:
    pictures = [("Learning", _learning(study), _learning_words(study))]
    pictures += [("Reward", _rewards(study), "The reward of the policy over the steps.")]
    pictures += [("Distance of the data to the policy", _distances(study), "Half the L1 distance, over the steps.")]
    fields = {"True gradient ∇R": (study.true_field, "white", None)}
    for name, arm in study.arms.items():
        fields[f"{ARMS[name]}: ∇J"] = (arm.field, style.COLOURS[name], arm)
    for title, (field, colour, arm) in fields.items():
        pictures.append((title, _field(study, field, colour, arm), "Arrows of the gradient over the reward surface."))
    panels = "\n".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<img src="{_data_uri(picture)}" alt="{html.escape(words, quote=True)}" width="{SIZE[0] * DPI:.0f}" '
        f'height="{SIZE[1] * DPI:.0f}"></figure>'
        for title, picture, words in pictures
    )
    return f'{CSS}<div class="study">{_text(study)}\n<div class="panels">{panels}</div>\n{_key(study)}</div>'


def error_page(error: BenchError) -> str:
    """The message in place of the pictures."""
    return f'{CSS}<div class="study"><p class="error" role="alert">{html.escape(str(error))}</p></div>'


def formula(game: PolynomialGame) -> str:
    """R as HTML, such as 5xy − 4x²y²."""
    terms = []
    for (i, j), value in sorted(np.ndenumerate(game.coefficients), key=lambda entry: (sum(entry[0]), -entry[0][0])):
        if value == 0:
            continue
        power = "".join(
            letter + (f"<sup>{exponent}</sup>" if exponent > 1 else "") for letter, exponent in (("x", i), ("y", j)) if exponent
        )
        size = "" if abs(value) == 1 and power else f"{abs(value):g}"
        terms.append(("−" if value < 0 else "+", size + power))
    if not terms:
        return "0"
    text = "".join(f" {sign} {term}" for sign, term in terms)[1:]
    return text.removeprefix("+ ") if text.startswith("+") else text.replace("− ", "−", 1)


def _text(study: Study) -> str:
    settings, (best, most) = study.settings, study.best
    if settings.source == "buffer":
        data = f"a replay buffer of {settings.buffer_size}, filled while learning (section 3.1)"
    elif settings.points == 1:
        data = f"one data point, {_point(study.arms['maddpg'].data[0])}"
    else:
        spread = {"gaussian": "Gaussian points, σ", "uniform": "uniform points, half width"}[settings.distribution]
        mean = study.arms["maddpg"].data.mean(axis=0)
        data = f"{settings.points} {spread} = {settings.spread:g}, of sample mean {_point(mean)}"
    batch = "all data in each step" if settings.batch is None else f"batches of {settings.batch}"
    lines = [f"<strong>R = {formula(study.game)}</strong>, learnt from {data}; {batch}."]
    for name, arm in study.arms.items():
        title = f'<span class="arm" style="color: {style.COLOURS[name]}">{ARMS[name]}</span>'
        if arm.diverged:
            lines.append(f"{title} diverges: after {len(arm.policies) - 1} steps the policy is no finite number.")
            continue
        end = arm.policies[-1]
        outside = ", outside the square shown" if np.abs(end).max() > settings.view else ""
        steps = "1 step" if settings.steps == 1 else f"{settings.steps} steps"
        line = f"{title} ends at {_point(end)}{outside}, with R = {_number(study.game.reward(end))} after {steps}."
        if name == "maddpg" and study.predicted is not None:
            reward = study.game.reward(study.predicted)
            line += (
                f" The closed form of section 3.2 says that from this dataset, with all data in each step, it ends at "
                f"{_point(study.predicted)} with R = {_number(reward)} (○)."
            )
        lines.append(line)
    lines.append(f"The highest reward in the square shown is {_number(most)} (dotted line), at {_point(best)}.")
    return "".join(f"<p>{line}</p>" for line in lines)


def _key(study: Study) -> str:
    parts = ["Brighter is higher. ● start, ★ end of learning, small grey dots: data (or the buffer at the end)."]
    points = study.critical_points
    if points:
        listed = [f"{KINDS[point.kind][1]} {_point(point.action)} R = {_number(point.reward)}" for point in points[:LISTED]]
        listed += [f"and {len(points) - LISTED} more"] * (len(points) > LISTED)
        names = [f"{mark} {words}" for kind, (_, mark, words) in KINDS.items() if kind in {point.kind for point in points}]
        parts.append(f"Critical points in the square ({', '.join(names)}): {'; '.join(listed)}.")
    else:
        parts.append("There is no critical point in the square.")
    parts.append(
        "Fields: the true gradient moves both agents at once (section 2.3); BRUD takes the other agent's action from the data "
        "(Eq. 4, section 3); PJAP weighs the data by their distance to the policy (Eqs. 6 and 7, section 4), here as if "
        "every priority were up to date. An arrow's length grows with the square root of the gradient's."
    )
    return "".join(f'<p class="key">{part}</p>' for part in parts)


@style.styled
def _learning(study: Study) -> Image.Image:
    figure, axes = _overlay(study)
    _data(axes, study.arms["maddpg_pjap" if "maddpg_pjap" in study.arms else "maddpg"])
    for name, arm in study.arms.items():
        # Where both arms do the same, the wider line below stays visible.
        wide, colour = {"maddpg": 3.0, "maddpg_pjap": 1.6}[name], style.COLOURS[name]
        # No picture needs points far outside the square, and the renderer does not bear them.
        trail = np.clip(arm.policies, -10 * study.settings.view, 10 * study.settings.view)
        axes.plot(*trail.T, color=colour, linewidth=wide, path_effects=style.outlined(wide, 0.7), zorder=3)
        if not arm.diverged:
            axes.plot(*trail[-1], "*", color=colour, markeredgecolor="white", markersize=13, zorder=5)
    axes.plot(*study.arms["maddpg"].policies[0], "o", color="black", markeredgecolor="white", markersize=7, zorder=4)
    if study.predicted is not None:
        axes.plot(*study.predicted, "o", color="none", markeredgecolor="white", markersize=15, markeredgewidth=3.2, zorder=4)
        axes.plot(*study.predicted, "o", color="none", markeredgecolor=style.COLOURS["maddpg"], markersize=15, zorder=4)
    return _on_surface(study, figure)


@style.styled
def _field(study: Study, field: np.ndarray, colour: str, arm: Arm | None) -> Image.Image:
    figure, axes = _overlay(study)
    if arm is not None:
        _data(axes, arm)
    length = np.linalg.norm(field, axis=-1, keepdims=True)
    longest = length.max()
    if longest > 0:
        arrows = field / longest / np.sqrt(np.maximum(length / longest, 1e-12))
        step = study.grid[0, 1, 0] - study.grid[0, 0, 0]
        axes.quiver(
            *np.moveaxis(study.grid, -1, 0),
            *np.moveaxis(arrows, -1, 0),
            color=colour,
            edgecolor="black" if colour == "white" else "white",
            linewidth=0.4,
            angles="xy",
            scale_units="xy",
            scale=1 / (1.3 * step),
            width=0.011,
            headwidth=3.4,
            headlength=4,
            headaxislength=3.6,
            pivot="mid",
            zorder=3,
        )
    return _on_surface(study, figure)


@style.styled
def _rewards(study: Study) -> Image.Image:
    figure, axes = _axes(study, "Reward")
    most = study.best[1]
    axes.axhline(most, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
    for name, arm in study.arms.items():
        rewards = study.game.reward(arm.policies)
        axes.plot(np.clip(rewards, -1e12, 1e12), **_curve(name, len(rewards)))
    axes.legend(loc="best")
    return _picture(figure)


@style.styled
def _distances(study: Study) -> Image.Image:
    figure, axes = _axes(study, "Distance")
    for name, arm in study.arms.items():
        axes.plot(arm.distance_steps, np.minimum(arm.distances, 1e12), **_curve(name, len(arm.distances)))
    axes.set_ylim(0, None)
    axes.legend(loc="best")
    return _picture(figure)


def _curve(name: str, points: int) -> dict:
    marker = "o" if points < 3 else None  # a line of one point would not be seen
    return {
        "color": style.COLOURS[name],
        "label": ARMS[name],
        "linewidth": 2.4 if name == "maddpg" else 1.4,
        "marker": marker,
    }


def _axes(study: Study, label: str) -> tuple[Figure, Axes]:
    figure = _figure()
    axes = figure.add_axes((0.19, 0.13, 0.78, 0.83))
    margin = 0.03 * study.settings.steps
    axes.set(xlabel="Step", ylabel=label, xlim=(-margin, study.settings.steps + margin))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure, axes


@functools.lru_cache(maxsize=16)
@style.styled
def _surface(coefficients: tuple[tuple[float, ...], ...], view: float, most: float) -> Image.Image:
    """The reward over the square with its axes: the slow part of a panel, and the same for all panels of a game.

    The lowest rewards, far from anything of interest, have one colour.
    """
    game = PolynomialGame(coefficients)
    figure = _figure()
    axes = figure.add_axes(SQUARE)
    side = np.linspace(-view, view, 41)
    rewards = game.reward(np.stack(np.meshgrid(side, side), axis=-1))
    floor = most - 2 * (most - np.median(rewards))
    style.draw_surface(axes, game.reward, view, max(floor, rewards.min()) if floor < most else None)
    axes.set_xlabel("x", labelpad=0)
    axes.set_ylabel("y", labelpad=-4)
    return _picture(figure)


def _overlay(study: Study) -> tuple[Figure, Axes]:
    """Transparent, for what lies on the surface; the critical points are there already."""
    figure, limits = _figure(), (-study.settings.view, study.settings.view)
    figure.patch.set_alpha(0)
    axes = figure.add_axes(SQUARE, xlim=limits, ylim=limits)
    axes.set_axis_off()
    for kind, (marker, _, _) in KINDS.items():
        actions = np.array([point.action for point in study.critical_points if point.kind == kind]).reshape(-1, 2)
        axes.plot(*actions.T, marker, color="white", markeredgecolor="black", markersize=7.5, zorder=4)
    return figure, axes


def _on_surface(study: Study, figure: Figure) -> Image.Image:
    coefficients = tuple(map(tuple, study.game.coefficients.tolist()))
    return Image.alpha_composite(_surface(coefficients, study.settings.view, study.best[1]), _picture(figure))


def _data(axes: Axes, arm: Arm) -> None:
    size = 4 if len(arm.data) > 20 else 7
    look = {"color": "#dddddd", "markeredgecolor": "#333333", "markeredgewidth": 0.4, "markersize": size, "alpha": 0.7}
    axes.plot(*arm.data.T, "." if size == 4 else "o", zorder=2, **look)


def _figure() -> Figure:
    """Without the layout engine of the paper's figures, which takes longer than the drawing."""
    figure = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _learning_words(study: Study) -> str:
    ends = [f"{ARMS[name]} from {_point(arm.policies[0])} to {_point(arm.policies[-1])}" for name, arm in study.arms.items()]
    return f"The policy's way over the reward surface: {'; '.join(ends)}."


def _picture(figure: Figure) -> Image.Image:
    """RGBA."""
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))


def _data_uri(picture: Image.Image) -> str:
    """A PNG of 256 colours: a quarter of the bytes, in less time than the full colours take."""
    picture = picture.convert("RGB")
    few = picture.resize((picture.width // 4, picture.height // 4), Image.Resampling.NEAREST).quantize(256 - len(KEPT))
    colours = np.array(few.getpalette()[: 3 * (256 - len(KEPT))]).reshape(-1, 3)
    colours[colours.min(axis=-1) >= 248] = 255  # a page's white is white
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours.ravel().tolist(), *np.ravel(KEPT).tolist()])
    buffer = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: float) -> str:
    text = f"{value:.3f}" if 1e-3 <= abs(value) < 1e3 else "0" if abs(value) < 5e-9 else f"{value:.3g}"
    return text.replace("-", "−")


def _point(action: np.ndarray) -> str:
    return f"({', '.join(_number(value if abs(value) >= 5e-4 else 0.0) for value in action)})"
