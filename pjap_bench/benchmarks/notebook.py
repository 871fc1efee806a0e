"""The notebook: from a moved slider to all pictures as they are sent to the browser, which needs about 0.1 s more."""

import dataclasses
import itertools

from pjap_bench.benchmarks import table
from pjap_bench.notebook import shown, study


def measure(settings: dict) -> list[dict]:
    """Rows of `table.timed`, one for each entry of the menu of figures.

    Args:
        settings: the configuration, of which the section `games` is used.
    """
    seeds = itertools.count()  # the slider that changes most

    def move(preset: study.Settings) -> None:
        shown.page(study.study(dataclasses.replace(preset, seed=next(seeds)), settings["games"]))

    return [
        table.timed("notebook, one update", f"as in {name}", lambda preset=preset: move(preset), 9, 0.5)
        for name, preset in study.as_in_figures(settings["games"]).items()
    ]
