"""Figure 3: offline learning from uniform data in the sign-agreement game."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style
from pjap_bench.games.polynomial import PolynomialGame

# Drawn length of an arrow for a vector of length 1.
ARROW_SCALE = 0.16


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws Figure 3 from games/figure3.npz of `results`: the data, the two fields, the trajectories with predicted ends.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure3.npz")
    game = PolynomialGame(arrays["coefficients"], "sign_agreement")
    data, policies, predicted = arrays["data"], arrays["policies"], arrays["predicted"]
    figure = style.new_figure(10.8, 4.5)
    points, fields, paths = figure.subplots(1, 3)
    colour = style.COLOURS["maddpg"]

    points.set_title("(a) Dataset")
    points.scatter(*data.T, c=game.reward(data), cmap=style.SURFACE_MAP, vmin=-1, vmax=1, s=9)
    mean = data.mean(axis=0)
    points.plot(*mean, "X", color=colour, markeredgecolor="white", markersize=11, label=f"Mean ({mean[0]:.2f}, {mean[1]:.2f})")
    points.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xlabel="$a_x$", ylabel="$a_y$")
    points.set(xticks=np.linspace(-1, 1, 5), yticks=np.linspace(-1, 1, 5))
    points.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))

    fields.set_title(r"(b) Fields $\nabla R$ and $\nabla J$")
    style.draw_surface(fields, game.reward)
    side = np.linspace(-0.85, 0.85, 8)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    true = game.gradient(grid)
    brud = game.brud_gradient(grid, np.broadcast_to(data, (len(grid), *data.shape)))
    # Each field by its own scale: J's vectors are some 20 times shorter, and only directions are compared.
    enlarged = 1 / np.linalg.norm(brud[0])
    for field, shade, name in (
        (true, "white", r"$\nabla R$ (true)"),
        (enlarged * brud, colour, r"$\nabla J$ (BRUD), enlarged"),
    ):
        fields.quiver(
            *grid.T, *(ARROW_SCALE * field).T, color=shade, angles="xy", scale_units="xy", scale=1, width=0.007, label=name
        )
    fields.set(xlabel="$a_x$")
    legend = fields.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, facecolor="#9a9a9a")
    legend.get_frame().set_alpha(1)

    limit = 1.12 * max(1.0, np.abs(policies).max(), np.abs(predicted).max())
    paths.set_title("(c) Trajectories")
    style.draw_surface(paths, game.reward, limit=limit)
    # [run, step, agent] -> [step, run] for each agent: one column, one line, one legend entry for all runs.
    lines = paths.plot(policies[..., 0].T, policies[..., 1].T, color=colour, linewidth=2, path_effects=style.outlined(2))
    lines[0].set_label("MADDPG")
    edge = {"linestyle": "none", "markeredgecolor": "white"}
    paths.plot(*policies[:, 0].T, "o", color="black", markersize=7, label="Start", **edge)
    paths.plot(
        *predicted.T, "o", color="none", markeredgecolor="black", markeredgewidth=1.5, markersize=11, label="Predicted end"
    )
    paths.plot(*policies[:, -1].T, "*", color="black", markersize=10, label="End", **edge)
    paths.set(xlabel="$a_x$")
    paths.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, columnspacing=0.8, handletextpad=0.3)
    style.footer(figure, stamp)
    return figure
