"""Claims C4, C5, C6 and C9: full-batch BRUD from random datasets in each of the four games."""

import itertools

import numpy as np

from pjap_bench.games import theory
from pjap_bench.games.experiments.estimates import exact, mean, share
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.learning import learn_full_batch
from pjap_bench.games.polynomial import preset, twin_peaks

GAMES_BY_INTERACTION = ("decoupled", "sign_agreement", "action_agreement", "twin_peaks")

# Success in bounded games (C9): this share of the way from random play to the best reward.
SUCCESS_SHARE = 0.95


def run(settings: dict) -> Experiment:
    """The same datasets in every game: Gaussian, each with a centre uniform in a square and a spread uniform from 0.

    Success asks the same of all games: that learning ends at the best the game offers.
    - Games without a best reward (decoupled, sign agreement; R is unbounded above): learning runs to ever higher R, that is,
      it ends above where it began after a way so long that the start no longer matters.
    - Games with a best reward R* (action agreement, Twin Peaks): the final R has come at least 95 % of the way from random
      play, the mean reward of actions uniform in the square [-1, 1]^2, to R*. A share of R* alone would not do, since R* is 0 in
      action agreement; the games' rewards differ in size, and this puts them on one scale. The order does not hang on
      95 %: the shares at 90 % and 99 % are given too.
    """
    own, peaks = settings["random_datasets"], settings["twin_peaks"]
    numbers = stream(settings, 9)
    centres = numbers.uniform(-own["centre"], own["centre"], (own["datasets"], 1, 2))
    spreads = numbers.uniform(0, own["sigma"], (own["datasets"], 1, 1))
    data = centres + spreads * numbers.standard_normal((own["datasets"], own["points"], 2))
    start, means, datasets = np.array(own["start"], dtype=float), data.mean(axis=1), own["datasets"]

    # The fields of the unbounded games are constant, so that the step size is only the unit of time.
    far = own["unbounded"]
    gains = {}
    for name in ("decoupled", "sign_agreement"):
        game = preset(name)
        ends = learn_full_batch(game, data, start, learning_rate=far["learning_rate"], steps=far["steps"], keep=False)
        gains[name] = game.reward(ends) - game.reward(start)
    rises = {name: gain > 0 for name, gain in gains.items()}
    predicted = np.sign(means[:, 0]) == np.sign(means[:, 1])

    near = own["bounded"]
    ends = {
        name: learn_full_batch(game, data, start, learning_rate=near["learning_rate"], steps=near["steps"], keep=False)
        for name, game in {"action_agreement": preset("action_agreement"), "twin_peaks": twin_peaks(**peaks)}.items()
    }
    agreed = preset("action_agreement").reward(ends["action_agreement"])
    best = {"action_agreement": 0.0, "twin_peaks": theory.twin_peaks_optimum(**peaks)[1]}
    # E[x^2] = 1/3 and E[xy] = 0 for actions uniform in [-1, 1]^2.
    random_play = {"action_agreement": -2 / 3, "twin_peaks": -2 * peaks["a"] / 3 - peaks["b"] / 9}
    reward = {"action_agreement": agreed, "twin_peaks": twin_peaks(**peaks).reward(ends["twin_peaks"])}
    way = {name: (reward[name] - random_play[name]) / (best[name] - random_play[name]) for name in ends}

    succeeds = rises | {name: way[name] >= SUCCESS_SHARE for name in ends}
    shares = {name: share(succeeds[name]) for name in GAMES_BY_INTERACTION}
    ordered = {f"share that succeeds, {name}": found for name, found in shares.items()}
    for simpler, harder in itertools.pairwise(GAMES_BY_INTERACTION):
        ordered[f"share in {simpler} minus share in {harder}"] = mean(succeeds[simpler].astype(float) - succeeds[harder])
    for limit in (0.90, 0.99):
        for name in ends:
            ordered[f"share that comes {limit:.0%} of the way, {name}"] = share(way[name] >= limit)
    estimates = {
        "C4": {"share of random datasets that improve R": exact(rises["decoupled"].mean(), datasets)},
        "C5": {"agreement of prediction and outcome": exact(np.mean(predicted == rises["sign_agreement"]), datasets)},
        "C6": {
            "largest error of the policy": exact(np.abs(ends["action_agreement"] - means[:, ::-1]).max(), datasets),
            "largest error of R": exact(np.abs(agreed + (means[:, 0] - means[:, 1]) ** 2).max(), datasets),
        },
        "C9": ordered,
    }
    arrays = {
        "means": means,
        "decoupled_speed": gains["decoupled"] / (far["learning_rate"] * far["steps"]),
        "sign_agreement_rises": rises["sign_agreement"],
        "action_agreement_final": ends["action_agreement"],
        # [game by interaction, (share, low, high)]
        "shares": np.array([[found[key] for key in ("value", "low", "high")] for found in shares.values()]),
    }
    return Experiment(arrays, estimates)
