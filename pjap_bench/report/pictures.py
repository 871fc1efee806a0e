"""What the report shows of figures: titles, and what they show for who cannot see them."""

import base64
import dataclasses
from pathlib import Path

from pjap_bench.errors import BenchError
from pjap_bench.files import sha256


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        title: its first words.
        alternative: what it shows, in words, without results: those are in the caption.
    """

    title: str
    alternative: str


# In the order of the page. `NAME_seeds` folds out under `NAME`. The games' captions come from games/.
FIGURES = {
    "figure1": Picture(
        "Figure 1.",
        "Three panels of the reward surface of R = xy: the current policy and a data point in opposite quadrants; the update of "
        "each agent in response to the other agent's data; the BRUD step and the true gradient from the policy, with the change "
        "of R by each.",
    ),
    "figure1_seeds": Picture(
        "Figure 1 over seeds.",
        "Left, many policies in one quadrant of R = xy with their BRUD steps for data points in the opposite quadrant. Right, "
        "the change of R for each pair by BRUD, by BRUD on data of the policy's own quadrant and by the true gradient.",
    ),
    "figure2": Picture(
        "Figure 2.",
        "A column for each size of the replay buffer in sign agreement: above the policy's trajectory on the reward surface, in "
        "the middle the reward by update, below the joint actions in the buffer at the last update.",
    ),
    "figure2_seeds": Picture(
        "Figure 2 over seeds.",
        "Left, the reward by update with a band for each size of the replay buffer. Right, steps to the target, path length and "
        "staleness of every run by size of the buffer.",
    ),
    "figure3": Picture(
        "Figure 3.",
        "Sign agreement: the points of a uniform dataset with their mean; the true field and the BRUD field on the reward "
        "surface; trajectories from different starts with their predicted ends.",
    ),
    "figure3_seeds": Picture(
        "Figure 3 over seeds.",
        "Predicted against simulated displacement for random datasets, full batch and mini-batch; the angles to the predicted "
        "direction; and the reward by step where the signs of the data's means agree and where they differ.",
    ),
    "figure4": Picture(
        "Figure 4.",
        "Twin Peaks: trajectories on the reward surface for growing spreads of the data around the origin (above) and around the "
        "optimum (below), and beside them the learnt action by spread with its closed form.",
    ),
    "figure4_seeds": Picture(
        "Figure 4 over seeds.",
        "By step, for each spread of the data around the origin (left) and around the optimum (right): above the mean action "
        "with its band over datasets, below the distance to the closed form on a logarithmic axis.",
    ),
    "figure5": Picture(
        "Figure 5.",
        "A row for each spread of the data in Twin Peaks: the dataset, trajectories with and without PJAP on the reward surface, "
        "mean distance of the sampled data to the policy and reward by epoch.",
    ),
    "figure5_seeds": Picture(
        "Figure 5 over seeds.",
        "A row for each spread of the data: distance and reward by epoch with bands for both arms, and every run's final reward "
        "beside the expected band, the paper's value, the best reward and PJAP's fixed point.",
    ),
    "robustness": Picture(
        "Robustness map of PJAP (beyond the paper).",
        "Heat maps of the share of datasets from which PJAP finds the optimum of Twin Peaks: a row of panels for each start, a "
        "column for each rule of refreshing and one without PJAP; in a panel alpha by epsilon, for each spread of the data. "
        "Crosses mark where the floor epsilon weighs 1 % of the kernel or more.",
    ),
    "robustness_beyond": Picture(
        "Other centres, kernels and distances (beyond the paper).",
        "Left, the share of datasets that succeed by the shift of the data's centre from the optimum, with PJAP and without, for "
        "four spreads. Right, tables of the share by kernel, distance and alpha for two spreads.",
    ),
    "figure6": Picture("Figure 6.", "Bars of final returns, curves of distances and of returns."),
    "comparisons": Picture(
        "The arms of Figure 6 compared (beyond the paper).",
        "A row for each dataset and one for all: every arm's difference in final return to MADDPG+CQL by seed, the probability "
        "that its run is better, and the share of runs above each return.",
    ),
}

# The small figures next to the verdicts.
CLAIMS = {
    "C1": "Two bars: the change of R by a BRUD step and by a step along the true gradient.",
    "C2a": "Medians of steps, path length and staleness by size of the replay buffer, relative to the smallest, with bands.",
    "C2b": "Final policies of all runs in the plane of both actions, the quadrants ++ and -- shaded.",
    "C3": "For each start, the predicted displacement as a wide grey arrow and the simulated one as a thin arrow on it.",
    "C4": "The change of R in the decoupled game for each random dataset, against the sum of the data's means.",
    "C5": "The means of each random dataset, marked by whether R rose, over quadrants shaded by the prediction.",
    "C6": "Final against predicted actions in action agreement for each random dataset, with the diagonal.",
    "C7": "Final actions by spread of the data around the origin, exactly centred and as drawn, below a line at the optimum.",
    "C8": "Simulated final actions by spread on the curve of the closed form; inset, the spread that Equation 5 needs by mean.",
    "C9": "Bars with intervals: the share of random datasets that succeed in each of the four games.",
    "C10": "Final R as a share of the best for each run, by spread and arm, with a line at 0.95 and crosses on failed PJAP runs.",
    "C11": "For each pair of runs, the distance with PJAP minus without by spread of the data, with a line at zero.",
}

DATASET_ALTERNATIVE = (
    "Histogram of episode returns, stacked by behaviour policy, with the published mean and spread where there are any; a matrix "
    "of distances between the behaviour policies with its numbers; the lengths of episodes where they vary; and for every "
    "number of every agent’s action a small histogram from −1 to 1."
)


def embedded(path: Path) -> dict:
    """The PNG as a data URI, and its digest.

    Raises:
        BenchError: it is not there.
    """
    try:
        picture = path.read_bytes()
    except OSError as error:
        raise BenchError("the figure is not there", where=path, do="run the figures step") from error
    return {"uri": "data:image/png;base64," + base64.b64encode(picture).decode(), "sha256": sha256(path)}
