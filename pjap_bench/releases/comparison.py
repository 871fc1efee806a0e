"""What changed between two results: claims or the table of a sweep, statistics with their intervals, curves with their bands.

Numbers count as equal when they agree in eight digits: tables are written with ten, and processors differ in the last bits.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.releases import contents, manifest
from pjap_bench.statistics import summary, sweep, verdict

RELATIVE, ABSOLUTE = 1e-8, 1e-12
NUMBERS = ["value", "low", "high"]
STATISTIC = ["dataset", "arm", "quantity", "normalisation", "estimator", "method"]  # what names a row of statistics.csv
CURVE = ["dataset", "arm", "quantity", "normalisation"]  # what names a curve of curves.csv
EFFECT = ["variant", "arm", "quantity", "settings"]  # what names a row of sweep.csv
KEYS = {"statistics": STATISTIC, "curves": CURVE, "sweep": EFFECT}


def compare(first: Path, second: Path) -> dict:
    """What changed from one folder of results or release to another, as plain JSON.

    Returns:
        "first" and "second": what they are; "notes": what a reader must know;
        "claims": of every changed claim its id and what it was and is, None where it is not there;
        "statistics", and of sweeps "sweep": changed rows, the largest relative change first;
        "curves": changed curves with the largest differences of mean and band, and where;
        "only_first" and "only_second": the rows of each of these that the other has not.

    Raises:
        BenchError: a folder that is neither, is unfinished, or is a release whose files were changed; only one is a sweep.
    """
    read = [_read(folder) for folder in (first, second)]
    if read[0]["tables"].keys() != read[1]["tables"].keys():
        raise BenchError("one is a sweep, the other is not", where=f"{first}, {second}", do="compare two of a kind")
    one, other = (each["concluded"] for each in read)
    result = {
        "first": read[0]["is"],
        "second": read[1]["is"],
        "notes": list(_notes(*(each["is"] for each in read))),
        "claims": list(_claims(one, other)),
        "only_first": {},
        "only_second": {},
    }
    for name in read[0]["tables"]:
        tables, key = [each["tables"][name] for each in read], KEYS[name]
        keys = [list(dict.fromkeys(table[key].itertuples(index=False, name=None))) for table in tables]
        result["only_first"][name] = [" ".join(each) for each in keys[0] if each not in set(keys[1])]
        result["only_second"][name] = [" ".join(each) for each in keys[1] if each not in set(keys[0])]
        result[name] = _curves(*tables) if name == "curves" else _rows(*tables, key)
    return result


def first_difference(found: dict) -> str:
    """The first thing that changed, in words; empty where nothing did."""
    for claim in found["claims"]:
        return f"claim {claim['id']} {_claim_words(claim)}"
    for name in found["only_first"]:
        for row in found[name]:
            return f"{name} of {_title(row, name)}"
        for side in ("only_first", "only_second"):
            for title in found[side][name]:
                return f"{name} of {title}"
    return ""


def words(found: dict, limit: int) -> str:
    """The comparison for a terminal: every changed claim, at most `limit` rows of every table."""
    lines = [f"{side:<6}  {_what(found[side])}" for side in ("first", "second")]
    lines += [f"note    {note}" for note in found["notes"]]
    if "sweep" not in found:  # which judges none
        lines += ["", f"Claims that changed: {len(found['claims'])}"]
    lines += [f"  {claim['id']:<16} {_claim_words(claim)}" for claim in found["claims"]]
    for name, what in (("sweep", "Rows of the sweep"), ("statistics", "Statistics")):
        if name not in found:
            continue
        rows = found[name]
        lines += ["", f"{what} that changed: {len(rows)}{_shown(rows, limit, ', the largest relative change first')}"]
        for row in rows[:limit]:
            moved = f"{_interval(row['first'])} -> {_interval(row['second'])}"
            lines.append(f"  {row['relative']:>7.1%}  {_title(row, name)}: {moved}")
    rows = found["curves"]
    lines += ["", f"Curves that changed: {len(rows)}{_shown(rows, limit, ', the largest relative change first')}"]
    for row in rows[:limit]:
        largest = f"mean by at most {row['mean']:.4g} (update {row['at']}), band by at most {row['band']:.4g}"
        alone = f"; {row['updates_of_one']} updates are in one of them only" if row["updates_of_one"] else ""
        lines.append(f"  {_title(row, 'curves')}: {largest}, at {row['updates']} updates{alone}")
    for side in ("first", "second"):
        for name, titles in found[f"only_{side}"].items():
            if titles:
                lines += ["", f"{name.capitalize()} in the {side} only: {len(titles)}{_shown(titles, limit)}"]
                lines += [f"  {title}" for title in titles[:limit]]
    return "\n".join(lines)


def read_verdict(folder: Path) -> dict:
    """verdict.json of results or of a release (whose files are checked first).

    Raises:
        BenchError: no such folder, no verdict in it, or a release whose files were changed.
    """
    _check(folder)
    if contents.sweep_of(folder):
        raise BenchError("is a sweep, which judges no claim", where=folder, do="see its sweep.csv and sweep.png")
    return _verdict(folder)


def _check(folder: Path) -> None:
    if manifest.is_release(folder) or (not folder.exists() and manifest.releases_in(folder.parent)):
        manifest.read(folder)


def _verdict(folder: Path) -> dict:
    path = folder / "verdict.json"
    if not path.is_file():
        do = "name a folder such as results/quick or pinned/NAME, and finish it: make reproduce"
        raise BenchError("there are no finished results here: no verdict.json", where=folder, do=do)
    found = files.read_json(path)
    if not isinstance(found, dict) or not {"stamp", "scale", "limits", "counts", "claims"} <= set(found):
        raise BenchError("is no verdict", where=path, do="run the verdict step again")
    return found


def _read(folder: Path) -> dict:
    """The verdict, or of a sweep its stamp and no claim; the tables; and what they are of."""
    _check(folder)
    tables = {"statistics": summary.COLUMNS, "curves": summary.CURVE_COLUMNS}
    if contents.sweep_of(folder):
        tables["sweep"] = sweep.COLUMNS
        path = folder / contents.conclusion(folder)
        concluded = files.read_json(path)
        if not isinstance(concluded, dict) or not isinstance(concluded.get("stamp"), dict):
            raise BenchError("carries no stamp", where=path, do="run the sweep's table step again")
        concluded = concluded | {"claims": []}
    else:
        concluded = _verdict(folder)
    return {
        "concluded": concluded,
        "tables": {name: _table(folder / f"{name}.csv", columns) for name, columns in tables.items()},
        "is": {
            "folder": str(folder),
            "release": files.read_json(folder / manifest.NAME)["name"] if manifest.is_release(folder) else None,
        }
        | {key: concluded["stamp"].get(key) for key in ("pjap_bench", "scale", "regime", "code", "image", "seeds", "datasets")},
    }


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise BenchError(f"cannot be read ({error})", where=path, do="run the statistics step again") from error
    if list(table.columns) != columns:
        raise BenchError(f"columns are {list(table.columns)}, expected {columns}", where=path, do="run the statistics step again")
    return table


def _notes(first: dict, second: dict) -> Iterator[str]:
    if first["scale"] != second["scale"]:
        yield f"the scales differ ({first['scale']}, {second['scale']}): changes are of the scale too"
    elif first["regime"] != second["regime"]:
        yield "the regimes differ, though the scale is the same: settings were changed"
    for key, name in (("pjap_bench", "versions"), ("code", "codes"), ("image", "images")):
        if first[key] != second[key]:
            yield f"the {name} differ ({first[key]}, {second[key]})"
    one, other = first["datasets"] or {}, second["datasets"] or {}
    different = [name for name in one if name in other and one[name] != other[name]]
    if different:
        yield f"the data differ: {', '.join(different)}"


def _claims(first: dict, second: dict) -> Iterator[dict]:
    entries = [{entry["id"]: _claim(entry) for entry in each["claims"]} for each in (first, second)]
    for name in dict.fromkeys([*entries[0], *entries[1]]):
        one, other = (each.get(name) for each in entries)
        if one is None or other is None or one["status"] != other["status"] or not _same_estimates(one, other):
            yield {"id": name, "first": one, "second": other}


def _claim(entry: dict) -> dict:
    estimates = {each["name"]: {key: each[key] for key in NUMBERS} for each in entry["estimates"]}
    return {"status": entry["status"], "estimates": estimates}


def _same_estimates(one: dict, other: dict) -> bool:
    return one["estimates"].keys() == other["estimates"].keys() and not _moved(one, other)


def _moved(one: dict, other: dict) -> list[str]:
    """The names of the estimates that both claims have and that are not equal."""
    names = [name for name in one["estimates"] if name in other["estimates"]]
    return [name for name in names if not _equal(*(_numbers(each["estimates"][name]) for each in (one, other))).all()]


def _rows(first: pd.DataFrame, second: pd.DataFrame, key: list[str]) -> list[dict]:
    """The changed rows of two tables whose rows `key` names."""
    rows = []
    for row in first.merge(second, on=key, suffixes=("_first", "_second")).to_dict("records"):
        sides = [{name: _plain(row[f"{name}_{side}"]) for name in [*NUMBERS, "n"]} for side in ("first", "second")]
        one, other = map(_numbers, sides)
        seeds = [_seeds(row.get(f"seeds_{side}", "")) for side in ("first", "second")]
        same_seeds = len(seeds[0]) == len(seeds[1]) and np.allclose(*seeds, rtol=1e-5)
        if not _equal(one, other).all() or sides[0]["n"] != sides[1]["n"] or not same_seeds:
            changed = {name: row[name] for name in key} | {"first": sides[0], "second": sides[1]}
            rows.append(changed | {"relative": _relative(one, other)})
    return sorted(rows, key=lambda row: -row["relative"])


def _curves(first: pd.DataFrame, second: pd.DataFrame) -> list[dict]:
    rows = []
    both = first.merge(second, on=[*CURVE, "update"], how="outer", suffixes=("_first", "_second"), indicator="of")
    for key, table in both.groupby(CURVE, sort=False):
        shared = table[table["of"] == "both"].sort_values("update")
        # [update, (value, low, high)]
        one, other = (shared[[f"{name}_{side}" for name in NUMBERS]].to_numpy(dtype=float) for side in ("first", "second"))
        alone = len(table) - len(shared)
        if shared.empty or (_equal(one, other).all() and not alone):
            continue  # a curve that only one of them has is named elsewhere
        moved = np.nan_to_num(np.abs(other - one))
        at = int(moved[:, 0].argmax())
        rows.append(
            dict(zip(CURVE, key, strict=True))
            | {"mean": float(moved[at, 0]), "at": int(shared["update"].iloc[at]), "band": float(moved[:, 1:].max())}
            | {"updates": len(shared), "updates_of_one": alone, "relative": _relative(one, other)}
        )
    return sorted(rows, key=lambda row: -row["relative"])


def _numbers(row: dict) -> np.ndarray:
    """[(value, low, high)], NaN where there is no interval."""
    return np.array([row[name] for name in NUMBERS], dtype=float)


def _seeds(listed: str) -> np.ndarray:
    """The values of the seeds, as a sweep's table has them in six digits; NaN, which equals nothing, for what is no number."""
    return np.asarray(pd.to_numeric(pd.Series(str(listed).split(), dtype=object), errors="coerce"), dtype=float)


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.isclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def _relative(one: np.ndarray, other: np.ndarray) -> float:
    """The largest change against the largest number of both; 1 where an interval came or went."""
    if (np.isnan(one) != np.isnan(other)).any():
        return 1.0
    largest = np.nanmax(np.abs([one, other]))
    return float(np.nanmax(np.abs(other - one)) / largest) if largest else 0.0


def _plain(value) -> float | None:
    return None if value is None or math.isnan(value) else value


def _what(side: dict) -> str:
    name = f"release {side['release']}" if side["release"] else "results"
    return f"{side['folder']}: {name}, scale {side['scale']}, pjap_bench {side['pjap_bench']}, {side['image']}"


def _shown(rows: list, limit: int, order: str = "") -> str:
    return f" ({limit} of them{order}; all: --output FILE, with make ARGS='--output FILE')" if len(rows) > limit else ""


def _title(row: dict, table: str) -> str:
    return " ".join(str(row[name]) for name in KEYS[table])


def _interval(numbers: dict) -> str:
    text = verdict.format_number(numbers["value"])
    if numbers["low"] is None or numbers["high"] is None:
        return text
    return f"{text} [{verdict.format_number(numbers['low'])}, {verdict.format_number(numbers['high'])}]"


def _claim_words(claim: dict) -> str:
    one, other = claim["first"], claim["second"]
    if one is None or other is None:
        return f"is in the {'second' if one is None else 'first'} only: {(one or other)['status']}"
    status = one["status"] if one["status"] == other["status"] else f"{one['status']} -> {other['status']}"
    moved = [
        f"{name}: {_interval(one['estimates'][name])} -> {_interval(other['estimates'][name])}" for name in _moved(one, other)
    ]
    moved += [f"{name}: in one of them only" for name in sorted(one["estimates"].keys() ^ other["estimates"].keys())]
    return "; ".join([status, *moved])
