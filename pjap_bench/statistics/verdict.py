"""The verdict on every claim of workflow/claims.yaml, from the games' estimates and the runs' statistics.

An interval inside the claim's region: reproduced; wholly outside: not reproduced; else inconclusive. Claims about runs
rest on the paired t interval over at least `minimum_seeds` seeds; with fewer, points only and inconclusive.
"""

import itertools
import textwrap
from pathlib import Path

import pandas as pd

from pjap_bench import config
from pjap_bench.errors import BenchError
from pjap_bench.files import read_json, read_yaml, write_json
from pjap_bench.statistics.results import PAPER_ARMS, read_dataset
from pjap_bench.statistics.summary import COLUMNS

REPRODUCED = "reproduced"
REPRODUCED_ON_GENERATED = "reproduced on generated data"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NOT_TESTABLE = "not testable at this scale"
STATUSES = (REPRODUCED, REPRODUCED_ON_GENERATED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE)

ESTIMATORS = ("paired_difference",)
QUANTITIES = {
    "final_return": "final return",
    "distance_sampled": "distance of sampled actions",
    "distance_uniform": "distance on uniform samples",
}


def judge(results: Path, settings: dict, stamp: dict, claims: Path) -> dict:
    """Writes verdict.json into `results` and returns its content.

    Args:
        results: folder of a scale, with games/estimates.json, statistics.csv and datasets/.
        settings: {"arms": {...}, "experiments": {...}, "statistics": {...}}.
        stamp: where the output comes from; its "scale" is judged.
        claims: the file of claims.

    Raises:
        BenchError: claims that do not fit their schema, are there twice or refer to an unknown estimator or estimate; results
            that cannot be read.
    """
    book = read_claims(claims)
    estimates = read_json(results / "games" / "estimates.json")
    try:
        statistics = pd.read_csv(results / "statistics.csv")[COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        what = f"cannot be read ({error})"
        raise BenchError(what, where=results / "statistics.csv", do="run the statistics step again") from error
    scale = stamp["scale"]
    entries = []
    for claim in book["claims"]:
        if config.SCALES.index(scale) < config.SCALES.index(claim["smallest_scale"]):
            outcome = {
                "status": NOT_TESTABLE,
                "reason": f"The smallest scale that can show it is {claim['smallest_scale']}; this one is {scale}.",
                "estimates": [],
            }
        elif claim["source"] == "games":
            outcome = _judge_games(claim, estimates, claims)
        else:
            outcome = _judge_runs(claim, statistics, results, settings, book["minimum_seeds"])
        entries.append(
            {key: claim[key] for key in ("id", "where", "statement", "source", "smallest_scale")}
            | {"scale": scale, "data": _origin(claim, results, settings)}
            | outcome
        )
    counts = {status: sum(entry["status"] == status for entry in entries) for status in STATUSES}
    verdict = {"stamp": stamp, "scale": scale, "limits": book["limits"][scale], "counts": counts, "claims": entries}
    write_json(results / "verdict.json", verdict)
    return verdict


def read_claims(path: Path) -> dict:
    """The claims, checked against workflow/schemas/claims.schema.json.

    Raises:
        BenchError: a violation, an id that is there twice, an unknown estimator, or a comparison that no statistics make.
    """
    book = read_yaml(path)
    config.validate(book, "claims", path)
    seen = set()
    for claim in book["claims"]:
        if claim["id"] in seen:
            raise BenchError(f"claim {claim['id']} is there twice", where=path, do="remove or rename one")
        seen.add(claim["id"])
        if "window" in claim and not claim.get("quantity", "").startswith("distance"):
            raise BenchError(f"claim {claim['id']} has a window, which only distances have", where=path, do="remove it")
        if claim["source"] == "runs" and claim["arms"][1] != PAPER_ARMS[0]:
            raise BenchError(
                f"claim {claim['id']} compares with {claim['arms'][1]}, but the statistics compare with {PAPER_ARMS[0]} alone",
                where=path,
                do=f"make {PAPER_ARMS[0]} its second arm",
            )
        if claim.get("estimator", ESTIMATORS[0]) not in ESTIMATORS:
            raise BenchError(
                f"claim {claim['id']} refers to the unknown estimator '{claim['estimator']}'",
                where=path,
                do=f"use one of: {', '.join(ESTIMATORS)}",
            )
    return book


def format_table(verdict: dict, width: int = 110) -> str:
    """The verdict as text for a terminal: one claim per paragraph under a heading, at most `width` columns."""
    columns = [
        max(len(entry["id"]) for entry in verdict["claims"]),
        max(len(entry["where"]) for entry in verdict["claims"]),
        max(map(len, STATUSES)),
    ]
    margin = columns[0] + 2
    lines = [f"Verdict at scale {verdict['scale']}: {format_counts(verdict)}."]
    lines += [*textwrap.wrap(verdict["limits"], width), ""]
    for entry in verdict["claims"]:
        lines.append(f"{entry['id']:<{columns[0]}}  {entry['status'].upper():<{columns[2]}}  {entry['where']}")
        for text in (entry["statement"] + ".", entry["reason"]):
            lines += textwrap.wrap(text, width, initial_indent=" " * margin, subsequent_indent=" " * margin)
    return "\n".join(lines) + "\n"


def format_counts(verdict: dict) -> str:
    """For example '11 reproduced, 2 inconclusive'."""
    return ", ".join(f"{count} {status}" for status, count in verdict["counts"].items() if count)


def format_number(value: float) -> str:
    """Four significant digits, a true minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _judge_games(claim: dict, estimates: dict, path: Path) -> dict:
    known = estimates.get(claim["id"], {})
    parts = []
    for part in claim["parts"]:
        if part["estimate"] not in known:
            raise BenchError(
                f"claim {claim['id']} refers to the unknown estimate '{part['estimate']}'",
                where=path,
                do=f"use one of: {', '.join(known) or '(no estimates for this claim)'}",
            )
        estimate = {"name": part["estimate"]} | known[part["estimate"]] | {"region": part["region"]}
        parts.append(estimate | {"position": _position(estimate["low"], estimate["high"], part["region"])})
    positions = [part["position"] for part in parts]
    if all(position == "inside" for position in positions):
        status, deciding, verb = REPRODUCED, parts, "inside"
    elif "outside" in positions:
        status, verb = NOT_REPRODUCED, "outside"
        deciding = [part for part in parts if part["position"] == "outside"]
    else:
        status, verb = INCONCLUSIVE, "across the edge of"
        deciding = [part for part in parts if part["position"] == "across"]
    groups = []
    for region, members in itertools.groupby(deciding, key=lambda part: _region_text(part["region"])):
        groups.append(f"{'; '.join(map(_describe, members))} ({region})")
    count = f"{len(deciding)} of {len(parts)} estimates {'lies' if len(deciding) == 1 else 'lie'}"
    reason = f"{count} {verb} the claim's region: {'; '.join(groups)}."
    return {"status": status, "reason": reason, "estimates": parts}


def _judge_runs(claim: dict, statistics: pd.DataFrame, results: Path, settings: dict, minimum_seeds: int) -> dict:
    trained = settings["experiments"].get(claim["dataset"], {"arms": []})["arms"]
    missing = [arm for arm in claim["arms"] if arm not in trained]
    if missing:
        labels = ", ".join(_label(settings, arm) for arm in missing)
        reason = f"This scale does not train {labels} on {claim['dataset']}."
        return {"status": NOT_TESTABLE, "reason": reason, "estimates": []}
    if changed := settings["experiments"][claim["dataset"]].get("changed"):
        reason = f"On {claim['dataset']} settings are not the scale's: {', '.join(changed)}."
        return {"status": NOT_TESTABLE, "reason": reason, "estimates": []}
    treatment, control = claim["arms"]
    name = f"{treatment} - {control}"
    rows = statistics[
        (statistics["dataset"] == claim["dataset"])
        & (statistics["arm"] == name)
        & (statistics["quantity"] == claim["quantity"])
        & (statistics["normalisation"] == "raw")
        & (statistics["estimator"] == claim["estimator"])
    ]
    if rows.empty:
        raise BenchError(
            f"claim {claim['id']} needs {claim['estimator']} of {claim['quantity']} for '{name}', which is not there",
            where=results / "statistics.csv",
            do="run the statistics step again",
        )
    seeds = int(rows["n"].iloc[0])
    estimate = {
        "name": f"{claim['estimator']} of {claim['quantity']}, {name}, {claim['dataset']}",
        "value": float(rows["value"].iloc[0]),
        "low": None,
        "high": None,
        "n": seeds,
        "region": claim["region"],
    }
    if "window" in claim:
        estimate["window"] = claim["window"]
    subject = (
        f"The paired difference of the {QUANTITIES[claim['quantity']]} ({_label(settings, treatment)} minus "
        f"{_label(settings, control)}, {claim['dataset']}) is {format_number(estimate['value'])}"
    )
    region = _region_text(claim["region"])
    if seeds < minimum_seeds:
        count = f"{seeds} seed{'s' * (seeds > 1)}, too few for an interval (at least {minimum_seeds})"
        reason = f"{subject} over {count}; {region}."
        return {"status": INCONCLUSIVE, "reason": reason, "estimates": [estimate | {"position": "no interval"}]}
    interval = rows[rows["method"] == "paired t"].iloc[0]
    estimate |= {"low": float(interval["low"]), "high": float(interval["high"]), "method": "paired t"}
    estimate["position"] = _position(estimate["low"], estimate["high"], claim["region"])
    confidence = settings["statistics"]["confidence"]
    ends = f"{format_number(estimate['low'])} to {format_number(estimate['high'])}"
    where = {"inside": "inside", "outside": "outside", "across": "across the edge of"}[estimate["position"]]
    generated = read_dataset(results, claim["dataset"])["origin"] == "generated"
    status = {
        "inside": REPRODUCED_ON_GENERATED if generated else REPRODUCED,
        "outside": NOT_REPRODUCED,
        "across": INCONCLUSIVE,
    }[estimate["position"]]
    reason = f"{subject} ({confidence:.0%} interval {ends}, {seeds} seeds), {where} the claim's region ({region})."
    return {"status": status, "reason": reason, "estimates": [estimate]}


def _position(low: float, high: float, region: dict) -> str:
    """Where the interval lies: inside, outside, or across the region's edge."""
    if "below" in region:
        inside, outside = high < region["below"], low >= region["below"]
    elif "above" in region:
        inside, outside = low > region["above"], high <= region["above"]
    else:
        lower, upper = region["equal"] - region["within"], region["equal"] + region["within"]
        inside, outside = lower <= low and high <= upper, high < lower or low > upper
    return "inside" if inside else "outside" if outside else "across"


def _region_text(region: dict) -> str:
    if "equal" in region:
        tolerance = f" within {format_number(region['within'])}" if region["within"] else ""
        return f"the claim needs {format_number(region['equal'])}{tolerance}"
    (side, bound), *_ = region.items()
    return f"the claim needs a value {side} {format_number(bound)}"


def _describe(part: dict) -> str:
    text = f"{part['name']} = {format_number(part['value'])}"
    if part["low"] != part["high"]:
        text += f" [{format_number(part['low'])}, {format_number(part['high'])}]"
    return text


def _origin(claim: dict, results: Path, settings: dict) -> str:
    """What the numbers were made from: 'simulated game', or the dataset's origin as its summary says it."""
    if claim["source"] == "games":
        return "simulated game"
    if claim["dataset"] not in settings["experiments"]:
        return "not part of this scale"
    return read_dataset(results, claim["dataset"])["origin"]


def _label(settings: dict, arm: str) -> str:
    return settings["arms"].get(arm, {}).get("label", arm)
