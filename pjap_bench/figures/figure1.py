"""Figure 1: catastrophic miscoordination under BRUD, from one data point in the sign-agreement game."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# Drawn length of an arrow for a gradient of length 1; the gradients themselves are computed.
ARROW_SCALE = 0.55

# Legends between title and picture, as in the paper.
ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
TITLE_PAD = 32


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 1 from games/figure1.npz of `results`: the points, what each agent responds to, and both updates.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure1.npz")
    game = PolynomialGame(arrays["coefficients"], "sign_agreement")
    policy, data = arrays["policy"], arrays["data"]
    figure = style.new_figure(10.5, 4.1)
    points, responses, updates = figure.subplots(1, 3)
    for axes in (points, responses, updates):
        style.draw_surface(axes, game.reward)
        axes.axhline(0, color="white", linewidth=0.5, alpha=0.5)
        axes.axvline(0, color="white", linewidth=0.5, alpha=0.5)
        axes.tick_params(length=3)

    points.set_title("Current policy and data point", pad=TITLE_PAD)
    _guides(points, policy, ":", "black", label="Current policy")
    _guides(points, data, "-", "black", label=r"Data point, $\mathbf{a}\sim\mathcal{B}$")
    for x in (-1, 1):
        for y in (-1, 1):
            sign = f"{'−' if x < 0 else '+'}{'−' if y < 0 else '+'}"
            points.text(0.88 * x, 0.88 * y, sign, color="white", ha="center", va="center", fontsize=11)
    _name_ticks(points, {policy[0]: r"$\mu(\theta_x)$", data[0]: "$a_x$"}, {policy[1]: r"$\mu(\theta_y)$", data[1]: "$a_y$"})
    points.legend(**ABOVE, ncols=2)

    responses.set_title("Each agent responds to the data", pad=TITLE_PAD)
    red = style.COLOURS["maddpg"]
    # Which way each agent's action goes, at its tick as in the paper.
    x_name = (r"$\leftarrow\,$" if arrays["brud_gradient"][0] < 0 else "") + r"$\mu(\theta_x)$"
    x_name += r"$\,\rightarrow$" if arrays["brud_gradient"][0] > 0 else ""
    y_name = (r"$\downarrow$" if arrays["brud_gradient"][1] < 0 else r"$\uparrow$") + r"$\,\mu(\theta_y)$"
    # Agent x sees (own action, the other's data action), agent y (the other's data action, own action).
    for own, seen in ((0, np.array([policy[0], data[1]])), (1, np.array([data[0], policy[1]]))):
        _guides(responses, seen, ":", red, only=own)
        _guides(responses, seen, "-", "black", only=1 - own)
        responses.plot(*seen, "o", color=red, markeredgecolor="white", markersize=7)
        step = np.zeros(2)
        step[own] = arrays["brud_gradient"][own]
        _arrow(responses, seen, step, red)
    _name_ticks(responses, {policy[0]: x_name, data[0]: "$a_x$"}, {policy[1]: y_name, data[1]: "$a_y$"}, red)
    responses.plot([], [], color=red, marker=r"$\rightarrow$", markersize=12, linestyle="none", label="Policy updates by agent")
    responses.legend(**ABOVE)

    updates.set_title("The joint update", pad=TITLE_PAD)
    _guides(updates, policy, ":", "black")
    changes = arrays["reward_changes"]
    for gradient, colour, name, change in (
        (arrays["brud_gradient"], red, r"$\nabla J$", changes[0]),
        (arrays["true_gradient"], "white", r"$\nabla R$", changes[1]),
    ):
        _arrow(updates, policy, gradient, colour)
        tip = policy + ARROW_SCALE * gradient
        # To the right of the tip, clear of the arrow itself.
        offset = (6, -4) if gradient[0] > 0 else (14, 6)
        text = rf"{name}: $\Delta R$ = {change:+.4f}"
        label = updates.annotate(text, tip, offset, textcoords="offset points", color=colour, va="center", fontweight="bold")
        if colour == red:
            label.set_path_effects(style.outlined(0.6))
    _name_ticks(updates, {policy[0]: x_name}, {policy[1]: y_name}, red)
    handles = [
        updates.plot([], [], color=red, linewidth=2, label=r"$\nabla J$  BRUD update")[0],
        updates.plot([], [], color="white", linewidth=2, label=r"$\nabla R$  optimal update")[0],
    ]
    legend = updates.legend(handles=handles, **ABOVE, ncols=2, facecolor="#9a9a9a")
    legend.get_frame().set_alpha(1)
    style.footer(figure, stamp)
    return figure


def _guides(axes: Axes, at: np.ndarray, line: str, colour: str, label: str | None = None, only: int | None = None) -> None:
    """Lines from `at` to the axes on which its actions are read: to both, or to that of one agent."""
    if only in (None, 0):
        axes.plot([at[0], at[0]], [-1, at[1]], line, color=colour, label=label)
    if only in (None, 1):
        axes.plot([-1, at[0]], [at[1], at[1]], line, color=colour)
    axes.plot(*at, "o", color=colour, markersize=5)


def _arrow(axes: Axes, start: np.ndarray, gradient: np.ndarray, colour: str) -> None:
    tip = start + ARROW_SCALE * gradient
    shape = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.2, "mutation_scale": 14, "shrinkA": 4, "shrinkB": 0}
    axes.annotate("", xy=tip, xytext=start, arrowprops=shape)


def _name_ticks(axes: Axes, x: dict[float, str], y: dict[float, str], colour: str = "black") -> None:
    """Names at the ticks; the first of each axis, the policy's, in `colour`."""
    axes.set_xticks(list(x), list(x.values()), fontsize=10)
    axes.set_yticks(list(y), list(y.values()), fontsize=10)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        labels[0].set_color(colour)
