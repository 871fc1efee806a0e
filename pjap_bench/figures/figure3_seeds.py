"""Figure 3 over seeds: random uniform datasets and random starts in sign agreement, predicted against simulated."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pjap_bench.figures import style

KINDS = {"full": ("Full batch", "black", "o"), "batch": ("Mini-batch", style.COLOURS["maddpg"], "s")}


@style.styled
def draw(results: Path, stamp: dict) -> Figure:
    """Draws displacements, angles and rewards from games/figure3.npz of `results`.

    Raises:
        BenchError: the data is missing or broken.
    """
    arrays = style.read_arrays(results / "games" / "figure3.npz")
    predicted, agree = arrays["seed_predicted"], arrays["seed_agree"]
    figure = style.new_figure(10.8, 4.2)
    moves, angles, rewards = figure.subplots(1, 3)

    moves.set_title(f"Displacement of both agents, {len(predicted)} datasets")
    reach = 1.05 * max(np.abs(predicted).max(), *(np.abs(arrays[f"seed_moved_{kind}"]).max() for kind in KINDS))
    moves.plot([-reach, reach], [-reach, reach], color=style.NEUTRAL_COLOUR, linewidth=0.8, label="Predicted = simulated")
    looks = {"full": {"markersize": 2.2, "zorder": 3}, "batch": {"markersize": 3.5, "alpha": 0.5, "markeredgewidth": 0}}
    for kind, (label, colour, marker) in KINDS.items():
        moved = arrays[f"seed_moved_{kind}"]
        moves.plot(predicted.reshape(-1), moved.reshape(-1), marker, color=colour, label=label, **looks[kind])
    axis = {"xlim": (-reach, reach), "ylim": (-reach, reach), "aspect": "equal"}
    moves.set(xlabel="Predicted from the means of the data", ylabel="Simulated", **axis)
    moves.legend(loc="upper left")

    angles.set_title("Angle to the predicted direction")
    for kind, of_kind in zip(KINDS, arrays["seed_angles"], strict=True):
        label, colour, _ = KINDS[kind]
        ordered = np.sort(np.maximum(of_kind, 1e-16))
        angles.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), color=colour, drawstyle="steps-post", label=label)
    angles.set(xscale="log", xlim=(1e-16, np.pi), ylim=(0, 1.02), xlabel="Angle in radians", ylabel="Share of datasets below")
    angles.set_xticks([1e-16, 1e-12, 1e-8, 1e-4, 1])
    angles.legend(loc="center", bbox_to_anchor=(0.55, 0.5))

    rewards.set_title("Reward, full batch: median and middle 95 %")
    groups = ((agree, "#009E73", "agree"), (~agree, "#CC79A7", "differ"))
    for band, (group, colour, word) in zip(arrays["seed_reward_bands"], groups, strict=True):
        style.draw_band(rewards, band, colour, f"Signs of the means {word} ({group.sum()})")
    rewards.axhline(0, color=style.NEUTRAL_COLOUR, linestyle=":", linewidth=1)
    rewards.set(xlabel="Step", ylabel="Reward", xlim=(0, arrays["seed_reward_bands"].shape[-1] - 1))
    rewards.legend(loc="upper left")
    style.footer(figure, stamp)
    return figure
