"""The simulations behind Figures 1-5, claims C1-C11 and the errata, at the paper's own size in every scale.

Each experiment is a module with `run(settings) -> Experiment`.
"""

import json
from pathlib import Path

import numpy as np

from pjap_bench.files import write_json, written_beside
from pjap_bench.games.experiments import errata, figure1, figure2, figure3, figure4, figure5, random_datasets

EXPERIMENTS = {
    "figure1": figure1.run,
    "figure2": figure2.run,
    "figure3": figure3.run,
    "figure4": figure4.run,
    "figure5": figure5.run,
    "random_datasets": random_datasets.run,
}


def simulate(settings: dict, stamp: dict, output: Path) -> None:
    """Runs everything and writes it to the folder `output`.

    Args:
        settings: the configuration's section `games`.
        stamp: provenance, copied into every file that has room for it.
        output: gets an npz file of plain arrays for each experiment, estimates.json ({claim: {estimate: {value, low, high,
            n}}}; low = high = value where exact, else a 95 % interval over runs), captions.json ({figure: text}),
            errata.json (see `errata.find`) and provenance.json (`stamp`).

    Raises:
        BenchError: settings that cannot be simulated, or files that cannot be written.
    """
    output = Path(output)
    found = {name: run(settings) for name, run in EXPERIMENTS.items()}
    estimates, captions = {}, {}
    for name, experiment in found.items():
        estimates |= experiment.estimates
        captions |= experiment.captions
        with written_beside(output / f"{name}.npz") as temporary:
            np.savez(temporary, **experiment.arrays, stamp=np.array(json.dumps(stamp, sort_keys=True)))
    errors = errata.find(settings, found["figure4"].arrays, found["figure5"].arrays)
    write_json(output / "errata.json", errors)
    write_json(output / "estimates.json", estimates)
    write_json(output / "captions.json", captions)
    write_json(output / "provenance.json", stamp)
