"""The simulations behind Figures 1-5 and claims C1-C11, at the paper's own size in every scale.

`simulate` writes one npz of plain arrays a figure, estimates.json, captions.json and provenance.json. Each figure has its
own random streams, so that a change of one leaves the others as they are.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

from pjap_bench.files import write_json, written_beside
from pjap_bench.games import theory
from pjap_bench.games.learning import Trajectories, learn_full_batch, learn_offline, learn_online
from pjap_bench.games.polynomial import PolynomialGame, preset, twin_peaks

# Figure 5's final rewards (MADDPG, PJAP) by sigma, read from the paper's picture with an error of about 0.005.
PUBLISHED_FINAL_REWARD = {0.2: (0.554, 0.562), 0.5: (0.424, 0.550), 1.0: (0.143, 0.541)}

# Success in bounded games (C9, C10): this share of the best reward, or of the way to it from random play.
SUCCESS_SHARE = 0.95

GAMES_BY_INTERACTION = ("decoupled", "sign_agreement", "action_agreement", "twin_peaks")


def simulate(settings: dict, stamp: dict, output: Path) -> None:
    """Runs everything and writes it to the folder `output`.

    Args:
        settings: the configuration's section `games`.
        stamp: provenance, copied into every file that has room for it.
        output: gets figure1.npz to figure5.npz, estimates.json ({claim: {estimate: {value, low, high, n}}}; low = high = value
            where exact, else a 95 % interval over runs), captions.json ({figure: text}) and provenance.json (`stamp`).

    Raises:
        BenchError: settings that cannot be simulated, or files that cannot be written.
    """
    output = Path(output)
    estimates, captions = {}, {}
    for number, experiment in enumerate((figure1, figure2, figure3, figure4, figure5), start=1):
        arrays, found, captions[f"figure{number}"] = experiment(settings)
        estimates.update(found)
        arrays["stamp"] = np.array(json.dumps(stamp, sort_keys=True))
        with written_beside(output / f"figure{number}.npz") as temporary:
            np.savez(temporary, **arrays)
    estimates.update(random_datasets(settings))
    write_json(output / "estimates.json", estimates)
    write_json(output / "captions.json", captions)
    write_json(output / "provenance.json", stamp)


def figure1(settings: dict) -> tuple[dict, dict, str]:
    """One BRUD step and one true-gradient step in sign agreement, from one data point (Figure 1, C1)."""
    own = settings["figure1"]
    game = preset("sign_agreement")
    policy, data = np.array(own["policy"], dtype=float), np.array(own["data"], dtype=float)
    brud, true = game.brud_gradient(policy, data[None]), game.gradient(policy)
    rate = own["learning_rate"]
    before = game.reward(policy)
    brud_change, true_change = (float(game.reward(policy + rate * step) - before) for step in (brud, true))
    arrays = {
        "coefficients": game.coefficients,
        "policy": policy,
        "data": data,
        "brud_gradient": brud,
        "true_gradient": true,
        "reward_changes": np.array([brud_change, true_change]),
        "learning_rate": np.array(rate),
    }
    estimates = {"C1": {"BRUD change of R": _exact(brud_change), "true-gradient change of R": _exact(true_change)}}
    caption = (
        f"Sign agreement, R = xy. From the policy {_point(policy)} and the data point {_point(data)}, a BRUD step of size "
        f"{rate:g} changes R by {brud_change:+.4f}, a step along the true gradient by {true_change:+.4f}."
    )
    return arrays, estimates, caption


def figure2(settings: dict) -> tuple[dict, dict, str]:
    """Online learning in sign agreement with four sizes of the replay buffer (Figure 2, C2a, C2b).

    Steps and path length are counted until R first exceeds the target; staleness is the mean distance of the sampled data to
    the policy up to then. The run shown is the first.
    """
    own = settings["figure2"]
    game, target = preset("sign_agreement"), own["target_reward"]
    sizes = own["buffer_sizes"]
    arrays = {"coefficients": game.coefficients, "buffer_sizes": np.array(sizes), "target_reward": np.array(target)}
    steps, lengths, staleness, agreeing, shown = [], [], [], [], []
    for place, size in enumerate(sizes):
        learnt = learn_online(
            game,
            np.array(own["start"], dtype=float),
            runs=own["runs"],
            learning_rate=own["learning_rate"],
            steps=own["steps"],
            batch=own["batch"],
            buffer_size=size,
            exploration_sigma=own["exploration_sigma"],
            exploration=_stream(settings, 2, place, 0),
            sampling=_stream(settings, 2, place, 1),
        )
        reached = first_above(game.reward(learnt.policies), target)
        # [run, step]: which updates came before the target was reached; a run that never reaches it counts whole.
        before = np.arange(own["steps"]) < reached[:, None]
        moves = np.linalg.norm(np.diff(learnt.policies, axis=1), axis=-1)
        steps.append(reached)
        lengths.append((moves * before).sum(axis=1))
        staleness.append((learnt.distances * before).sum(axis=1) / before.sum(axis=1))
        agreeing.append((game.reward(learnt.policies[:, -1]) > target) & (learnt.policies[:, -1].prod(axis=-1) > 0))
        last = int(min(reached[0], own["steps"]))
        arrays[f"buffer_{size}"] = learnt.buffer_after(0, last)
        shown.append(learnt.policies[0])
    arrays |= {
        "policies": np.stack(shown),
        "steps": np.stack(steps),
        "path_lengths": np.stack(lengths),
        "staleness": np.stack(staleness),
    }
    grown = {}
    for name, values in {"steps to the target": steps, "path length": lengths, "staleness": staleness}.items():
        for smaller, larger, low, high in zip(sizes, sizes[1:], values, values[1:], strict=False):
            grown[f"{name}, buffer {larger} minus {smaller}"] = _mean(high - low)
        for size, of_size in zip(sizes, values, strict=True):
            grown[f"median {name}, buffer {size}"] = _median(of_size)
    together = np.concatenate(agreeing)
    estimates = {"C2a": grown, "C2b": {"share of runs ending in ++ or --": _exact(together.mean(), len(together))}}
    caption = (
        f"Online MADDPG in sign agreement, {own['runs']} runs for each buffer size; shown is the first run until R > "
        f"{target:g}. Medians for buffers of {_listed(sizes)}: {_listed(np.median(steps, axis=1))} steps, path length "
        f"{_listed(np.median(lengths, axis=1), '.2f')}. The paper gives no settings for this figure; ours are in the "
        "configuration."
    )
    return arrays, estimates, caption


def figure3(settings: dict) -> tuple[dict, dict, str]:
    """Offline learning in sign agreement from uniform data recentred to given means, from three starts (Figure 3, C3)."""
    own = settings["figure3"]
    game = preset("sign_agreement")
    data = _stream(settings, 3).uniform(own["low"], own["high"], (own["points"], 2))
    mean = np.array(own["mean"], dtype=float)
    data += mean - data.mean(axis=0)
    starts = np.array(own["starts"], dtype=float)
    # One dataset for all runs: its run axis of length 1 broadcasts against the starts.
    policies = learn_full_batch(game, data[None], starts, learning_rate=own["learning_rate"], steps=own["steps"])
    moved = policies[:, -1] - starts
    predicted = own["learning_rate"] * own["steps"] * mean[::-1]
    sine = moved[:, 0] * predicted[1] - moved[:, 1] * predicted[0]
    angle = np.abs(np.arctan2(sine, moved @ predicted))
    error = np.abs(moved - predicted).max()
    arrays = {
        "coefficients": game.coefficients,
        "data": data,
        "mean": mean,
        "policies": policies,
        "predicted": starts + predicted,
    }
    estimates = {
        "C3": {
            "largest angle to (mean a_y, mean a_x) in radians": _exact(angle.max(), len(starts)),
            "largest error of the displacement": _exact(error, len(starts)),
        }
    }
    caption = (
        f"Offline MADDPG in sign agreement: {own['points']} uniform points recentred to means {_point(mean)}. From each of "
        f"{len(starts)} starts, {own['steps']} full-batch steps of {own['learning_rate']:g} move the policy by "
        f"{_point(predicted)}, as the mean predicts (largest error {error:.0e}). The paper prints the true field of xy as "
        "(a_x, a_y); it is (a_y, a_x)."
    )
    return arrays, estimates, caption


def figure4(settings: dict) -> tuple[dict, dict, str]:
    """Offline learning in Twin Peaks from Gaussian data around the origin and around the optimum (Figure 4, C7, C8)."""
    own, peaks = settings["figure4"], settings["twin_peaks"]
    game = twin_peaks(**peaks)
    optimum, _ = theory.twin_peaks_optimum(**peaks)
    sigmas = np.array(own["sigmas"], dtype=float)
    # [sigma, dataset, item, 2]
    noise = _stream(settings, 4).standard_normal((len(sigmas), own["datasets"], own["points"], 2)) * sigmas[:, None, None, None]
    centred = noise - noise.mean(axis=2, keepdims=True)
    start = np.array(own["start"], dtype=float)
    learnt, errors = {}, {}
    for name, data in {"centred": centred, "origin": noise, "optimum": optimum + noise}.items():
        policies = learn_full_batch(game, data, start, learning_rate=own["learning_rate"], steps=own["steps"], keep=False)
        # Each agent's limit follows from the other agent's data: the last axis reversed.
        limit = theory.twin_peaks_limit(data.mean(axis=2), data.var(axis=2), **peaks)[..., ::-1]
        learnt[name], errors[name] = policies, float(np.abs(policies - limit).max())
    shown = {
        name: learn_full_batch(game, data[:, 0], start, learning_rate=own["learning_rate"], steps=own["steps"])
        for name, data in {"centred": centred, "optimum": optimum + noise}.items()
    }
    curve = np.linspace(0, 1.05 * sigmas.max(), 200)
    arrays = {
        "coefficients": game.coefficients,
        "sigmas": sigmas,
        "optimum": np.array(optimum),
        "centred_final": learnt["centred"],
        "origin_final": learnt["origin"],
        "optimum_final": learnt["optimum"],
        "centred_policies": shown["centred"],
        "optimum_policies": shown["optimum"],
        "curve_sigma": curve,
        "curve_action": theory.twin_peaks_limit(optimum, curve**2, **peaks),
    }
    # Both agents of a dataset share their seed, so the dataset is the unit: its mean over agents, [sigma, dataset].
    ends = learnt["optimum"].mean(axis=-1)
    falls = [_mean(after - before) for before, after in itertools.pairwise(ends)]
    runs = len(sigmas) * own["datasets"]
    estimates = {
        "C7": {
            "largest distance to the origin, data exactly centred": _exact(np.abs(learnt["centred"]).max(), runs),
            "largest error against the closed form, data not recentred": _exact(errors["origin"], runs),
        },
        "C8": {
            "largest error against the closed form": _exact(errors["optimum"], runs),
            "largest change of a* from one sigma to the next": max(falls, key=lambda fall: fall["high"]),
        }
        | _equation5(game, settings)
        | {f"a* at sigma {sigma:g}": _mean(of_sigma) for sigma, of_sigma in zip(sigmas, ends, strict=True)},
    }
    caption = (
        f"Offline MADDPG in Twin Peaks, {own['datasets']} Gaussian datasets of {own['points']} points for each spread. Around "
        "the origin (data exactly centred) every run ends there; around the optimum the mean action over datasets is "
        f"{_listed(ends.mean(axis=1), '.4f')} for sigma {_listed(sigmas)}, on the closed form a*(sigma) up to sampling of the "
        "data. 'Always converges to (0, 0)' in the paper needs an exactly zero sample mean, and its sample variance is the "
        "1/n variance."
    )
    return arrays, estimates, caption


def _equation5(game: PolynomialGame, settings: dict) -> dict:
    """Eq. 5: data of a mean m and the spread that it asks for lead to the optimum; where that spread is real."""
    own, peaks = settings["figure4"], settings["twin_peaks"]
    optimum, _ = theory.twin_peaks_optimum(**peaks)
    lowest, highest = theory.twin_peaks_required_means(**peaks)
    means = np.linspace(lowest, highest, 2001)
    sigma = theory.twin_peaks_required_sigma(means, **peaks)
    # Two points at m - sigma and m + sigma have exactly this mean and 1/n deviation: [mean, item, agent].
    data = np.repeat(np.stack([means - sigma, means + sigma], axis=-1)[..., None], 2, axis=-1)
    start = np.array(own["start"], dtype=float)
    ends = learn_full_batch(game, data, start, learning_rate=own["learning_rate"], steps=own["steps"], keep=False)
    return {
        "Eq. 5: largest distance to the optimum": _exact(np.abs(ends - optimum).max(), len(means)),
        "Eq. 5: lowest mean with a real sigma": _exact(lowest),
        "Eq. 5: highest mean with a real sigma": _exact(highest),
        "Eq. 5: largest sigma": _exact(sigma.max()),
        "Eq. 5: mean at the largest sigma": _exact(means[sigma.argmax()]),
    }


def figure5(settings: dict) -> tuple[dict, dict, str]:
    """Twin Peaks with and without PJAP from data around the optimum, by spread (Figure 5, C10, C11).

    The run shown is the first. Arms are paired: same data and same uniform numbers for the sampler.
    """
    own, peaks = settings["figure5"], settings["twin_peaks"]
    game = twin_peaks(**peaks)
    optimum, best = theory.twin_peaks_optimum(**peaks)
    samplers = {"maddpg": {"name": "uniform"}, "maddpg_pjap": {"name": "pjap"} | own["pjap"]}
    sigmas = own["sigmas"]
    final = {arm: [] for arm in samplers}
    shown = {f"{arm}_{what}": [] for arm in samplers for what in ("policies", "distances")}
    shown_data, solved, closer = [], {}, {}
    for place, sigma in enumerate(sigmas):
        data = optimum + sigma * _stream(settings, 5, place, 0).standard_normal((own["runs"], own["points"], 2))
        shown_data.append(data[0])
        learnt = {arm: _learn(game, data, own, sampler, _stream(settings, 5, place, 1)) for arm, sampler in samplers.items()}
        for arm, trajectories in learnt.items():
            reward = game.reward(trajectories.policies[:, -1])
            final[arm].append(reward)
            shown[f"{arm}_policies"].append(trajectories.policies[0])
            shown[f"{arm}_distances"].append(trajectories.distances[0])
            share = _exact(np.mean(reward >= SUCCESS_SHARE * best), own["runs"])
            solved[f"share with final R >= 0.95 R*, {arm}, sigma {sigma:g}"] = share
            solved[f"mean final R / R*, {arm}, sigma {sigma:g}"] = _mean(reward / best)
        if sigma > 0:
            late = slice(own["epochs"] // 2, None)
            change = learnt["maddpg_pjap"].distances[:, late].mean(axis=1) - learnt["maddpg"].distances[:, late].mean(axis=1)
            closer[f"distance with PJAP minus without, sigma {sigma:g}"] = _mean(change)
    scanned, alphas = [sigma for sigma in sigmas if sigma in PUBLISHED_FINAL_REWARD], own["scan"]["alphas"]
    scan = _scan_alpha(game, settings, scanned)
    arrays = {
        "coefficients": game.coefficients,
        "sigmas": np.array(sigmas, dtype=float),
        "data": np.stack(shown_data),
        "optimum_reward": np.array(best),
        "scan_alphas": np.array(alphas, dtype=float),
        "scan_sigmas": np.array(scanned, dtype=float),
        "scan_final_reward": scan,
        "published_final_reward": np.array([PUBLISHED_FINAL_REWARD.get(float(sigma), (np.nan, np.nan)) for sigma in sigmas]),
        **{key: np.stack(values) for key, values in shown.items()},
        **{f"{arm}_final_reward": np.stack(values) for arm, values in final.items()},
    }
    estimates = {"C10": solved, "C11": closer}
    return arrays, estimates, _caption5(own, final, scan, scanned)


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
        data = optimum + sigma * _stream(settings, 5, column, 2).standard_normal((runs, own["points"], 2))
        # The same datasets for each alpha: [alpha * run, item, 2], as one batch of runs.
        data = np.tile(data, (len(alphas), 1, 1))
        learnt = _learn(game, data, own, sampler, _stream(settings, 5, column, 3))
        rewards[:, column] = game.reward(learnt.policies[:, -1]).reshape(len(alphas), runs)
    return rewards


def _caption5(own: dict, final: dict, scan: np.ndarray, scanned: list[float]) -> str:
    rows = []
    for row, sigma in enumerate(own["sigmas"]):
        if sigma in PUBLISHED_FINAL_REWARD:
            published = PUBLISHED_FINAL_REWARD[sigma]
            ours = [_band(final[arm][row]) for arm in ("maddpg", "maddpg_pjap")]
            rows.append(f"sigma {sigma:g}: MADDPG {ours[0]} (paper {published[0]}), PJAP {ours[1]} (paper {published[1]})")
    # The alpha whose medians lie nearest to the paper's PJAP column, by the largest difference over the rows.
    misses = np.abs(np.median(scan, axis=2) - [PUBLISHED_FINAL_REWARD[sigma][1] for sigma in scanned]).max(axis=1)
    nearest = int(misses.argmin())
    tried, medians = own["scan"]["alphas"], np.median(scan[nearest], axis=1)
    return (
        f"Twin Peaks with and without PJAP, data around the optimum; shown is the first of {own['runs']} runs a row. Final R, "
        f"median and middle 95 % of runs: {'; '.join(rows)}. The paper's numbers are read from its picture (error about 0.005). "
        f"Its loop structure is not known, and our settings (alpha {own['pjap']['alpha']:g}) do not reproduce its PJAP rows 3 "
        f"and 4 exactly: we end higher. Of alpha {_listed(tried)}, {tried[nearest]:g} comes nearest, with medians "
        f"{_listed(medians, '.3f')} for sigma {_listed(scanned)}; a difference of up to {misses[nearest]:.3f} stays. PJAP "
        "keeps a bias from the width of its kernel: it does not reach R* exactly."
    )


def random_datasets(settings: dict) -> dict:
    """Full-batch BRUD from random datasets in each of the four games (C4, C5, C6, C9).

    The same datasets in every game: Gaussian, each with a centre uniform in a square and a spread uniform from 0.

    Success asks the same of all games: that learning ends at the best the game offers.
    - Games without a best reward (decoupled, sign agreement; R is unbounded above): learning runs to ever higher R, that is,
      it ends above where it began after a way so long that the start no longer matters.
    - Games with a best reward R* (action agreement, Twin Peaks): the final R has come at least 95 % of the way from random
      play, the mean reward of actions uniform in the square [-1, 1]^2, to R*. A share of R* alone would not do, since R* is 0 in
      action agreement; the games' rewards differ in size, and this puts them on one scale. The order does not hang on
      95 %: the shares at 90 % and 99 % are given too.
    """
    own, peaks = settings["random_datasets"], settings["twin_peaks"]
    stream = _stream(settings, 9)
    centres = stream.uniform(-own["centre"], own["centre"], (own["datasets"], 1, 2))
    spreads = stream.uniform(0, own["sigma"], (own["datasets"], 1, 1))
    data = centres + spreads * stream.standard_normal((own["datasets"], own["points"], 2))
    start, means, datasets = np.array(own["start"], dtype=float), data.mean(axis=1), own["datasets"]

    # The fields of the unbounded games are constant, so that the step size is only the unit of time.
    far = own["unbounded"]
    rises = {}
    for name in ("decoupled", "sign_agreement"):
        game = preset(name)
        ends = learn_full_batch(game, data, start, learning_rate=far["learning_rate"], steps=far["steps"], keep=False)
        rises[name] = game.reward(ends) > game.reward(start)
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
    ordered = {f"share that succeeds, {name}": _share(succeeds[name]) for name in GAMES_BY_INTERACTION}
    for simpler, harder in itertools.pairwise(GAMES_BY_INTERACTION):
        ordered[f"share in {simpler} minus share in {harder}"] = _mean(succeeds[simpler].astype(float) - succeeds[harder])
    for share in (0.90, 0.99):
        for name in ends:
            ordered[f"share that comes {share:.0%} of the way, {name}"] = _share(way[name] >= share)
    return {
        "C4": {"share of random datasets that improve R": _exact(rises["decoupled"].mean(), datasets)},
        "C5": {"agreement of prediction and outcome": _exact(np.mean(predicted == rises["sign_agreement"]), datasets)},
        "C6": {
            "largest error of the policy": _exact(np.abs(ends["action_agreement"] - means[:, ::-1]).max(), datasets),
            "largest error of R": _exact(np.abs(agreed + (means[:, 0] - means[:, 1]) ** 2).max(), datasets),
        },
        "C9": ordered,
    }


def first_above(rewards: np.ndarray, target: float) -> np.ndarray:
    """[run]: the number of updates after which `rewards` [run, step + 1] first exceed `target`; step + 1 where never."""
    above = rewards > target
    return np.where(above.any(axis=1), above.argmax(axis=1), rewards.shape[1])


def _stream(settings: dict, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(settings["seed"], spawn_key=key))


def _exact(value: float, runs: int = 1) -> dict:
    """A number without sampling error: a closed form, the worst of all runs, or a count over the runs themselves."""
    return {"value": float(value), "low": float(value), "high": float(value), "n": int(runs)}


def _mean(values: np.ndarray) -> dict:
    """Mean over runs [run] with its 95 % t interval."""
    mean, half = float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def _median(values: np.ndarray) -> dict:
    """Median over runs [run] with its 95 % interval from order statistics (normal approximation of the ranks)."""
    ordered, count = np.sort(values), len(values)
    half = 1.96 * math.sqrt(count) / 2
    low, high = max(math.floor(count / 2 - half), 0), min(math.ceil(count / 2 + half), count - 1)
    return {"value": float(np.median(ordered)), "low": float(ordered[low]), "high": float(ordered[high]), "n": count}


def _share(succeeds: np.ndarray) -> dict:
    """Share of runs [run] with Wilson's 95 % interval."""
    found = stats.binomtest(int(np.sum(succeeds)), len(succeeds)).proportion_ci(0.95, method="wilson")
    return {"value": float(np.mean(succeeds)), "low": float(found.low), "high": float(found.high), "n": len(succeeds)}


def _point(values: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _listed(values, form: str = "g") -> str:
    return " / ".join(format(float(value), form) for value in values)


def _band(values: np.ndarray) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{np.median(values):.3f} ({low:.3f}-{high:.3f})"
