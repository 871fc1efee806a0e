"""What a release holds, and which results cannot be pinned."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from pjap_bench import __main__ as command_line
from pjap_bench import config, files
from pjap_bench.errors import BenchError
from pjap_bench.provenance import source_digest
from pjap_bench.releases import checks, contents, manifest, pinning
from tests.releases.conftest import CLAIMS, change
from tests.statistics import fabricate

RUN = "runs/good/maddpg_cql/seeds-0-0"


def test_what_a_release_holds(made, pinned):
    about = manifest.read(pinned)
    for name in ("verdict.json", "report.html", "notebook.html", "curves.csv", "figures/figure6.pdf", "figures/claims/C1.png"):
        assert (pinned / name).read_bytes() == (made / name).read_bytes()
    for name in ("run.json", "evaluations.csv", "metrics.csv", "timing.json", "policies.safetensors"):
        assert f"{RUN}/{name}" in about["files"]
    assert {"benchmarks/train.tsv", "games/figure5.npz", "datasets/medium.croissant.json", "claims.yaml"} <= set(about["files"])
    assert not [name for name in about["files"] if name.endswith(".h5") or name.startswith("logs/")]
    assert len(about["left_out"]) == 1 and ".h5" in about["left_out"][0]
    assert (about["name"], about["scale"], about["images"]) == ("first", "smoke", ["uncontained"])
    assert about["configuration"] == files.read_json(made / "configuration.json")
    assert about["configuration"]["experiments"]["good"]["updates"] == 1000 and "results" not in about["configuration"]
    assert about["code"] == source_digest("pjap_bench.__main__")
    assert about["stages"]["pjap_bench.training"] == source_digest("pjap_bench.training")
    assert {environment["python"] for environment in about["environments"]} == {
        files.read_json(made / "verdict.json")["stamp"]["python"]
    }


def test_the_commit(pinned):
    git = manifest.read(pinned)["git"]
    if not (config.ROOT / ".git").exists():  # an unpacked archive
        assert git == {"commit": None, "clean": None}
        return
    ran = subprocess.run(["git", "rev-parse", "HEAD"], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert git["commit"] == ran.stdout.strip() and isinstance(git["clean"], bool)


def test_the_crate(pinned):
    crate = files.read_json(pinned / "ro-crate-metadata.json")
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = entities["./"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", root["datePublished"]) and root["name"] and root["description"]
    parts = [part["@id"] for part in root["hasPart"]]
    held = manifest.found(pinned) - {"ro-crate-metadata.json"}
    assert {unquote(part) for part in parts} == held and len(parts) == len(held)
    for part in parts:
        if part != "release.json":
            assert entities[part]["sha256"] == files.sha256(pinned / unquote(part))
            assert entities[part]["contentSize"] == str((pinned / unquote(part)).stat().st_size)
    # Nothing is referred to that is not described.
    referred = set(re.findall(r'\{"@id": "([^"]+)"\}', (files.json_bytes(crate).decode().replace('":"', '": "'))))
    assert referred <= set(entities) | {"https://w3id.org/ro/crate/1.1"}


def test_a_name_that_is_taken(made, pinned):
    before = files.sha256(pinned / "release.json")
    with pytest.raises(BenchError, match="there is a release of this name"):
        pinning.pin(made, "first", pinned.parent, CLAIMS)
    assert files.sha256(pinned / "release.json") == before


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../outside", "a b"])
def test_a_name_that_is_none(name, made, tmp_path):
    with pytest.raises(BenchError, match="is no name"):
        pinning.pin(made, name, tmp_path / "pinned", CLAIMS)


def refused(results, tmp_path, message):
    """Pinning fails with one message and leaves nothing."""
    with pytest.raises(BenchError, match=message):
        pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)
    assert not (tmp_path / "pinned").exists()


def test_results_that_do_not_exist(tmp_path):
    refused(tmp_path / "quick", tmp_path, "there is no such folder of results")


@pytest.mark.parametrize(
    "name",
    [
        *("verdict.json", "report.html", "configuration.json", "statistics.provenance.json", "games/figure3.npz"),
        *(
            f"{RUN}/run.json",
            f"{RUN}/metrics.csv",
            "figures/figure6.png",
            "figures/claims/C7.png",
            "datasets/good.description.json",
        ),
    ],
)
def test_unfinished_results(name, results, tmp_path):
    (results / name).unlink()
    refused(results, tmp_path, re.escape(f"not finished: '{name}' is not there"))


def test_a_short_run(results, tmp_path):
    fabricate.seal(results / RUN, updates=10)
    refused(results, tmp_path, "short run: 10 updates, the configuration says 1000")


def test_a_run_without_its_last_evaluation(results, tmp_path):
    path = results / RUN / "evaluations.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if ",final," not in line))
    fabricate.seal(results / RUN)
    refused(results, tmp_path, "short run: no final evaluation")


def test_a_run_of_another_dataset(results, tmp_path):
    change(results / RUN / "run.json", dataset="medium")
    refused(results, tmp_path, r"seeds-0-0/run\.json: is a record of maddpg_cql on medium")


def test_a_record_that_is_none(results, tmp_path):
    stamp = files.read_json(results / RUN / "run.json")["stamp"]
    for text, message in (("{}", "carries no stamp"), (files.json_bytes({"stamp": stamp}).decode(), "is no record of runs")):
        (results / RUN / "run.json").write_text(text)
        refused(results, tmp_path, rf"run\.json: {message}")


def test_games_without_a_stamp(results, tmp_path):
    (results / "games" / "provenance.json").write_text("{}")
    refused(results, tmp_path, r"games/provenance\.json: carries no stamp")


def test_a_run_that_was_changed(results, tmp_path):
    path = results / RUN / "evaluations.csv"
    path.write_text(path.read_text().replace(",final,0,", ",final,9,"))
    refused(results, tmp_path, "does not have the sha256 that run.json records")


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        (f"{RUN}/run.json", "training"),
        ("games/robustness.json", "games.robustness"),
        ("datasets/good.json", "datasets.collection"),
        ("statistics.provenance.json", "statistics.summary"),
        ("verdict.json", "statistics.verdict"),
    ],
)
def test_parts_of_other_code(name, stage, results, tmp_path):
    change(results / name, stamp=files.read_json(results / name)["stamp"] | {"code": "0123456789ab"})
    refused(results, tmp_path, rf"{name} was made by other code \(0123456789ab\) than this tree's pjap_bench\.{stage}")


def test_a_figure_of_other_code(results, tmp_path):
    path = results / "figures" / "figure2.png"
    with Image.open(path) as picture:
        text = PngImagePlugin.PngInfo()
        text.add_text("Description", picture.text["Description"].replace(source_digest("pjap_bench.figures.figure2"), "0" * 12))
        picture.save(path, pnginfo=text)
    refused(results, tmp_path, r"figure2\.png was made by other code \(000000000000\)")


def test_a_picture_without_a_stamp(results, tmp_path):
    Image.new("RGB", (3, 3)).save(results / "figures" / "figure2.png")
    refused(results, tmp_path, r"figure2\.png: is no picture with a stamp")


@pytest.mark.parametrize("name", ["report.html", "notebook.html"])
def test_a_page_of_other_code(name, results, tmp_path):
    digest = source_digest(checks.PAGES[name])
    (results / name).write_text((results / name).read_text().replace(digest, "0" * 12))
    refused(results, tmp_path, f"{name} was made by other code")


@pytest.mark.parametrize(("key", "value"), [("scale", "quick"), ("pjap_bench", "0.0.1"), ("regime", "another")])
def test_other_stamps(key, value, results, tmp_path):
    name = "statistics.provenance.json"
    change(results / name, stamp=files.read_json(results / name)["stamp"] | {key: value})
    refused(results, tmp_path, f"mixed stamps: {key} is '{value}' in {name}")


def test_parts_of_other_images(results, tmp_path):
    run = files.read_json(results / RUN / "run.json")
    environments = run["environments"]
    # Where it went on, on another machine.
    environments.append({"from": 500, "environment": environments[0]["environment"] | {"image": f"train@sha256:{'1' * 64}"}})
    change(results / RUN / "run.json", environments=environments)
    refused(results, tmp_path, "mixed images: .*run.json was made in train@sha256:1")


def test_images_of_one_name_must_be_one():
    def part(name, image):
        return checks.Stamped(name, None, {"image": image})

    used = [part("a", "train@sha256:1"), part("b", "analysis@sha256:2"), part("c", "train@sha256:1")]
    assert checks.images(Path("results/smoke"), used) == ["analysis@sha256:2", "train@sha256:1"]
    with pytest.raises(BenchError, match="mixed images: d was made in train@sha256:3, a in train@sha256:1"):
        checks.images(Path("results/smoke"), [*used, part("d", "train@sha256:3")])


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("statistics", {"confidence": 0.9}, "mixed settings: the statistics were made with other statistics"),
        ("training", {"reward_scale": 0.7}, "mixed settings: maddpg_cql was trained with other reward_scale"),
        ("experiments", {"good": {"seeds": 2, "updates": 1000, "arms": ["maddpg_cql"]}}, "mixed settings: the statistics were"),
        ("games", {"figure5": {"runs": 12345}}, r"mixed settings: games/provenance\.json was made with other settings"),
        ("robustness", {"datasets": 777}, r"mixed settings: games/robustness\.json was made with other settings"),
        ("datasets", {"episodes_at_most": 3}, r"mixed settings: good has other episodes .* \(at most 3 of a policy\)"),
    ],
)
def test_other_settings(section, changes, message, results, tmp_path):
    configuration = files.read_json(results / "configuration.json")
    change(results / "configuration.json", **{section: configuration[section] | changes})
    refused(results, tmp_path, message)


def test_games_whose_stamp_has_no_settings_yet(results, tmp_path):
    """They were simulated before stamps had them."""
    path = results / "games" / "provenance.json"
    files.write_json(path, {key: value for key, value in files.read_json(path).items() if key != "settings"})
    pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)


def test_a_configuration_that_is_none(results, tmp_path):
    (results / "configuration.json").write_text("{}")
    refused(results, tmp_path, "is no complete configuration")


def test_other_data(results, tmp_path):
    verdict = files.read_json(results / "verdict.json")
    change(results / "verdict.json", stamp=verdict["stamp"] | {"datasets": {"good": "f" * 64}})
    refused(results, tmp_path, "mixed data: .*'good'")


def test_a_verdict_that_does_not_follow(results, tmp_path):
    verdict = files.read_json(results / "verdict.json")
    verdict["claims"][0]["status"] = "inconclusive"
    change(results / "verdict.json", **verdict)
    refused(results, tmp_path, f"does not follow from its runs and claims: claim {verdict['claims'][0]['id']}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("counts", {"reproduced": 99}), ("limits", "May claim everything.")),
        *(("reason", "Because we say so."), ("statement", "The moon is cheese")),
        *(("region", {"below": 1e9}), ("n", 10**6)),
    ],
)
def test_any_other_word_of_the_verdict_that_does_not_follow(key, value, results, tmp_path):
    verdict = files.read_json(results / "verdict.json")
    claim = verdict["claims"][0]
    changed = next(each for each in (verdict, claim, claim["estimates"][0]) if key in each)
    changed[key] = value
    change(results / "verdict.json", **verdict)
    refused(results, tmp_path, f"does not follow from its runs and claims: .*{key}")


def test_claims_that_were_edited_after_judging(results, tmp_path):
    claims = tmp_path / "claims.yaml"
    claims.write_text(CLAIMS.read_text().replace("statement: ", "statement: Not so, ", 1))
    with pytest.raises(BenchError, match=r"does not follow .*verdict\.json \(claims\.0\.statement\)"):
        pinning.pin(results, "second", tmp_path / "pinned", claims)


@pytest.mark.parametrize("name", ["scores.csv", "profiles.csv"])
def test_a_table_that_does_not_follow(name, results, tmp_path):
    table = pd.read_csv(results / name)
    table["value"] = table["value"] * 2 + 1
    table.to_csv(results / name, index=False)
    refused(results, tmp_path, rf"does not follow from its runs and claims: {name} \(row (good|all) maddpg_cql ")


def test_curves_at_other_updates(results, tmp_path):
    table = pd.read_csv(results / "curves.csv")
    table["update"] = table["update"] * 1000 + 7
    table.to_csv(results / "curves.csv", index=False)
    refused(results, tmp_path, "does not follow from its runs and claims: curves of good maddpg_cql")


def test_an_export_that_does_not_follow(results, tmp_path):
    (results / "marl_eval.json").write_text("{}")
    refused(results, tmp_path, r"does not follow from its runs and claims: marl_eval\.json")


def test_the_last_bits_and_the_order_of_rows_are_no_contradiction(results, tmp_path):
    for name in ("scores.csv", "profiles.csv"):
        table = pd.read_csv(results / name)
        table["value"] *= 1 + 1e-9
        table[::-1].to_csv(results / name, index=False)
    pinning.pin(results, "second", tmp_path / "pinned", CLAIMS)


def test_a_statistic_that_does_not_follow(results, tmp_path):
    path = results / "statistics.csv"
    first, second, *rest = path.read_text().splitlines()
    cells = second.split(",")
    cells[5] = str(float(cells[5]) * 1.001)
    path.write_text("\n".join([first, ",".join(cells), *rest]) + "\n")
    refused(results, tmp_path, "does not follow from its runs and claims: statistics of good maddpg_cql final_return")


def test_large_policies_are_left_out_and_named(made, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "POLICIES_AT_MOST", 10)
    about = manifest.read(pinning.pin(made, "second", tmp_path / "pinned", CLAIMS))
    assert not [name for name in about["files"] if name.endswith(".safetensors")]
    assert "policies.safetensors" in about["left_out"][1]


def test_the_command(made, tmp_path, capsys):
    words = ["pin", "--results", str(made), "--name", "second", "--pinned", str(tmp_path / "pinned"), "--claims", str(CLAIMS)]
    assert command_line.main(words) == 0
    assert "made in uncontained" in capsys.readouterr().out
    assert command_line.main(words) == 2
    assert "a pinned release is never changed" in capsys.readouterr().err
