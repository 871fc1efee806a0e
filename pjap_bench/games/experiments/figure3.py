"""Figure 3 and claim C3: offline learning in sign agreement from uniform data."""

import numpy as np

from pjap_bench.games.experiments.estimates import band, bands, exact, median, point
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.learning import learn_full_batch, learn_offline
from pjap_bench.games.polynomial import PolynomialGame, preset


def run(settings: dict) -> Experiment:
    """One dataset recentred to the paper's means and three starts; then random datasets, as drawn, each with a random start.

    Over the seeds the data is not recentred, so that its mean points in any direction; starts are uniform in [-1, 1]^2. The
    full batch tests the prediction to rounding; mini-batches show what their noise leaves of it.
    """
    own = settings["figure3"]
    game = preset("sign_agreement")
    data = stream(settings, 3).uniform(own["low"], own["high"], (own["points"], 2))
    mean = np.array(own["mean"], dtype=float)
    data += mean - data.mean(axis=0)
    starts = np.array(own["starts"], dtype=float)
    # One dataset for all runs: its run axis of length 1 broadcasts against the starts.
    policies = learn_full_batch(game, data[None], starts, learning_rate=own["learning_rate"], steps=own["steps"])
    moved = policies[:, -1] - starts
    predicted = own["learning_rate"] * own["steps"] * mean[::-1]
    angle, error = angles(moved, predicted), np.abs(moved - predicted).max()
    seeds = _over_seeds(game, settings)
    # [seed]: how far full and mini-batch end from the predicted direction.
    full, mini = (angles(seeds[f"seed_moved_{kind}"], seeds["seed_predicted"]) for kind in ("full", "batch"))
    arrays = {
        "coefficients": game.coefficients,
        "data": data,
        "mean": mean,
        "policies": policies,
        "predicted": starts + predicted,
        "seed_angles": np.stack([full, mini]),
    } | seeds
    count = own["seeds"]
    estimates = {
        "largest angle to (mean a_y, mean a_x) in radians": exact(angle.max(), len(starts)),
        "largest error of the displacement": exact(error, len(starts)),
        f"largest angle over {count} random datasets and starts, full batch": exact(full.max(), count),
        f"median angle over {count} random datasets and starts, batch {own['batch']}": median(mini),
    }
    caption = (
        f"Offline MADDPG in sign agreement: {own['points']} uniform points recentred to means {point(mean)}. From each of "
        f"{len(starts)} starts, {own['steps']} full-batch steps of {own['learning_rate']:g} move the policy by "
        f"{point(predicted)}, as the mean predicts (largest error {error:.0e}). The paper prints the true field of xy as "
        "(a_x, a_y); it is (a_y, a_x)."
    )
    agree = int(seeds["seed_agree"].sum())
    of_seeds = (
        f"{count} uniform datasets as drawn, each with its own random start. The full batch moves the policy along (mean a_y, "
        f"mean a_x) in all of them (largest angle {full.max():.0e} rad); with batches of {own['batch']} the angle is "
        f"{band(np.degrees(mini), '.1f')} degrees (median and middle 95 %). Where the signs of the data's means agree ({agree} "
        f"datasets) the median reward rises, else ({count - agree}) it falls."
    )
    return Experiment(arrays, {"C3": estimates}, {"figure3": caption, "figure3_seeds": of_seeds})


def _over_seeds(game: PolynomialGame, settings: dict) -> dict[str, np.ndarray]:
    own = settings["figure3"]
    drawn, count = stream(settings, 3, 1), own["seeds"]
    data = drawn.uniform(own["low"], own["high"], (count, own["points"], 2))
    starts = drawn.uniform(-1, 1, (count, 2))
    predicted = own["learning_rate"] * own["steps"] * data.mean(axis=1)[:, ::-1]
    full = learn_full_batch(game, data, starts, learning_rate=own["learning_rate"], steps=own["steps"])
    mini = learn_offline(
        game,
        data,
        starts,
        learning_rate=own["learning_rate"],
        epochs=own["steps"],
        batch=own["batch"],
        sampler={"name": "uniform"},
        sampling=stream(settings, 3, 2),
    )
    agree = predicted.prod(axis=1) > 0
    reward = game.reward(full)
    return {
        "seed_predicted": predicted,
        "seed_moved_full": full[:, -1] - starts,
        "seed_moved_batch": mini.policies[:, -1] - starts,
        "seed_agree": agree,
        # [(signs agree, signs differ), (low, median, high), step]
        "seed_reward_bands": np.stack([bands(reward[group]) for group in (agree, ~agree)]),
    }


def angles(moved: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The angles [...], in radians, between displacements [..., 2]; accurate near 0, as arccos would not be."""
    sine = moved[..., 0] * predicted[..., 1] - moved[..., 1] * predicted[..., 0]
    return np.abs(np.arctan2(sine, (moved * predicted).sum(axis=-1)))
