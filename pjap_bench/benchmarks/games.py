"""The polynomial games: thousands of runs at once, Figures 1 to 5 with their bands, the robustness map."""

import tempfile
from pathlib import Path

import numpy as np

from pjap_bench.benchmarks import table
from pjap_bench.games import experiments, robustness, theory
from pjap_bench.games.learning import learn_full_batch, learn_offline
from pjap_bench.games.polynomial import preset

RUNS, STEPS, POINTS, BATCH = 10_000, 1_000, 500, 32
START = np.array([-0.5, 0.5])


def measure(settings: dict) -> list[dict]:
    """Rows of `table.timed`.

    Args:
        settings: the configuration's sections `games` and `robustness`.
    """
    game = preset("twin_peaks")
    optimum, _ = theory.twin_peaks_optimum(**settings["games"]["twin_peaks"])
    data = optimum + 0.5 * np.random.default_rng(0).standard_normal((RUNS, POINTS, 2))
    pjap = {"name": "pjap", "alpha": 10, "epsilon": 1e-5}

    def full_batch(keep: bool) -> None:
        learn_full_batch(game, data, START, learning_rate=0.02, steps=STEPS, keep=keep)

    def mini_batch(sampler: dict) -> None:
        sampling = np.random.default_rng(1)
        learn_offline(game, data, START, learning_rate=0.02, epochs=STEPS, batch=BATCH, sampler=sampler, sampling=sampling)

    size = f"{RUNS:,} runs x {STEPS:,} steps, {POINTS} points"
    rows = [
        table.timed("full batch, last policies", size, lambda: full_batch(False), 5, 3),
        table.timed("full batch, all policies", size, lambda: full_batch(True), 5, 3),
        table.timed("mini-batch, uniform", f"{size}, batch {BATCH}", lambda: mini_batch({"name": "uniform"}), 3, 25),
        table.timed("mini-batch, PJAP", f"{size}, batch {BATCH}", lambda: mini_batch(pjap), 3, 25),
    ]
    own = settings["robustness"] | {key: settings["games"][key] for key in ("seed", "twin_peaks")}
    with tempfile.TemporaryDirectory() as folder:
        rows.append(
            table.timed(
                "Figures 1-5 with bands, claims, errata",
                "as configured, one core",
                lambda: experiments.simulate(settings["games"], {}, Path(folder)),
                3,
                60,
            )
        )
        rows.append(
            table.timed(
                "robustness map",
                "as configured, two processes",
                lambda: robustness.simulate(own, {}, Path(folder), processes=2),
                1,
                300,
            )
        )
    return rows
