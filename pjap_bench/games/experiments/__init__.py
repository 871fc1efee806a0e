"""The simulations behind Figures 1-5, claims C1-C11 and the errata, at the paper's own size in every scale.

Each experiment is a module with `run(settings) -> Experiment`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pjap_bench.errors import BenchError
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
    found = {name: _numbers_of(name, lambda run=run: run(settings)) for name, run in EXPERIMENTS.items()}
    errors = _numbers_of("errata", lambda: errata.find(settings, found["figure4"].arrays, found["figure5"].arrays))
    estimates, captions = {}, {}
    for name, experiment in found.items():
        estimates |= experiment.estimates
        captions |= experiment.captions
        for claim, numbers in experiment.estimates.items():
            if wrong := [what for what, each in numbers.items() if not np.isfinite([each[key] for key in ("low", "high")]).all()]:
                raise BenchError(f"claim {claim} has no finite {wrong[0]}", where=f"games.{name}", do="lower its learning rate")
    for name, experiment in found.items():
        with written_beside(output / f"{name}.npz") as temporary:
            np.savez(temporary, **experiment.arrays, stamp=np.array(json.dumps(stamp, sort_keys=True)))
    write_json(output / "errata.json", errors)
    write_json(output / "estimates.json", estimates)
    write_json(output / "captions.json", captions)
    write_json(output / "provenance.json", stamp)


def _numbers_of(name: str, run: Callable[[], Any]) -> Any:
    """What `run` returns; settings that leave a group of runs empty are an error that names them."""
    try:
        return run()
    except (ValueError, IndexError) as error:
        raise BenchError(f"settings that give no numbers ({error})", where=f"games.{name}", do="correct them") from error
