"""What changed between two results: claims or the table of a sweep, statistics with their intervals, curves with their bands.

Numbers count as equal when they agree in eight digits: tables are written with ten, and processors differ in the last bits.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pjap_bench import config, files
from pjap_bench.errors import BenchError
from pjap_bench.releases import contents, manifest
from pjap_bench.statistics import summary, sweep, verdict

RELATIVE, ABSOLUTE = 1e-8, 1e-12
NUMBERS = ["value", "low", "high"]
STATISTIC = ["dataset", "arm", "quantity", "normalisation", "estimator", "method"]  # what names a row of statistics.csv
CURVE = ["dataset", "arm", "quantity", "normalisation"]  # what names a curve of curves.csv
EFFECT = ["variant", "arm", "quantity", "settings"]  # what names a row of sweep.csv
KEYS = {"statistics": STATISTIC, "curves": CURVE, "sweep": EFFECT}
SETTINGS_AT_MOST = 8  # changed settings that a note names


def compare(first: Path, second: Path) -> dict:
    """What changed from one folder of results or release to another, as plain JSON.

    Returns:
        "first" and "second": what they are; "notes": what a reader must know;
        "claims": of every changed claim its id and what it was and is, None where it is not there;
        "statistics", and of sweeps "sweep": changed rows, the largest relative change first;
        "curves": changed curves with the largest differences of mean and band, and where (None: they share no update);
        "only_first" and "only_second": the rows of each of these that the other has not.

    Raises:
        BenchError: a folder that is neither, is unfinished or damaged, or is a release whose files were changed; only one is a
            sweep.
    """
    read = [_read(folder) for folder in (first, second)]
    if read[0]["tables"].keys() != read[1]["tables"].keys():
        raise BenchError("one is a sweep, the other is not", where=f"{first}, {second}", do="compare two of a kind")
    one, other = (each["concluded"] for each in read)
    result = {
        "first": read[0]["is"],
        "second": read[1]["is"],
        "notes": list(_notes(*read)),
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


def content_difference(first: Path, second: Path) -> str:
    """Where two tables (.csv, in any order of rows) or two files of JSON (but for their stamps) differ first; empty: nowhere.

    Raises:
        BenchError: a file that cannot be read.
    """
    if first.suffix == ".json":
        one, other = (files.read_json(path) for path in (first, second))
        if isinstance(one, dict) and isinstance(other, dict):
            one, other = ({key: each[key] for key in each if key != "stamp"} for each in (one, other))
        return next((path or "all of it" for path in config.differing(one, other, _same)), "")
    one, other = (_read_csv(path) for path in (first, second))
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return f"{len(one)} rows of {', '.join(one.columns)}; {len(other)} of {', '.join(other.columns)}"
    names = one.columns[: one.columns.get_loc("value")]
    order = [*names, "method"] if "method" in one else [*names]
    one, other = (table.sort_values(order, kind="stable", ignore_index=True) for table in (one, other))
    same = np.ones(len(one), dtype=bool)
    for column in one:
        pair = one[column], other[column]
        numeric = all(pd.api.types.is_numeric_dtype(each) for each in pair)
        same &= _equal(*(each.to_numpy(dtype=float) for each in pair)) if numeric else pair[0].astype(str) == pair[1].astype(str)
    return "" if same.all() else f"row {' '.join(map(str, one.loc[~same, names].iloc[0]))}"


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
        if not row["updates"]:
            lines.append(f"  {_title(row, 'curves')}: no update is in both, {row['updates_of_one']} are in one of them only")
            continue
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
    config.validate(found, "verdict", path)
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
        "tables": {name: _table(folder / f"{name}.csv", columns, KEYS[name]) for name, columns in tables.items()},
        "configuration": files.read_json(folder / contents.CONFIGURATION),
        "stages": _stages(folder),
        "is": {
            "folder": str(folder),
            "release": files.read_json(folder / manifest.NAME)["name"] if manifest.is_release(folder) else None,
        }
        | {key: concluded["stamp"].get(key) for key in ("pjap_bench", "scale", "regime", "code", "image", "seeds", "datasets")},
    }


def _stages(folder: Path) -> dict[str, dict[str, str]]:
    """By stage the code and the image of its parts; a stage whose parts differ has several, with commas."""
    settings = contents.settings_of(folder)
    data = [f"datasets/{name}" for name in contents.dataset_names(folder, settings)]
    named = {
        "datasets": [f"{name}{kind}" for name in data for kind in (".json", ".description.json")],
        "games": ["games/provenance.json", "games/robustness.json"],
        "training": [f"{stack}/run.json" for stack in contents.stacks(folder, settings)],
        "statistics": ["statistics.provenance.json"],
        contents.conclusion(folder).partition(".")[0]: [contents.conclusion(folder)],
    }
    found = {}
    for stage, names in named.items():
        read = [files.read_json(folder / name) for name in names if (folder / name).is_file()]
        parts = [part for part in read if isinstance(part, dict)]
        stamps = [part.get("stamp", part) for part in parts]  # games/provenance.json is all stamp
        stamps += [each.get("environment", {}) for part in parts for each in part.get("environments", [])]  # where a run went on
        found[stage] = {key: ", ".join(sorted({each[key] for each in stamps if key in each})) for key in ("code", "image")}
    return found


def _table(path: Path, columns: list[str], key: list[str]) -> pd.DataFrame:
    """A table whose rows `key` names, in curves.csv with their updates."""
    do = "run the statistics step again"
    table = _read_csv(path, dtype=dict.fromkeys(key, str))
    if list(table.columns) != columns:
        raise BenchError(f"columns are {list(table.columns)}, expected {columns}", where=path, do=do)
    key = [*key, "update"] if "update" in columns else key
    broken = table[[*key, "value", "method", "n"]].isna().any(axis=1)
    if broken.any():
        raise BenchError(f"row {broken.idxmax() + 1} is not whole", where=path, do=do)
    for name in {*NUMBERS, "n", "update"} & set(columns):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise BenchError(f"column {name} holds what is no number", where=path, do=do)
    twice = table.duplicated(key)
    if twice.any():
        named = " ".join(map(str, table.loc[twice, key].iloc[0]))
        raise BenchError(f"the row {named} is there twice", where=path, do=do)
    return table


def _read_csv(path: Path, **options) -> pd.DataFrame:
    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise BenchError(f"cannot be read ({error})", where=path, do="run the statistics step again") from error


def _notes(one: dict, other: dict) -> Iterator[str]:
    first, second = one["is"], other["is"]
    if first["scale"] != second["scale"]:
        yield f"the scales differ ({first['scale']}, {second['scale']}): changes are of the scale too"
    elif first["regime"] != second["regime"]:
        yield "the regimes differ, though the scale is the same: settings were changed"
    if first["pjap_bench"] != second["pjap_bench"]:
        yield f"the versions differ ({first['pjap_bench']}, {second['pjap_bench']})"
    for key, name in (("code", "codes"), ("image", "images")):
        stages: dict[tuple[str, str], list[str]] = {}  # often several of one image
        for stage in one["stages"]:
            pair = one["stages"][stage][key], other["stages"][stage][key]
            if pair[0] != pair[1]:
                stages.setdefault(pair, []).append(stage)
        if stages:
            yield f"the {name} differ: " + "; ".join(f"{', '.join(of)} ({' -> '.join(pair)})" for pair, of in stages.items())
    paths = config.differing(one["configuration"], other["configuration"], _same)
    settings = [path for path in paths if path not in ("scale", "regime")]
    if settings:
        more = f" and {len(settings) - SETTINGS_AT_MOST} more" if len(settings) > SETTINGS_AT_MOST else ""
        yield f"the settings differ ({contents.CONFIGURATION}): {', '.join(settings[:SETTINGS_AT_MOST])}{more}"
    data = first["datasets"] or {}, second["datasets"] or {}
    different = [name for name in data[0] if name in data[1] and data[0][name] != data[1][name]]
    if different:
        yield f"the data differ: {', '.join(different)}"


def _same(one, other) -> bool:
    """Of plain values; numbers by the tolerance."""
    numbers = type(one) in (int, float) and type(other) in (int, float)
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE) if numbers else one == other


def _claims(first: dict, second: dict) -> Iterator[dict]:
    entries = [{entry["id"]: _claim(entry) for entry in each["claims"]} for each in (first, second)]
    for name in dict.fromkeys([*entries[0], *entries[1]]):
        one, other = (each.get(name) for each in entries)
        if one is None or other is None or one["status"] != other["status"] or not _same_estimates(one, other):
            yield {"id": name, "first": one, "second": other}


def _claim(entry: dict) -> dict:
    estimates = {each["name"]: {key: each[key] for key in (*NUMBERS, "n", "region")} for each in entry["estimates"]}
    return {"status": entry["status"], "estimates": estimates}


def _same_estimates(one: dict, other: dict) -> bool:
    return one["estimates"].keys() == other["estimates"].keys() and not _moved(one, other)


def _moved(one: dict, other: dict) -> list[str]:
    """What changed, in words, of the estimates that both claims have: the interval, the number of runs, the claim's region."""
    moved = []
    for name in one["estimates"]:
        if name not in other["estimates"]:
            continue
        sides = one["estimates"][name], other["estimates"][name]
        if not _equal(*map(_numbers, sides)).all():
            moved.append(f"{name}: {' -> '.join(map(_interval, sides))}")
        if sides[0]["n"] != sides[1]["n"]:
            moved.append(f"{name}: n {' -> '.join(str(side['n']) for side in sides)}")
        if sides[0]["region"] != sides[1]["region"]:
            moved.append(f"{name}: region {' -> '.join(_region(side['region']) for side in sides)}")
    return moved


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
        if table["of"].nunique() == 1 and _equal(one, other).all():
            continue  # a curve that only one of them has is named elsewhere
        found = dict(zip(CURVE, key, strict=True)) | {"updates": len(shared), "updates_of_one": alone}
        if shared.empty:
            rows.append(found | {"mean": None, "at": None, "band": None, "relative": 1.0})
            continue
        moved = np.nan_to_num(np.abs(other - one))
        at = int(moved[:, 0].argmax())
        largest = {"mean": float(moved[at, 0]), "at": int(shared["update"].iloc[at]), "band": float(moved[:, 1:].max())}
        rows.append(found | largest | {"relative": _relative(one, other)})
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


def _region(region: dict) -> str:
    return " ".join(f"{key} {verdict.format_number(value)}" for key, value in region.items())


def _claim_words(claim: dict) -> str:
    one, other = claim["first"], claim["second"]
    if one is None or other is None:
        return f"is in the {'second' if one is None else 'first'} only: {(one or other)['status']}"
    status = one["status"] if one["status"] == other["status"] else f"{one['status']} -> {other['status']}"
    moved = _moved(one, other)
    moved += [f"{name}: in one of them only" for name in sorted(one["estimates"].keys() ^ other["estimates"].keys())]
    return "; ".join([status, *moved])
