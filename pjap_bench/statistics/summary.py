"""From the runs of a scale to its tidy statistics: scores, aggregates, differences of arms, curves.

Definitions, the same everywhere:
- final_return of a run: mean over its final evaluation episodes (the final policy, never the best checkpoint).
- last_five_return: mean of a run's last five evaluations, a labelled extra.
- distance_selected: the distance on the fixed uniform sample, weighted by PJAP's formula: what PJAP's selection alone would
  make of a run's distance, also of a run that samples uniformly.
- distance_*, effective_sample_size, share:POLICY of a run: mean over the last fifth of its logged rows.
- Dataset 'all': aggregates, probability of improvement and profiles over all datasets of the results, of arms that were
  trained on each. Strata of the bootstrap are the datasets; aggregates pool the runs (as rliable does), the probability of
  improvement is the mean over datasets.
- Profile: the share of runs whose normalised final return lies above a threshold.
- Normalisation 'raw': as measured. 'reference': 0 = random policy, 1 = the dataset's mean return. 'paper': 0 and 1 are
  the smallest and largest evaluation (mean over its episodes) of all runs of exactly the paper's two arms on a dataset.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pjap_bench.errors import BenchError
from pjap_bench.files import write_json, written_beside
from pjap_bench.statistics import bootstrap, marl_eval
from pjap_bench.statistics.results import DISTANCES, PAPER_ARMS, Runs, read_runs

COLUMNS = [
    "dataset",
    "arm",
    "quantity",
    "normalisation",
    "estimator",
    "value",
    "low",
    "high",
    "method",
    "n",
    "repetitions",
    "bootstrap_seed",
]
CURVE_COLUMNS = [column if column != "estimator" else "update" for column in COLUMNS]
PROFILE_COLUMNS = [column if column != "estimator" else "threshold" for column in COLUMNS]
ALL = "all"
SCORE_COLUMNS = ["dataset", "arm", "seed", "quantity", "normalisation", "value"]
WINDOWED = (*DISTANCES, "effective_sample_size")
LAST_EVALUATIONS = 5
METHODS = {
    "percentile bootstrap": "percentile interval of a stratified bootstrap over seeds; under-covers at few seeds "
    "(about 90 % for the mean of 10 normal values)",
    "t": "Student's t interval of the mean over seeds",
    "paired t": "Student's t interval of the differences paired by seed; the basis of verdicts",
    "point": "one seed: no interval",
}


def summarise(results: Path, settings: dict, stamp: dict) -> None:
    """Writes statistics.csv, scores.csv (one row per run), curves.csv, profiles.csv, marl_eval.json (the same runs for that
    tool) and statistics.provenance.json into `results`.

    Args:
        results: folder of a scale with its runs/ and datasets/.
        settings: {"arms": {...}, "experiments": {...}, "statistics": {...}}.
        stamp: where the output comes from.

    Raises:
        BenchError: unsound runs (see `results.read_runs`), or scores that cannot be normalised.
    """
    runs = read_runs(results, settings)
    returns = evaluation_returns(runs)
    normalisations = {dataset: _normalisations(runs, returns, dataset) for dataset in settings["experiments"]}
    scores = pd.DataFrame(_scores(runs, returns, normalisations), columns=SCORE_COLUMNS)
    statistics = pd.DataFrame(_statistics(scores, settings), columns=COLUMNS)
    curves = pd.DataFrame(_curves(runs, returns, normalisations, settings), columns=CURVE_COLUMNS)
    _write_csv(results / "scores.csv", scores)
    _write_csv(results / "statistics.csv", statistics)
    _write_csv(results / "curves.csv", curves)
    profiles = pd.DataFrame(_profiles(scores, settings), columns=PROFILE_COLUMNS)
    _write_csv(results / "profiles.csv", profiles)
    write_json(results / "marl_eval.json", marl_eval.export(runs))
    write_json(
        results / "statistics.provenance.json",
        {"stamp": stamp, "settings": settings, "definitions": __doc__, "methods": METHODS},
    )


def evaluation_returns(runs: Runs) -> pd.DataFrame:
    """Mean return over the episodes of each evaluation: dataset, arm, seed, update, kind, return."""
    keys = ["dataset", "arm", "seed", "update", "kind"]
    return runs.evaluations.groupby(keys, sort=False)["return"].mean().reset_index()


def _normalisations(runs: Runs, returns: pd.DataFrame, dataset: str) -> dict[str, tuple[float, float]]:
    """The returns that each normalisation maps to 0 and 1."""
    reference = runs.datasets[dataset]["reference"]
    bounds = {"raw": (0.0, 1.0), "reference": (reference["random_return"], reference["dataset_return"])}
    of_dataset = returns[returns["dataset"] == dataset]
    if set(PAPER_ARMS) <= set(of_dataset["arm"]):
        published = of_dataset.loc[of_dataset["arm"].isin(PAPER_ARMS), "return"]
        if published.min() == published.max():
            raise BenchError(
                f"all evaluations of {' and '.join(PAPER_ARMS)} have the return {published.min()}: min-max "
                "normalisation is undefined",
                where=dataset,
                do="look at the runs' logs",
            )
        bounds["paper"] = (published.min(), published.max())
    return bounds


def _of_arm(bounds: dict[str, tuple[float, float]], arm: str) -> dict[str, tuple[float, float]]:
    """The normalisations that apply to an arm: 'paper' is defined for the paper's two arms only."""
    return {name: pair for name, pair in bounds.items() if name != "paper" or arm in PAPER_ARMS}


def _scores(runs: Runs, returns: pd.DataFrame, normalisations: dict) -> Iterator[tuple]:
    """One row per run, quantity and normalisation."""
    for (dataset, arm, seed), table in returns.groupby(["dataset", "arm", "seed"], sort=False):
        quantities = {"final_return": table.loc[table["kind"] == "final", "return"].item()}
        points = _one_per_update(table)
        if len(points) >= LAST_EVALUATIONS:
            quantities["last_five_return"] = points["return"].iloc[-LAST_EVALUATIONS:].mean()
        for quantity, value in quantities.items():
            for normalisation, (zero, one) in _of_arm(normalisations[dataset], arm).items():
                yield dataset, arm, seed, quantity, normalisation, (value - zero) / (one - zero)
    windowed = runs.metrics[runs.metrics["metric"].isin(WINDOWED) | runs.metrics["metric"].str.startswith("share:")]
    for (dataset, arm, seed, metric), table in windowed.groupby(["dataset", "arm", "seed", "metric"], sort=False):
        values = table.sort_values("update")["value"].to_numpy()
        yield dataset, arm, seed, metric, "raw", values[-max(1, round(len(values) / 5)) :].mean()


def _statistics(scores: pd.DataFrame, settings: dict) -> Iterator[tuple]:
    """Aggregates of each arm, then each arm compared with the paper's control arm; at the end over all datasets."""
    yield from _statistics_of_datasets(scores, settings)
    yield from _statistics_of_all(scores, settings)


def _statistics_of_datasets(scores: pd.DataFrame, settings: dict) -> Iterator[tuple]:
    options = settings["statistics"]
    keys = ["dataset", "quantity", "normalisation"]
    for (dataset, quantity, normalisation), group in scores.groupby(keys, sort=False):
        experiment = settings["experiments"][dataset]
        # [run], in the order of the configured seeds, so that arms are paired.
        arms = {
            arm: table.set_index("seed")["value"].loc[experiment["seeds"]].to_numpy()
            for arm, table in group.groupby("arm", sort=False)
        }
        for arm, values in arms.items():
            start = (dataset, arm, quantity, normalisation)
            names = ["mean", "median", "iqm"]
            if normalisation != "raw":
                names.append("optimality_gap")
            for name in names:
                yield from _aggregate_rows(start, name, values, options)
        control, _ = PAPER_ARMS
        if control not in arms:
            continue
        for arm, values in arms.items():
            if arm != control:
                start = (dataset, f"{arm} - {control}", quantity, normalisation)
                yield from _comparison_rows(start, values, arms[control], options)


def _statistics_of_all(scores: pd.DataFrame, settings: dict) -> Iterator[tuple]:
    """The same over datasets, for normalised final returns, which alone can be compared between them."""
    options = settings["statistics"]
    for normalisation, arms in _strata(scores, settings).items():
        for arm, strata in arms.items():
            start = (ALL, arm, "final_return", normalisation)
            for name in ("mean", "median", "iqm", "optimality_gap"):
                yield _percentile_row(start, name, strata, bootstrap.estimator(name), options)
        control, _ = PAPER_ARMS
        for arm, strata in arms.items():
            if arm == control or len(strata) != len(arms.get(control, [])):
                continue
            start = (ALL, f"{arm} - {control}", "final_return", normalisation)
            name = "probability_of_improvement"
            pairs = list(zip(strata, arms[control], strict=True))
            value = np.mean([bootstrap.probability_of_improvement(*pair) for pair in pairs])
            runs, repetitions, seed = sum(map(len, strata)), options["repetitions_improvement"], options["bootstrap_seed"]
            if runs == len(strata):
                yield *start, name, value, None, None, "point", runs, None, None
                continue
            generator = bootstrap.stream(seed, *start[:3], name)
            samples = np.mean(
                [
                    bootstrap.bootstrap_probability_of_improvement(*pair, repetitions=repetitions, generator=generator)
                    for pair in pairs
                ],
                axis=0,
            )
            low, high = bootstrap.percentile_interval(samples, options["confidence"])
            yield *start, name, value, low, high, "percentile bootstrap", runs, repetitions, seed


def _strata(scores: pd.DataFrame, settings: dict) -> dict[str, dict[str, list[np.ndarray]]]:
    """Final returns by normalisation and arm, one [run] per dataset; of arms that trained on each of several datasets."""
    datasets = list(settings["experiments"])
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    if len(datasets) < 2:
        return found
    final = scores[(scores["quantity"] == "final_return") & (scores["normalisation"] != "raw")]
    for (normalisation, arm), group in final.groupby(["normalisation", "arm"], sort=False):
        strata = [group.loc[group["dataset"] == dataset, "value"].to_numpy() for dataset in datasets]
        if all(len(stratum) for stratum in strata):
            found.setdefault(normalisation, {})[arm] = strata
    return found


def _profiles(scores: pd.DataFrame, settings: dict) -> Iterator[tuple]:
    """Performance profiles of every arm on every dataset and on all, with bands, at `profile_points` thresholds that span
    what any run reached."""
    options = settings["statistics"]
    final = scores[(scores["quantity"] == "final_return") & (scores["normalisation"] != "raw")]
    for normalisation, table in final.groupby("normalisation", sort=False):
        lowest, highest = table["value"].min(), table["value"].max()
        thresholds = np.linspace(min(lowest, 0.0), max(highest, 1.0), options["profile_points"])
        arms = {key: [group["value"].to_numpy()] for key, group in table.groupby(["dataset", "arm"], sort=False)}
        arms |= {(ALL, arm): strata for arm, strata in _strata(scores, settings).get(normalisation, {}).items()}
        for (dataset, arm), strata in arms.items():
            runs, seed, repetitions = sum(map(len, strata)), options["bootstrap_seed"], options["repetitions_curves"]
            method = "percentile bootstrap"
            values = bootstrap.performance_profile(np.concatenate(strata), thresholds)
            low = high = np.full(len(thresholds), np.nan)
            if runs == len(strata):
                repetitions, seed, method = None, None, "point"
            else:
                generator = bootstrap.stream(seed, dataset, arm, "profile")
                usual = {"repetitions": repetitions, "confidence": options["confidence"], "generator": generator}
                low, high = bootstrap.bootstrap_profile(strata, thresholds, **usual)
            for threshold, *numbers in zip(thresholds, values, low, high, strict=True):
                yield dataset, arm, "final_return", normalisation, threshold, *numbers, method, runs, repetitions, seed


def _aggregate_rows(start: tuple, name: str, values: np.ndarray, options: dict) -> Iterator[tuple]:
    statistic = bootstrap.estimator(name)
    yield _percentile_row(start, name, [values], statistic, options)
    if name == "mean" and len(values) > 1:
        low, high = bootstrap.t_interval(values, options["confidence"])
        yield *start, name, values.mean(), low, high, "t", len(values), None, None


def _comparison_rows(start: tuple, values: np.ndarray, control: np.ndarray, options: dict) -> Iterator[tuple]:
    differences = values - control  # [run], paired by seed
    yield _percentile_row(start, "paired_difference", [differences], bootstrap.mean, options)
    if len(differences) > 1:
        low, high = bootstrap.t_interval(differences, options["confidence"])
        yield *start, "paired_difference", differences.mean(), low, high, "paired t", len(differences), None, None
    name = "probability_of_improvement"
    value = bootstrap.probability_of_improvement(values, control)
    if len(values) == 1:
        yield *start, name, value, None, None, "point", 1, None, None
        return
    repetitions, seed = options["repetitions_improvement"], options["bootstrap_seed"]
    samples = bootstrap.bootstrap_probability_of_improvement(
        values,
        control,
        repetitions=repetitions,
        generator=bootstrap.stream(seed, *start[:3], name),
    )
    low, high = bootstrap.percentile_interval(samples, options["confidence"])
    yield *start, name, value, low, high, "percentile bootstrap", len(values), repetitions, seed


def _percentile_row(start: tuple, name: str, strata: list[np.ndarray], statistic, options: dict) -> tuple:
    """The stream is the quantity's own: every estimator and normalisation of it sees the same resamples."""
    runs = sum(map(len, strata))
    value = statistic(np.concatenate(strata))
    if runs == len(strata):
        return *start, name, value, None, None, "point", runs, None, None
    repetitions, seed = options["repetitions"], options["bootstrap_seed"]
    samples = bootstrap.stratified_bootstrap(
        strata, statistic, repetitions=repetitions, generator=bootstrap.stream(seed, *start[:3])
    )
    low, high = bootstrap.percentile_interval(samples, options["confidence"])
    return *start, name, value, low, high, "percentile bootstrap", runs, repetitions, seed


def _curves(runs: Runs, returns: pd.DataFrame, normalisations: dict, settings: dict) -> Iterator[tuple]:
    """Mean curves over seeds with bands: both distances, and the return of every evaluation."""
    metrics = runs.metrics[runs.metrics["metric"].isin(DISTANCES)]
    for (dataset, arm, metric), table in metrics.groupby(["dataset", "arm", "metric"], sort=False):
        curve = table.pivot(index="update", columns="seed", values="value")
        yield from _curve_rows(dataset, arm, metric, {"raw": (0.0, 1.0)}, curve, settings["statistics"])
    for (dataset, arm), table in returns.groupby(["dataset", "arm"], sort=False):
        curve = _one_per_update(table).pivot(index="update", columns="seed", values="return")
        bounds = _of_arm(normalisations[dataset], arm)
        yield from _curve_rows(dataset, arm, "evaluation_return", bounds, curve, settings["statistics"])


def _curve_rows(
    dataset: str, arm: str, quantity: str, bounds: dict[str, tuple[float, float]], curve: pd.DataFrame, options: dict
) -> Iterator[tuple]:
    values = curve.to_numpy().T  # [run, point]
    runs = len(values)
    repetitions, seed, method = options["repetitions_curves"], options["bootstrap_seed"], "percentile bootstrap"
    low = high = np.full(values.shape[1], np.nan)
    if runs == 1:
        repetitions, seed, method = None, None, "point"
    else:
        low, high = bootstrap.bootstrap_curve(
            values,
            repetitions=repetitions,
            confidence=options["confidence"],
            generator=bootstrap.stream(seed, dataset, arm, quantity, "curve"),
        )
    for normalisation, (zero, one) in bounds.items():
        middle, bottom, top = ((part - zero) / (one - zero) for part in (values.mean(axis=0), low, high))
        for update, *numbers in zip(curve.index, middle, bottom, top, strict=True):
            yield dataset, arm, quantity, normalisation, update, *numbers, method, runs, repetitions, seed


def _one_per_update(returns: pd.DataFrame) -> pd.DataFrame:
    """Evaluations in order of updates; of two at the same update the final one, which has more episodes."""
    ordered = returns.sort_values(["seed", "update", "kind"], key=lambda c: c == "final" if c.name == "kind" else c)
    return ordered.drop_duplicates(["seed", "update"], keep="last")


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    # Integer columns with gaps stay integers, and ten digits keep the bytes free of the last bits' noise.
    table = table.astype({name: "Int64" for name in ("repetitions", "bootstrap_seed") if name in table})
    with written_beside(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
