"""The figures of the games: drawn from data alone, stamped inside, reproducible to the byte, no traces in matplotlib."""

import copy
import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import yaml

from pjap_bench import figures
from pjap_bench.errors import BenchError
from pjap_bench.figures import claims, style
from pjap_bench.games import robustness
from pjap_bench.games.experiments import simulate

CONFIGURATION = Path(__file__).parents[2] / "workflow" / "config" / "paper.yaml"
STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained", "seeds": [], "datasets": {}}
GAMES = [name for name in figures.FIGURES if name not in figures.OF_STATISTICS]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    settings = copy.deepcopy(configuration["games"])
    settings["figure2"] |= {"runs": 5, "steps": 600}
    settings["figure3"] |= {"seeds": 20, "steps": 100}
    settings["errata"] |= {"steps": 5, "datasets": 2}
    settings["figure4"] |= {"datasets": 5}
    settings["figure5"] |= {"runs": 5, "scan": {"alphas": [5], "runs": 5}}
    folder = tmp_path_factory.mktemp("results")
    simulate(settings, STAMP, folder / "games")
    small = configuration["robustness"] | {key: settings[key] for key in ("seed", "twin_peaks")} | {"datasets": 2, "points": 50}
    robustness.simulate(small | {"epochs": 10}, STAMP, folder / "games")
    return folder


@pytest.mark.parametrize("name", GAMES)
def test_a_figure_renders_whole_and_carries_its_stamp(name, results, tmp_path):
    before = dict(matplotlib.rcParams)
    figure = figures.draw(name, results, STAMP)
    png, pdf = style.save(figure, tmp_path / name, STAMP)
    assert dict(matplotlib.rcParams) == before
    assert (png.name, pdf.name) == (f"{name}.png", f"{name}.pdf")
    text = json.dumps(STAMP, sort_keys=True)
    description = _text_chunks(png.read_bytes())
    assert json.loads(description["Description"]) == STAMP
    assert "Creation Time" not in description
    document = pdf.read_bytes()
    assert text.encode() in document.replace(b"\\", b"") and b"CreationDate" not in document
    assert {path.name for path in tmp_path.iterdir()} == {png.name, pdf.name}
    assert_signed_and_whole(figure)


def assert_signed_and_whole(figure):
    """The stamp is in the footer, and nothing is cut off nor lies over the footer."""
    (footer,) = [item for item in figure.texts if "scale smoke" in item.get_text()]
    assert "0123456789ab" in footer.get_text() and "uncontained" in footer.get_text()
    width, height = figure.canvas.get_width_height()
    signed = footer.get_window_extent(figure.canvas.get_renderer())
    for part in [*figure.axes, *figure.legends]:
        box = part.get_tightbbox(figure.canvas.get_renderer())
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, part
        assert not box.overlaps(signed), part


@pytest.mark.parametrize("claim", figures.CLAIMS)
def test_the_small_figure_of_a_claim_renders_whole(claim, results, tmp_path):
    figure = claims.draw(claim, results, STAMP)
    (png,) = style.save(figure, tmp_path / claim, STAMP, ("png",))
    assert [path.name for path in tmp_path.iterdir()] == [f"{claim}.png"]
    assert json.loads(_text_chunks(png.read_bytes())["Description"]) == STAMP
    assert figure.axes[0].get_title().startswith(f"{claim}: ")
    assert tuple(figure.get_size_inches()) == (4, 2.75)
    assert_signed_and_whole(figure)


def test_the_claims_with_a_figure_are_those_of_the_games():
    book = yaml.safe_load((CONFIGURATION.parents[1] / "claims.yaml").read_text(encoding="utf-8"))
    assert tuple(claims.CLAIMS) == figures.CLAIMS == tuple(entry["id"] for entry in book["claims"] if entry["source"] == "games")
    with pytest.raises(BenchError, match="claim 'C12' has no figure"):
        claims.draw("C12", CONFIGURATION.parent, STAMP)


def test_a_failing_pjap_run_is_marked_and_counted(results, tmp_path):
    arrays = style.read_arrays(results / "games" / "figure5.npz")
    arrays["maddpg_pjap_final_reward"][-1, 0] = 0.1
    (tmp_path / "games").mkdir()
    np.savez(tmp_path / "games" / "figure5.npz", **arrays)
    failing = int(np.sum(arrays["maddpg_pjap_final_reward"] < 0.95 * arrays["optimum_reward"]))
    axes = claims.draw("C10", tmp_path, STAMP).axes[0]
    assert f"{failing} PJAP run" in axes.get_title()
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    assert sum(len(line.get_xdata()) for line in crosses) == failing


def test_a_figure_is_the_same_to_the_byte(results, tmp_path):
    pairs = [style.save(figures.draw("figure1", results, STAMP), tmp_path / name / "figure1", STAMP) for name in "ab"]
    for first, second in zip(*pairs, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_arms_have_one_colour_each_through_all_figures():
    assert style.COLOURS["maddpg"] == style.COLOURS["maddpg_cql"]
    assert style.COLOURS["maddpg_pjap"] == style.COLOURS["maddpg_cql_pjap"]
    arms = ["maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning", "maddpg_cql_current"]
    assert len({style.COLOURS[arm] for arm in arms}) == len(arms)


def test_arms_without_a_colour_of_their_own_can_be_told_apart():
    new = [f"new_{place}" for place in range(len(style.SPARE_COLOURS))]
    colours = style.colours_of([*new[:2], *style.COLOURS, *new[2:]])
    assert style.COLOURS.items() <= colours.items()
    assert len({colours[arm] for arm in new} | set(style.COLOURS.values())) == len(new) + len(set(style.COLOURS.values()))
    assert style.colours_of([*new, "one_more"])["one_more"] == colours[new[0]]


def test_an_arm_of_a_sweep_has_its_arms_colour_where_it_is_the_only_one():
    assert style.colours_of(["maddpg_cql__a", "maddpg_cql_pjap__a"]) == {
        "maddpg_cql__a": style.COLOURS["maddpg_cql"],
        "maddpg_cql_pjap__a": style.COLOURS["maddpg_cql_pjap"],
    }
    both = style.colours_of(["maddpg_cql__a", "maddpg_cql__b"])
    assert set(both.values()) == set(style.SPARE_COLOURS[:2])


def test_unknown_figures_and_missing_or_broken_data_are_one_clear_error(tmp_path):
    with pytest.raises(BenchError, match="unknown figure 'figure9'"):
        figures.draw("figure9", tmp_path, STAMP)
    with pytest.raises(BenchError, match=r"figure1\.npz"):
        figures.draw("figure1", tmp_path, STAMP)
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "figure1.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(BenchError, match="run the games step again"):
        figures.draw("figure1", tmp_path, STAMP)


@pytest.mark.parametrize("name", ["robustness", "robustness_beyond"])
def test_a_broken_robustness_map_is_one_clear_error(name, tmp_path):
    with pytest.raises(BenchError, match=r"robustness\.csv.*run the robustness step again"):
        figures.draw(name, tmp_path, STAMP)
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "robustness.csv").write_text("sweep,sigma\nmap,1\n")
    with pytest.raises(BenchError, match="no column alpha, distance"):
        figures.draw(name, tmp_path, STAMP)


def _text_chunks(content: bytes) -> dict[str, str]:
    """tEXt and iTXt chunks of a PNG, by keyword."""
    found, place = {}, 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        if kind == b"tEXt":
            key, text = body.split(b"\0", 1)
            found[key.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            found[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[2].decode("utf-8")
        place += 12 + length
    return found
