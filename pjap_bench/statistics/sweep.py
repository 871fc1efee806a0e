"""The table of a sweep: what each variant of a setting does to the arms, and to the difference between them.

Every row says which variant, which arm (or which difference of arms, paired by seed), which quantity (see
`statistics.summary`), the mean over seeds with its Student's t interval, and every seed's value.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pjap_bench.errors import BenchError
from pjap_bench.files import write_json, written_beside
from pjap_bench.statistics import bootstrap

FILES = ("sweep.csv", "sweep.provenance.json")
COLUMNS = ["variant", "label", "settings", "arm", "quantity", "value", "low", "high", "method", "n", "seeds"]
QUANTITIES = ("final_return", "last_five_return", "distance_sampled", "distance_uniform", "effective_sample_size")


def tabulate(results: Path, settings: dict, stamp: dict) -> None:
    """Writes sweep.csv and sweep.provenance.json into `results`.

    Args:
        results: folder of the sweep, with the scores.csv of its arms.
        settings: {"sweep": the sweep, "statistics": {...}, "arms": {...}, "experiments": {...}}.

    Raises:
        BenchError: scores of a variant are missing.
    """
    path = results / "scores.csv"
    if not path.exists():
        raise BenchError("the scores are not there", where=path, do="run the statistics step")
    scores = pd.read_csv(path)
    scores = scores[scores["normalisation"] == "raw"]
    rows = pd.DataFrame(_rows(scores, settings, path), columns=COLUMNS)
    with written_beside(results / "sweep.csv") as temporary:
        rows.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
    write_json(results / "sweep.provenance.json", {"stamp": stamp, "settings": settings, "definitions": __doc__})


def _rows(scores: pd.DataFrame, settings: dict, path: Path) -> Iterator[tuple]:
    sweep = settings["sweep"]
    control, *others = sweep["arms"]
    for name in sweep["order"]:
        variant = sweep["variants"][name]
        start = (name, variant["label"], json.dumps(variant.get("settings", {}), sort_keys=True))
        for quantity in QUANTITIES:
            values = {}
            for arm in sweep["arms"]:
                chosen = scores[(scores["arm"] == variant["arms"][arm]) & (scores["quantity"] == quantity)]
                values[arm] = chosen.sort_values("seed")["value"].to_numpy()
            sizes = {len(each) for each in values.values()}
            if sizes == {0} and quantity == "last_five_return":
                continue  # fewer than five evaluations
            if len(sizes) > 1 or sizes == {0}:
                raise BenchError(f"{quantity} of {name} is missing or short", where=path, do="run the statistics step again")
            for arm, each in values.items():
                yield *start, arm, quantity, *_interval(each, settings)
            for arm in others:
                yield *start, f"{arm} - {control}", quantity, *_interval(values[arm] - values[control], settings)


def _interval(values: np.ndarray, settings: dict) -> tuple:
    listed = " ".join(f"{value:.6g}" for value in values)
    if len(values) == 1:
        return values[0], None, None, "point", 1, listed
    low, high = bootstrap.t_interval(values, settings["statistics"]["confidence"])
    return values.mean(), low, high, "t", len(values), listed
