"""Figure 1 and claim C1: one BRUD step and one true-gradient step in sign agreement, from one data point."""

import numpy as np

from pjap_bench.games.experiments.estimates import band, exact, point
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.polynomial import preset


def run(settings: dict) -> Experiment:
    """The paper's pair of policy and data point, then random pairs around it.

    Over the seeds, policy and data point are uniform in the squares of half-width `spread` around the paper's; 0.5 makes that
    the whole quadrants (-,+) and (+,-) of [-1, 1]^2. The mirrored data point, (-1) times the drawn one, lies in the policy's
    own quadrant, where section 4 expects no harm.
    """
    own = settings["figure1"]
    game, rate = preset("sign_agreement"), own["learning_rate"]
    policy, data = np.array(own["policy"], dtype=float), np.array(own["data"], dtype=float)

    def change(policies: np.ndarray, steps: np.ndarray) -> np.ndarray:
        return game.reward(policies + rate * steps) - game.reward(policies)

    brud, true = game.brud_gradient(policy, data[None]), game.gradient(policy)
    brud_change, true_change = float(change(policy, brud)), float(change(policy, true))
    # [policy or data, seed, agent]
    drawn = np.stack([policy, data])[:, None] + stream(settings, 1).uniform(-own["spread"], own["spread"], (2, own["seeds"], 2))
    policies, datums = drawn
    changes = np.stack(
        [
            change(policies, game.brud_gradient(policies, datums[:, None])),
            change(policies, game.brud_gradient(policies, -datums[:, None])),
            change(policies, game.gradient(policies)),
        ]
    )
    arrays = {
        "coefficients": game.coefficients,
        "policy": policy,
        "data": data,
        "brud_gradient": brud,
        "true_gradient": true,
        "reward_changes": np.array([brud_change, true_change]),
        "learning_rate": np.array(rate),
        "seed_policies": policies,
        "seed_data": datums,
        "seed_changes": changes,  # [BRUD, BRUD on the mirrored point, true gradient; seed]
    }
    estimates = {
        "BRUD change of R": exact(brud_change),
        "true-gradient change of R": exact(true_change),
        "share of random pairs where the BRUD step lowers R": exact(np.mean(changes[0] < 0), own["seeds"]),
        "share of random pairs where the true gradient raises R": exact(np.mean(changes[2] > 0), own["seeds"]),
        "share where BRUD raises R on the point mirrored into the policy's quadrant": exact(
            np.mean(changes[1] > 0), own["seeds"]
        ),
    }
    caption = (
        f"Sign agreement, R = xy. From the policy {point(policy)} and the data point {point(data)}, a BRUD step of size "
        f"{rate:g} changes R by {brud_change:+.4f}, a step along the true gradient by {true_change:+.4f}."
    )
    of_seeds = (
        f"{own['seeds']} pairs of policy and data point, uniform in squares of half-width {own['spread']:g} around those of "
        f"Figure 1. Change of R, median and middle 95 %: BRUD {band(changes[0])}, true gradient {band(changes[2])}; the BRUD "
        f"step lowers R in {np.mean(changes[0] < 0):.1%} of pairs. With the data point mirrored into the policy's own "
        f"quadrant BRUD raises R in {np.mean(changes[1] > 0):.1%} ({band(changes[1])})."
    )
    return Experiment(arrays, {"C1": estimates}, {"figure1": caption, "figure1_seeds": of_seeds})
