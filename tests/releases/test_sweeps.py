"""A sweep is pinned, redrawn, compared and cited like the results of a scale."""

import shutil

import pandas as pd
import pytest

from pjap_bench import __main__ as command_line
from pjap_bench import config, files
from pjap_bench.errors import BenchError
from pjap_bench.releases import comparison, contents, manifest, pinning
from tests.releases.conftest import CLAIMS, change, reseal


@pytest.fixture(scope="module")
def pinned_sweep(swept, tmp_path_factory):
    return pinning.pin(swept, "sweep", tmp_path_factory.mktemp("pinned"), CLAIMS)


@pytest.fixture
def results(swept, tmp_path):
    return shutil.copytree(swept, tmp_path / "smoke" / "sweeps" / "what_decides")


def test_what_it_holds(swept, pinned_sweep):
    about = manifest.read(pinned_sweep)
    assert {*contents.OF_SWEEP, *contents.STATISTICS, "configuration.json", "datasets/good.croissant.json"} <= set(about["files"])
    assert (pinned_sweep / "sweep.csv").read_bytes() == (swept / "sweep.csv").read_bytes()
    assert not [name for name in about["files"] if name.startswith(("games/", "datasets/medium")) or name == "claims.yaml"]
    assert about["stages"]["pjap_bench.statistics.sweep"] and about["configuration"]["sweep"]["name"] == "what_decides"
    crate = files.read_json(pinned_sweep / "ro-crate-metadata.json")["@graph"]
    assert "make sweep SWEEP=what_decides SCALE=smoke" in [entity.get("name") for entity in crate]


def test_everything_comes_out_with_the_same_bytes(pinned_sweep, tmp_path, capsys):
    output = tmp_path / "redrawn"
    assert command_line.main(["redraw", "--release", str(pinned_sweep), "--output", str(output)]) == 0
    assert "different: 0" in capsys.readouterr().out
    found = files.read_json(output / "redrawn.json")["found"]
    assert set(found["same bytes"]) == {*contents.STATISTICS, *contents.OF_SWEEP}
    # JSON files lose the order of the variants, the table must not.
    variants = list(dict.fromkeys(pd.read_csv(output / "sweep.csv")["variant"]))
    assert variants == list(files.read_yaml(config.SWEEPS / "what_decides.yaml")["variants"])


def test_its_citation(pinned_sweep, capsys):
    assert command_line.main(["cite", "--release", str(pinned_sweep)]) == 0
    assert "scale smoke, sweep what_decides" in capsys.readouterr().out


def test_it_has_no_verdict(pinned_sweep, capsys):
    assert command_line.main(["verdict", "--results", str(pinned_sweep)]) == 2
    assert "is a sweep, which judges no claim" in capsys.readouterr().err


def test_what_changed(pinned_sweep, results):
    assert not comparison.first_difference(comparison.compare(pinned_sweep, results))
    table = pd.read_csv(results / "sweep.csv")
    row = (table["variant"] == "raw") & (table["arm"] == "maddpg_cql_pjap - maddpg_cql") & (table["quantity"] == "final_return")
    assert row.sum() == 1
    table.loc[row, "value"] += 100.0
    table[table["variant"] != "cql_10"].to_csv(results / "sweep.csv", index=False)
    found = comparison.compare(pinned_sweep, results)
    (changed,) = found["sweep"]
    assert changed["second"]["value"] - changed["first"]["value"] == pytest.approx(100.0)
    assert comparison.first_difference(found) == 'sweep of raw maddpg_cql_pjap - maddpg_cql final_return {"standardise": false}'
    said = comparison.words(found, 20)
    assert "Rows of the sweep that changed: 1" in said and "cql_10 maddpg_cql final_return" in said


def test_not_compared_with_another_kind(pinned_sweep, made):
    with pytest.raises(BenchError, match="one is a sweep, the other is not"):
        comparison.compare(pinned_sweep, made)


@pytest.mark.parametrize("name", ["sweep.csv", "sweep.pdf", "scores.csv", "configuration.json", "datasets/good.description.json"])
def test_unfinished(name, results, tmp_path):
    (results / name).unlink()
    with pytest.raises(BenchError, match=f"'{name}' is not there.*make sweep SWEEP=what_decides SCALE=smoke"):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)


def test_a_table_that_does_not_follow(results, tmp_path):
    table = pd.read_csv(results / "sweep.csv")
    table.loc[0, "value"] += 1.0
    table.to_csv(results / "sweep.csv", index=False)
    with pytest.raises(BenchError, match="does not follow from its runs and claims: sweep of as_is maddpg_cql final_return"):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)


@pytest.mark.parametrize(
    "changed",
    ["what_decides", 5, None, {}, {"order": 5}, {"order": ["raw"]}, {"arms": []}, {"arms": ["x"]}, {"variants": {"raw": 1}}],
)
def test_a_configuration_of_no_sweep(changed, results, pinned_sweep, tmp_path, capsys):
    """Whoever reads it gives one clear error: it may come from somebody else."""
    known = files.read_json(results / "configuration.json")
    named = known["sweep"] | changed if isinstance(changed, dict) and changed else changed
    change(results / "configuration.json", sweep=named)
    with pytest.raises(BenchError, match=r"configuration\.json: "):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)
    release = shutil.copytree(pinned_sweep, tmp_path / "released")
    change(release / "configuration.json", sweep=named)
    change(release / "release.json", configuration=known | {"sweep": named})
    reseal(release)
    for words in (["cite"], ["redraw", "--output", str(tmp_path / "redrawn")], ["verdict"]):
        option = "--results" if words == ["verdict"] else "--release"
        assert command_line.main([*words, option, str(release)]) == 2
    assert command_line.main(["compare", str(pinned_sweep), str(release)]) == 2
    assert capsys.readouterr().err.count("error: ") == 4


def test_a_table_without_a_stamp(pinned_sweep, results):
    (results / "sweep.provenance.json").write_text("[]")
    with pytest.raises(BenchError, match=r"sweep.provenance.json: carries no stamp"):
        comparison.compare(pinned_sweep, results)


@pytest.mark.parametrize("seeds", ["1 2", "1 2 3", "", "one two"])
def test_a_seed_that_was_changed(seeds, results, tmp_path):
    """The dots of the figure."""
    table = pd.read_csv(results / "sweep.csv")
    table.loc[0, "seeds"] = seeds
    table.to_csv(results / "sweep.csv", index=False)
    with pytest.raises(BenchError, match="does not follow from its runs and claims: sweep of as_is maddpg_cql final_return"):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)


def test_a_table_of_other_code(results, tmp_path):
    path = results / "sweep.provenance.json"
    change(path, stamp=files.read_json(path)["stamp"] | {"code": "0123456789ab"})
    with pytest.raises(BenchError, match=r"sweep.provenance.json was made by other code"):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)
