"""Figure 5 and claims C10, C11: Twin Peaks with and without PJAP from data around the optimum, by spread."""

import numpy as np

from pjap_bench.games import theory
from pjap_bench.games.experiments.estimates import band, bands, exact, listed, mean
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.learning import Trajectories, learn_offline
from pjap_bench.games.polynomial import PolynomialGame, twin_peaks

ARMS = ("maddpg", "maddpg_pjap")

# Final rewards by sigma and arm, read from the paper's picture with an error of about 0.005.
PUBLISHED_FINAL_REWARD = {0.2: (0.554, 0.562), 0.5: (0.424, 0.550), 1.0: (0.143, 0.541)}

# The middle 95 % of 200 runs' final rewards by sigma and arm, as an independent simulation gave them before this one was written.
EXPECTED_FINAL_REWARD = {
    0.2: ((0.553, 0.556), (0.562, 0.562)),
    0.5: ((0.403, 0.443), (0.555, 0.562)),
    1.0: ((0.109, 0.182), (0.549, 0.562)),
}

# Success (C10): this share of the best reward.
SUCCESS_SHARE = 0.95


def run(settings: dict) -> Experiment:
    """The run shown is the first. Arms are paired: same data and same uniform numbers for the sampler."""
    own, peaks = settings["figure5"], settings["twin_peaks"]
    game = twin_peaks(**peaks)
    optimum, best = theory.twin_peaks_optimum(**peaks)
    samplers = dict(zip(ARMS, ({"name": "uniform"}, {"name": "pjap"} | own["pjap"]), strict=True))
    sigmas = own["sigmas"]
    by_arm = {f"{arm}_{what}": [] for arm in ARMS for what in ("policies", "distances", "final_reward")}
    by_arm |= {f"{arm}_{what}_bands": [] for arm in ARMS for what in ("distance", "reward")}
    shown_data, limits, changes, solved, closer = [], [], [], {}, {}
    for place, sigma in enumerate(sigmas):
        data = optimum + sigma * stream(settings, 5, place, 0).standard_normal((own["runs"], own["points"], 2))
        shown_data.append(data[0])
        limits.append(theory.twin_peaks_limit(data[0].mean(axis=0), data[0].var(axis=0), **peaks)[::-1])
        learnt = {arm: _learn(game, data, own, sampler, stream(settings, 5, place, 1)) for arm, sampler in samplers.items()}
        for arm, trajectories in learnt.items():
            reward = game.reward(trajectories.policies)
            final = reward[:, -1]
            by_arm[f"{arm}_policies"].append(trajectories.policies[0])
            by_arm[f"{arm}_distances"].append(trajectories.distances[0])
            by_arm[f"{arm}_final_reward"].append(final)
            by_arm[f"{arm}_distance_bands"].append(bands(trajectories.distances))
            by_arm[f"{arm}_reward_bands"].append(bands(reward))
            share = exact(np.mean(final >= SUCCESS_SHARE * best), own["runs"])
            solved[f"share with final R >= 0.95 R*, {arm}, sigma {sigma:g}"] = share
            solved[f"mean final R / R*, {arm}, sigma {sigma:g}"] = mean(final / best)
        late = slice(own["epochs"] // 2, None)
        changes.append(learnt["maddpg_pjap"].distances[:, late].mean(axis=1) - learnt["maddpg"].distances[:, late].mean(axis=1))
        if sigma > 0:
            closer[f"distance with PJAP minus without, sigma {sigma:g}"] = mean(changes[-1])
    scanned, alphas = [sigma for sigma in sigmas if sigma in PUBLISHED_FINAL_REWARD], own["scan"]["alphas"]
    scan = _scan_alpha(game, settings, scanned)
    biased = theory.pjap_limit(own["pjap"]["alpha"], **peaks)
    nothing = np.full((2, 2), np.nan)
    arrays = {
        "coefficients": game.coefficients,
        "sigmas": np.array(sigmas, dtype=float),
        "data": np.stack(shown_data),
        "optimum_reward": np.array(best),
        "maddpg_limit_reward": game.reward(np.stack(limits)),  # [sigma], of the dataset shown
        "fixed_point_reward": game.reward(np.array([biased, biased])),
        "distance_changes": np.stack(changes),  # [sigma, run], mean over the second half of the epochs
        "scan_alphas": np.array(alphas, dtype=float),
        "scan_sigmas": np.array(scanned, dtype=float),
        "scan_final_reward": scan,
        "published_final_reward": np.array([PUBLISHED_FINAL_REWARD.get(float(sigma), nothing[0]) for sigma in sigmas]),
        # [sigma, arm, (low, high)]
        "expected_final_reward": np.array([EXPECTED_FINAL_REWARD.get(float(sigma), nothing) for sigma in sigmas]),
    } | {key: np.stack(values) for key, values in by_arm.items()}
    captions = {"figure5": _caption(arrays, own), "figure5_seeds": _caption_of_seeds(arrays, own)}
    return Experiment(arrays, {"C10": solved, "C11": closer}, captions)


def _learn(game: PolynomialGame, data: np.ndarray, own: dict, sampler: dict, sampling: np.random.Generator) -> Trajectories:
    return learn_offline(
        game,
        data,
        np.array(own["start"], dtype=float),
        learning_rate=own["learning_rate"],
        epochs=own["epochs"],
        batch=own["batch"],
        rounds=own["rounds"],
        sampler=sampler,
        sampling=sampling,
    )


def _scan_alpha(game: PolynomialGame, settings: dict, sigmas: list[float]) -> np.ndarray:
    """PJAP's final rewards for other alphas, [alpha, sigma, run]: the search for the paper's rows 3 and 4."""
    own = settings["figure5"]
    optimum, _ = theory.twin_peaks_optimum(**settings["twin_peaks"])
    runs, alphas = own["scan"]["runs"], own["scan"]["alphas"]
    rewards = np.empty((len(alphas), len(sigmas), runs))
    sampler = {"name": "pjap"} | own["pjap"] | {"alpha": np.repeat(np.array(alphas, dtype=float), runs)}
    for column, sigma in enumerate(sigmas):
        data = optimum + sigma * stream(settings, 5, column, 2).standard_normal((runs, own["points"], 2))
        # The same datasets for each alpha: [alpha * run, item, 2], as one batch of runs.
        data = np.tile(data, (len(alphas), 1, 1))
        learnt = _learn(game, data, own, sampler, stream(settings, 5, column, 3))
        rewards[:, column] = game.reward(learnt.policies[:, -1]).reshape(len(alphas), runs)
    return rewards


def _caption(arrays: dict[str, np.ndarray], own: dict) -> str:
    rows = []
    for row, sigma in enumerate(own["sigmas"]):
        if sigma in PUBLISHED_FINAL_REWARD:
            published = PUBLISHED_FINAL_REWARD[sigma]
            ours = [band(arrays[f"{arm}_final_reward"][row]) for arm in ARMS]
            rows.append(f"sigma {sigma:g}: MADDPG {ours[0]} (paper {published[0]}), PJAP {ours[1]} (paper {published[1]})")
    # The alpha whose medians lie nearest to the paper's PJAP column, by the largest difference over the rows.
    scan, scanned, tried = arrays["scan_final_reward"], arrays["scan_sigmas"], arrays["scan_alphas"]
    misses = np.abs(np.median(scan, axis=2) - [PUBLISHED_FINAL_REWARD[sigma][1] for sigma in scanned]).max(axis=1)
    nearest = int(misses.argmin())
    return (
        f"Twin Peaks with and without PJAP, data around the optimum; shown is the first of {own['runs']} runs a row. Final R, "
        f"median and middle 95 % of runs: {'; '.join(rows)}. Thin lines: where full-batch MADDPG ends. The paper's "
        "numbers are read from its picture (error about 0.005). "
        f"Its loop structure is not known, and our settings (alpha {own['pjap']['alpha']:g}) do not reproduce its PJAP rows 3 "
        f"and 4 exactly: we end higher. Of alpha {listed(tried)}, {tried[nearest]:g} comes nearest, with medians "
        f"{listed(np.median(scan[nearest], axis=1), '.3f')} for sigma {listed(scanned)}; a difference of up to "
        f"{misses[nearest]:.3f} stays. PJAP keeps a bias from the width of its kernel: it does not reach R* exactly."
    )


def _caption_of_seeds(arrays: dict[str, np.ndarray], own: dict) -> str:
    best = float(arrays["optimum_reward"])
    failing = []
    for row, sigma in enumerate(own["sigmas"]):
        missed = np.sum(arrays["maddpg_pjap_final_reward"][row] < SUCCESS_SHARE * best)
        if missed:
            failing.append(f"{missed} at sigma {sigma:g}")
    failed = f"PJAP stays below {SUCCESS_SHARE:g} R* in {' and '.join(failing)}" if failing else "no PJAP run fails"
    return (
        f"{own['runs']} datasets for each spread: distance of the sampled data to the policy and reward by epoch, and the final "
        f"reward; median and middle 95 % of runs. Of {own['runs']} runs a row, {failed}. Also marked: the bands "
        "expected from an independent simulation, the paper's values (read from its picture), R*, and the reward "
        "at PJAP's fixed point in locally "
        f"uniform data, sqrt((C - 2A) / 2B - 1 / (3 alpha)), {float(arrays['fixed_point_reward']):.4f} at alpha "
        f"{own['pjap']['alpha']:g}."
    )
