"""Figures 1-5: drawn from data alone, stamped inside, reproducible to the byte, and without traces in matplotlib."""

import copy
import json
from pathlib import Path

import matplotlib
import pytest
import yaml

from pjap_bench import figures
from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.games.experiments import simulate

CONFIGURATION = Path(__file__).parents[2] / "workflow" / "config" / "paper.yaml"
STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained", "seeds": [], "datasets": {}}
GAMES = [f"figure{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    settings = copy.deepcopy(yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))["games"])
    settings["figure2"] |= {"runs": 5, "steps": 600}
    settings["figure4"] |= {"datasets": 5}
    settings["figure5"] |= {"runs": 5, "scan": {"alphas": [5], "runs": 5}}
    folder = tmp_path_factory.mktemp("results")
    simulate(settings, STAMP, folder / "games")
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
    footers = [item.get_text() for item in figure.texts]
    assert any("scale smoke" in item and "0123456789ab" in item and "uncontained" in item for item in footers)
    assert {path.name for path in tmp_path.iterdir()} == {png.name, pdf.name}
    # Nothing is cut off.
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox(figure.canvas.get_renderer())
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, axes.get_title()


def test_a_figure_is_the_same_to_the_byte(results, tmp_path):
    pairs = [style.save(figures.draw("figure1", results, STAMP), tmp_path / name / "figure1", STAMP) for name in "ab"]
    for first, second in zip(*pairs, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_arms_have_one_colour_each_through_all_figures():
    assert style.COLOURS["maddpg"] == style.COLOURS["maddpg_cql"]
    assert style.COLOURS["maddpg_pjap"] == style.COLOURS["maddpg_cql_pjap"]
    arms = ["maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning", "maddpg_cql_current"]
    assert len({style.COLOURS[arm] for arm in arms}) == len(arms)


def test_unknown_figures_and_missing_or_broken_data_are_one_clear_error(tmp_path):
    with pytest.raises(BenchError, match="unknown figure 'figure9'"):
        figures.draw("figure9", tmp_path, STAMP)
    with pytest.raises(BenchError, match=r"figure1\.npz"):
        figures.draw("figure1", tmp_path, STAMP)
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "figure1.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(BenchError, match="run the games step again"):
        figures.draw("figure1", tmp_path, STAMP)


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
