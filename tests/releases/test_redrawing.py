"""Everything anew from a release without training, and whether it came out as it was pinned."""

import shutil

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pjap_bench import __main__ as command_line
from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.releases import contents, redrawing
from tests.releases.conftest import change, reseal

STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained"}


def test_everything_comes_out_with_the_same_bytes(pinned, tmp_path, capsys):
    output = tmp_path / "redrawn"
    assert command_line.main(["redraw", "--release", str(pinned), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "Verdict at scale smoke" in said and "different: 0" in said
    marker = files.read_json(output / "redrawn.json")
    assert marker["release"] == "first" and marker["sha256"] == files.sha256(pinned / "release.json")
    assert not marker["found"]["different"]
    made = set(marker["found"]["same bytes"])
    assert {*contents.STATISTICS, "verdict.json", "figures/figure6.pdf", "figures/claims/C3.png"} <= made
    assert {"figures/figure1.png", "figures/robustness.png", "figures/dataset_medium.png"} <= made
    for name in made:
        assert (output / name).read_bytes() == (pinned / name).read_bytes()
    assert (output / "report.html").exists()
    assert not list(output.rglob("*.h5"))


def test_what_is_made_anew_is_not_copied(pinned, tmp_path):
    redrawing.unpack(pinned, tmp_path / "redrawn")
    left = {path.relative_to(tmp_path / "redrawn").as_posix() for path in (tmp_path / "redrawn").rglob("*")}
    assert not left & {*contents.REDRAWN, "figures", "ro-crate-metadata.json"}
    assert {"runs/good/maddpg_cql/seeds-0-0/run.json", "games/figure1.npz", "claims.yaml", "redrawn.json"} <= left


def test_only_what_was_redrawn_is_written_over(pinned, tmp_path):
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.tex").write_text("")
    with pytest.raises(BenchError, match="holds something else than redrawn figures"):
        redrawing.unpack(pinned, output)
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]
    (output / "thesis.tex").unlink()
    redrawing.unpack(pinned, output)
    (output / "left_over").write_text("")
    redrawing.unpack(pinned, output)
    assert not (output / "left_over").exists()


def test_a_damaged_release_is_not_redrawn(release, tmp_path, capsys):
    (release / "games" / "figure1.npz").write_bytes(b"")
    assert command_line.main(["redraw", "--release", str(release), "--output", str(tmp_path / "redrawn")]) == 2
    assert "figure1.npz: was changed" in capsys.readouterr().err
    assert not (tmp_path / "redrawn").exists()


@pytest.fixture
def redrawn(pinned, tmp_path):
    """What a redrawing that gives every byte again leaves."""
    release_alone = shutil.ignore_patterns("release.json", "ro-crate-metadata.json")
    output = shutil.copytree(pinned, tmp_path / "redrawn", ignore=release_alone)
    files.write_json(output / redrawing.MARKER, {})
    return output


def test_numbers_that_differ(redrawn, release):
    verdict = files.read_json(release / "verdict.json")
    verdict["claims"][0]["estimates"][0]["value"] += 1e-3
    change(release / "verdict.json", **verdict)
    reseal(release)
    about = files.read_json(release / "release.json")
    with pytest.raises(BenchError, match=f"not those that were pinned, first: claim {verdict['claims'][0]['id']} "):
        redrawing.findings(release, about, redrawn)


def test_tables_and_json_by_their_content(release, redrawn):
    """Other last bits and another stamp are the same content; what no comparison of statistics reads counts, too."""
    scores = pd.read_csv(release / "scores.csv")
    scores["value"] = scores["value"] * 2 + 1
    scores.to_csv(release / "scores.csv", index=False)
    (release / "marl_eval.json").write_text("{}")
    profiles = pd.read_csv(release / "profiles.csv")
    profiles["value"] *= 1 + 1e-9
    profiles.to_csv(release / "profiles.csv", index=False)
    change(release / "statistics.provenance.json", stamp=STAMP)
    verdict = files.read_json(release / "verdict.json")
    verdict["claims"][0]["statement"] = "The moon is cheese"
    change(release / "verdict.json", **verdict)
    reseal(release)
    found = redrawing.findings(release, files.read_json(release / "release.json"), redrawn)
    assert found["same content"] == ["profiles.csv", "statistics.provenance.json"]
    assert found["different"] == ["marl_eval.json", "scores.csv", "verdict.json"]


def test_figures_by_their_pixels(release, redrawn):
    """Another stamp is the same picture; another line in it is not; a lost one is named."""

    def drawn(target, stamp, points):
        figure = Figure(figsize=(3, 3), layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0.1, 1, 0.9))
        figure.subplots().plot(points)
        style.footer(figure, stamp)
        style.save(figure, target, stamp)

    for name in ("figure1", "figure2"):
        drawn(release / "figures" / name, STAMP, [1, 2, 3])
    reseal(release)
    drawn(redrawn / "figures" / "figure1", STAMP | {"code": "ba9876543210"}, [1, 2, 3])
    drawn(redrawn / "figures" / "figure2", STAMP, [1, 2, 4])
    (redrawn / "figures" / "figure3.pdf").unlink()
    found = redrawing.findings(release, files.read_json(release / "release.json"), redrawn)
    assert found["same content"] == ["figures/figure1.pdf", "figures/figure1.png"]
    assert found["different"] == ["figures/figure2.pdf", "figures/figure2.png", "figures/figure3.pdf"]
    assert files.read_json(redrawn / redrawing.MARKER)["found"] == found


def test_a_report_differs_by_more_than_its_timings_or_not(release, redrawn):
    about, page = files.read_json(release / "release.json"), redrawn / "report.html"
    text = page.read_text()
    page.write_text(text.replace("</footer>", "</footer> "))
    assert redrawing.findings(release, about, redrawn)["same content"] == ["report.html"]
    page.write_text(text.replace("<h2", "<h2 ", 1))
    assert redrawing.findings(release, about, redrawn)["different"] == ["report.html"]
