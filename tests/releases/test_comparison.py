"""What changed between two results."""

import json
import re

import pandas as pd
import pytest

from pjap_bench import __main__ as command_line
from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.releases import comparison
from tests.releases.conftest import change


def text_of(path, make):
    """Writes what `make` makes of a file's lines."""
    path.write_text("\n".join(make(path.read_text().splitlines())) + "\n")


def cut_off(lines):
    return [*lines[:-1], lines[-1][: lines[-1].index(",") + 5]]


def doubled(lines):
    return [*lines, lines[1]]


def worded(lines):
    cells = lines[1].split(",")
    return [lines[0], ",".join([*cells[:5], "much", *cells[6:]]), *lines[2:]]


def claim_of(results, key, **to):
    """The first claim loses a key, or has another value of it."""
    _replace(results, lambda claims: claims[0], key, **to)


def estimate_of(results, key, **to):
    """The same with its first number."""
    _replace(results, lambda claims: claims[0]["estimates"][0], key, **to)


def _replace(results, chosen, key, **to):
    found = files.read_json(results / "verdict.json")
    part = chosen(found["claims"])
    del part[key]
    if to:
        part[key] = to["value"]
    files.write_json(results / "verdict.json", found)


def edit(path, query, **changes):
    """Adds to numbers of the rows of a table that fit."""
    table = pd.read_csv(path)
    for column, by in changes.items():
        table.loc[table.eval(query), column] += by
    table.to_csv(path, index=False)


def test_nothing_changed(pinned, made):
    found = comparison.compare(pinned, made)
    assert not found["claims"] and not found["statistics"] and not found["curves"] and not found["notes"]
    assert found["first"]["release"] == "first" and found["second"]["release"] is None
    assert comparison.first_difference(found) == ""


def test_the_last_bits_are_no_change(pinned, results):
    path = results / "statistics.csv"
    table = pd.read_csv(path)
    table["value"] *= 1 + 1e-9
    table.to_csv(path, index=False)
    assert comparison.compare(pinned, results)["statistics"] == []


def test_claims(pinned, results):
    verdict = files.read_json(results / "verdict.json")
    first, second, third, *_ = verdict["claims"]
    was = first["status"]
    first["status"] = "not reproduced" if was != "not reproduced" else "reproduced"
    second["estimates"][0]["high"] += 0.5
    verdict["claims"].remove(third)
    change(results / "verdict.json", **verdict)
    found = comparison.compare(pinned, results)
    assert [claim["id"] for claim in found["claims"]] == [first["id"], second["id"], third["id"]]
    assert found["claims"][0]["second"]["status"] == first["status"] and found["claims"][2]["second"] is None
    said = comparison.words(found, 20)
    assert "Claims that changed: 3" in said and f"{was} -> {first['status']}" in said
    assert f"{second['estimates'][0]['name']}: " in said and "is in the first only" in said


def test_a_claim_of_another_region_or_number_of_runs(pinned, results):
    verdict = files.read_json(results / "verdict.json")
    first, second, *_ = verdict["claims"]
    name = first["estimates"][0]["name"]
    first["estimates"][0]["region"] = {"below": 1e9}
    second["estimates"][0]["n"] += 7
    change(results / "verdict.json", **verdict)
    found = comparison.compare(pinned, results)
    assert [claim["id"] for claim in found["claims"]] == [first["id"], second["id"]]
    said = comparison.words(found, 20)
    assert f"{name}: region below 0 -> below 1e+09" in said
    assert f": n {second['estimates'][0]['n'] - 7} -> {second['estimates'][0]['n']}" in said


def test_statistics_the_largest_first(pinned, results):
    path = results / "statistics.csv"
    edit(path, "dataset == 'good' and quantity == 'distance_sampled' and estimator == 'iqm'", value=0.1)
    raw = "normalisation == 'raw' and estimator == 'mean' and method == 't'"
    edit(path, f"dataset == 'good' and quantity == 'final_return' and {raw}", low=-1.0)
    rows = comparison.compare(pinned, results)["statistics"]
    assert {row["quantity"] for row in rows} == {"distance_sampled", "final_return"}
    assert [row["relative"] for row in rows] == sorted((row["relative"] for row in rows), reverse=True)
    assert rows[0]["quantity"] == "distance_sampled"
    assert rows[0]["second"]["value"] == pytest.approx(rows[0]["first"]["value"] + 0.1)
    said = comparison.words(comparison.compare(pinned, results), 1)
    assert f"Statistics that changed: {len(rows)} (1 of them" in said
    assert said.count("distance_sampled raw iqm") == 1


def test_an_interval_that_went_is_a_change(pinned, results):
    path = results / "statistics.csv"
    table = pd.read_csv(path)
    table.loc[table["method"] == "t", ["low", "high"]] = None
    table.to_csv(path, index=False)
    rows = comparison.compare(pinned, results)["statistics"]
    assert {row["method"] for row in rows} == {"t"} and all(row["relative"] == 1 for row in rows)
    json.dumps(rows, allow_nan=False)


def test_rows_of_one_only(pinned, results):
    path = results / "statistics.csv"
    table = pd.read_csv(path)
    table.loc[table["arm"] != "maddpg_cql"].to_csv(path, index=False)
    found = comparison.compare(pinned, results)
    assert len(found["only_first"]["statistics"]) == (table["arm"] == "maddpg_cql").sum()
    assert not found["only_second"]["statistics"] and not found["statistics"]
    assert "Statistics in the first only" in comparison.words(found, 3)
    assert comparison.first_difference(found)


def test_curves(pinned, results):
    path = results / "curves.csv"
    update = pd.read_csv(path).query("dataset == 'good' and quantity == 'distance_uniform'")["update"].max()
    chosen = f"dataset == 'good' and arm == 'maddpg_cql_pjap' and quantity == 'distance_uniform' and update == {update}"
    edit(path, chosen, value=0.25, high=0.5)
    table = pd.read_csv(path)
    rest = table.eval("dataset == 'good_medium' and quantity == 'evaluation_return' and update == 500")
    table[~rest].to_csv(path, index=False)
    rows = comparison.compare(pinned, results)["curves"]
    row = next(row for row in rows if row["dataset"] == "good")
    assert (row["arm"], row["quantity"], row["at"]) == ("maddpg_cql_pjap", "distance_uniform", update)
    assert (row["mean"], row["band"]) == (pytest.approx(0.25), pytest.approx(0.5))
    shorter = [row for row in rows if row["dataset"] == "good_medium"]
    assert len(shorter) == rest.sum() and all(row["updates_of_one"] == 1 and row["mean"] == 0 for row in shorter)


def test_a_curve_at_other_updates_altogether(pinned, results):
    path = results / "curves.csv"
    chosen = "dataset == 'good' and arm == 'maddpg_cql' and quantity == 'distance_uniform'"
    edit(path, chosen, update=1)
    found = comparison.compare(pinned, results)
    (row,) = found["curves"]
    count = len(pd.read_csv(path).query(chosen))
    assert (row["updates"], row["updates_of_one"], row["mean"]) == (0, 2 * count, None)
    assert f"distance_uniform raw: no update is in both, {2 * count} are in one of them only" in comparison.words(found, 3)
    json.dumps(found["curves"], allow_nan=False)
    # One that only one of them has is named as such.
    table = pd.read_csv(path)
    table[~table.eval(chosen)].to_csv(path, index=False)
    found = comparison.compare(pinned, results)
    assert found["only_first"]["curves"] == ["good maddpg_cql distance_uniform raw"] and not found["curves"]


def test_other_code_images_and_settings_of_any_stage_are_said(pinned, results):
    stacks = list(results.glob("runs/*/*/*/run.json"))
    old = files.read_json(stacks[0])["stamp"]["code"]
    for path in stacks:
        change(path, stamp=files.read_json(path)["stamp"] | {"code": "0123456789ab", "image": "train@sha256:1"}, environments=[])
    games = files.read_json(results / "games" / "provenance.json")
    change(results / "games" / "provenance.json", image="analysis@sha256:2")
    configuration = files.read_json(results / "configuration.json")
    configuration["training"]["reward_scale"] = 0.777
    configuration["games"]["figure5"]["runs"] = 12345
    change(results / "configuration.json", **configuration)
    assert comparison.compare(pinned, results)["notes"] == [
        f"the codes differ: training ({old} -> 0123456789ab)",
        f"the images differ: games ({games['image']} -> analysis@sha256:2, uncontained); "
        "training (uncontained -> train@sha256:1)",
        "the settings differ (configuration.json): games.figure5.runs, training.reward_scale",
    ]
    configuration["games"] = {}
    change(results / "configuration.json", **configuration)
    *_, note = comparison.compare(pinned, results)["notes"]
    assert note.count(",") == comparison.SETTINGS_AT_MOST - 1 and re.search(r" and \d+ more$", note)


def test_other_scales_data_and_code_are_said(pinned, results):
    verdict = files.read_json(results / "verdict.json")
    stamp = verdict["stamp"] | {"scale": "quick", "code": "0123456789ab", "datasets": {"good": "f" * 64}}
    change(results / "verdict.json", stamp=stamp)
    notes = " ".join(comparison.compare(pinned, results)["notes"])
    for words in ("the scales differ (smoke, quick)", "the codes differ: verdict (", "the data differ: good"):
        assert words in notes


def test_the_command(pinned, results, tmp_path, capsys):
    edit(results / "statistics.csv", "quantity == 'final_return'", value=1.0)
    output = tmp_path / "comparison.json"
    assert command_line.main(["compare", str(pinned), str(results), "--limit", "2", "--output", str(output)]) == 0
    assert "(2 of them, the largest relative change first; all: --output FILE, with make ARGS=" in capsys.readouterr().out
    # As read back from JSON, every row is there.
    assert files.read_json(output) == json.loads(json.dumps(comparison.compare(pinned, results)))
    assert len(files.read_json(output)["statistics"]) > 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda results: (results / "verdict.json").unlink(), "no finished results here: no verdict.json"),
        (lambda results: (results / "verdict.json").write_text("[]"), r"verdict\.json: key '\(top level\)'"),
        (lambda results: claim_of(results, "status"), r"verdict\.json: key 'claims\.0\.status' is missing"),
        (lambda results: claim_of(results, "reason", value=1), r"verdict\.json: key 'claims\.0\.reason'"),
        (lambda results: estimate_of(results, "n"), r"verdict\.json: key 'claims\.0\.estimates\.0\.n' is missing"),
        (lambda results: estimate_of(results, "low", value="-1"), r"verdict\.json: key 'claims\.0\.estimates\.0\.low'"),
        (lambda results: (results / "statistics.csv").unlink(), r"statistics\.csv: cannot be read"),
        (lambda results: (results / "curves.csv").write_text(""), r"curves\.csv: cannot be read"),
        (lambda results: (results / "curves.csv").write_text("a,b\n"), r"curves\.csv: columns are"),
        (lambda results: text_of(results / "statistics.csv", cut_off), r"statistics\.csv: row \d+ is not whole"),
        (lambda results: text_of(results / "statistics.csv", doubled), r"statistics\.csv: the row good .* is there twice"),
        (lambda results: text_of(results / "curves.csv", doubled), r"curves\.csv: the row good .* is there twice"),
        (lambda results: text_of(results / "curves.csv", worded), r"curves\.csv: column value holds what is no number"),
        (lambda results: (results / "configuration.json").unlink(), r"configuration\.json"),
    ],
)
def test_what_cannot_be_compared(damage, message, made, results):
    damage(results)
    with pytest.raises(BenchError, match=message):
        comparison.compare(made, results)


def test_a_damaged_release_is_not_compared(made, release, capsys):
    (release / "curves.csv").write_text((release / "curves.csv").read_text() + "\n")
    assert command_line.main(["compare", str(made), str(release)]) == 2
    assert "curves.csv: was changed" in capsys.readouterr().err


def test_the_verdict_as_a_table(made, results, release, tmp_path, capsys):
    verdict = files.read_json(results / "verdict.json")
    verdict["claims"][0]["status"] = "not reproduced"
    change(results / "verdict.json", **verdict)
    assert command_line.main(["verdict", "--results", str(results)]) == 0
    assert f"{verdict['claims'][0]['id']:<16} NOT REPRODUCED" in capsys.readouterr().out
    assert command_line.main(["verdict", "--results", str(release)]) == 0
    (release / "verdict.json").write_text(json.dumps(verdict))
    assert command_line.main(["verdict", "--results", str(release)]) == 2
    assert command_line.main(["verdict", "--results", str(tmp_path / "nowhere")]) == 2
    assert "no finished results here" in capsys.readouterr().err
    assert command_line.main(["verdict", "--results", str(release.with_name("typo"))]) == 2
    assert f"there is no such release. What to do: use one of: {release}" in capsys.readouterr().err
