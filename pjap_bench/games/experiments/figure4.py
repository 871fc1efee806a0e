"""Figure 4 and claims C7, C8: offline learning in Twin Peaks from Gaussian data around the origin and around the optimum."""

import itertools

import numpy as np

from pjap_bench.games import theory
from pjap_bench.games.experiments.estimates import bands, exact, listed, mean
from pjap_bench.games.experiments.experiment import Experiment, stream
from pjap_bench.games.learning import learn_full_batch
from pjap_bench.games.polynomial import PolynomialGame, twin_peaks

CENTRES = ("centred", "origin", "optimum")


def run(settings: dict) -> Experiment:
    """Three kinds of data by spread: around the origin and exactly recentred, around the origin as drawn, and around the
    optimum as drawn. The trajectories shown are those of the first dataset.
    """
    own, peaks = settings["figure4"], settings["twin_peaks"]
    game = twin_peaks(**peaks)
    optimum, _ = theory.twin_peaks_optimum(**peaks)
    sigmas = np.array(own["sigmas"], dtype=float)
    # [sigma, dataset, item, 2]
    noise = stream(settings, 4).standard_normal((len(sigmas), own["datasets"], own["points"], 2)) * sigmas[:, None, None, None]
    datasets = {"centred": noise - noise.mean(axis=2, keepdims=True), "origin": noise, "optimum": optimum + noise}
    start = np.array(own["start"], dtype=float)
    arrays, errors = {}, {}
    for name in CENTRES:
        data = datasets[name]
        policies = learn_full_batch(game, data, start, learning_rate=own["learning_rate"], steps=own["steps"])
        # Each agent's limit follows from the other agent's data: the last axis reversed.
        limit = theory.twin_peaks_limit(data.mean(axis=2), data.var(axis=2), **peaks)[..., ::-1]
        errors[name] = np.abs(policies[:, :, -1] - limit).max(axis=(1, 2))
        arrays[f"{name}_final"] = policies[:, :, -1]
        arrays[f"{name}_policies"] = policies[:, 0]
        # Both agents of a dataset share their seed, so the dataset is the unit: its mean over agents; [sigma, 3, step].
        by_dataset = np.moveaxis(policies, 1, 0)
        arrays[f"{name}_action_bands"] = np.moveaxis(bands(by_dataset.mean(axis=-1)), 0, 1)
        away = np.abs(by_dataset - limit.swapaxes(0, 1)[:, :, None]).max(axis=-1)
        arrays[f"{name}_error_bands"] = np.moveaxis(bands(away), 0, 1)
    curve = np.linspace(0, 1.05 * sigmas.max(), 200)
    arrays |= {
        "coefficients": game.coefficients,
        "sigmas": sigmas,
        "optimum": np.array(optimum),
        "curve_sigma": curve,
        "curve_action": theory.twin_peaks_limit(optimum, curve**2, **peaks),
        "closed_form_errors": np.stack([errors[name] for name in CENTRES]),  # [centre, sigma], the worst of all datasets
    }
    equation5, of_equation5 = _equation5(game, settings)
    ends = arrays["optimum_final"].mean(axis=-1)
    falls = [mean(after - before) for before, after in itertools.pairwise(ends)]
    runs = len(sigmas) * own["datasets"]
    estimates = {
        "C7": {
            "largest distance to the origin, data exactly centred": exact(np.abs(arrays["centred_final"]).max(), runs),
            "largest error against the closed form, data not recentred": exact(errors["origin"].max(), runs),
        },
        "C8": {
            "largest error against the closed form": exact(errors["optimum"].max(), runs),
            "largest change of a* from one sigma to the next": max(falls, key=lambda fall: fall["high"]),
        }
        | of_equation5
        | {f"a* at sigma {sigma:g}": mean(of_sigma) for sigma, of_sigma in zip(sigmas, ends, strict=True)},
    }
    caption = (
        f"Offline MADDPG in Twin Peaks, {own['datasets']} Gaussian datasets of {own['points']} points for each spread. Around "
        "the origin (data exactly centred) every run ends there; around the optimum the mean action over datasets is "
        f"{listed(ends.mean(axis=1), '.4f')} for sigma {listed(sigmas)}, on the closed form a*(sigma) up to sampling of the "
        "data. 'Always converges to (0, 0)' in the paper needs an exactly zero sample mean, and its sample variance is the "
        "1/n variance."
    )
    of_seeds = (
        f"The same {own['datasets']} datasets for each spread: mean action of both agents by full-batch step, and the distance "
        "to each dataset's own closed form (the larger of the agents'); median and middle 95 % of datasets. After "
        f"{own['steps']} steps the largest distance is {max(error.max() for error in errors.values()):.0e}."
    )
    return Experiment(arrays | equation5, estimates, {"figure4": caption, "figure4_seeds": of_seeds})


def _equation5(game: PolynomialGame, settings: dict) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
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
    estimates = {
        "Eq. 5: largest distance to the optimum": exact(np.abs(ends - optimum).max(), len(means)),
        "Eq. 5: lowest mean with a real sigma": exact(lowest),
        "Eq. 5: highest mean with a real sigma": exact(highest),
        "Eq. 5: largest sigma": exact(sigma.max()),
        "Eq. 5: mean at the largest sigma": exact(means[sigma.argmax()]),
    }
    return {"equation5_means": means, "equation5_sigma": sigma}, estimates
