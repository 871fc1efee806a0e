"""The notebook run as a script: what its controls mean, what it says of bad input, and its static copy."""

import dataclasses
import html.parser
import re

import numpy as np
import pytest

from pjap_bench import provenance
from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.kernels import DISTANCES, KERNELS
from pjap_bench.games.learning import REFRESH_RULES
from pjap_bench.notebook import shown, study
from pjap_bench.notebook.export import export
from pjap_bench.notebook.games import app

STAMP = {"pjap_bench": "0.1.0", "scale": "smoke", "code": "0123456789ab", "image": "uncontained"}
FIGURES = ("1", "2", "3", "4a", "4b", "5")


@pytest.fixture
def preset(games):
    """From a figure's number to the notebook's settings of it."""
    found = study.as_in_figures(games)
    return lambda number: next(value for name, value in found.items() if name.startswith(f"Figure {number}:"))


def test_it_runs_as_a_script_and_shows_the_figure_of_its_menu(games, preset):
    _, defined = app.run()
    assert defined["settings"] == preset("5")
    assert defined["page"] == shown.page(study.study(preset("5"), games))
    assert defined["page"].count("data:image/png;base64,") == 6
    menus = {name: set(defined["elements"][name].options.values()) for name in ("kernel", "distance", "refresh")}
    assert menus == {"kernel": set(KERNELS), "distance": set(DISTANCES), "refresh": set(REFRESH_RULES)}


@pytest.mark.parametrize("number", FIGURES)
def test_the_controls_hold_the_settings_of_every_figure(games, preset, number):
    _, defined = app.run(defs={"preset": preset(number)})
    assert defined["settings"] == preset(number)
    assert defined["page"].count("<img") == (6 if preset(number).sampler == "pjap" else 5)


def test_the_closed_forms_hold_as_in_the_figures(games, preset):
    third, own = study.study(preset("3"), games).arms["maddpg"], games["figure3"]
    moved = third.policies[-1] - third.policies[0]
    np.testing.assert_allclose(moved, own["learning_rate"] * own["steps"] * np.array(own["mean"])[::-1], atol=1e-10)
    for number in ("4a", "4b"):
        found = study.study(preset(number), games)
        np.testing.assert_allclose(found.arms["maddpg"].policies[-1], found.predicted, atol=1e-8)
    optimum, reward = theory.twin_peaks_optimum(**games["twin_peaks"])
    np.testing.assert_allclose(np.abs(found.best[0]), optimum, atol=1e-8)
    assert found.best[1] == pytest.approx(reward)
    assert [point.kind for point in found.critical_points] == ["maximum", "maximum", "saddle"]


def test_pjap_helps_as_in_figure_5_and_does_nothing_at_alpha_0(games, preset):
    found = study.study(preset("5"), games)
    ends = {name: found.game.reward(arm.policies[-1]) for name, arm in found.arms.items()}
    assert ends["maddpg"] < 0.45 < 0.54 < ends["maddpg_pjap"]
    assert found.arms["maddpg_pjap"].distances[-20:].mean() < 0.6 * found.arms["maddpg"].distances[-20:].mean()
    for batch, tolerance in ((None, 1e-12), (32, np.inf)):
        same = study.study(dataclasses.replace(preset("5"), alpha=0, rounds=1, batch=batch), games).arms
        np.testing.assert_allclose(same["maddpg"].field, same["maddpg_pjap"].field, atol=1e-12)
        assert np.abs(same["maddpg"].policies - same["maddpg_pjap"].policies).max() <= tolerance


@pytest.mark.parametrize("batch", [None, 32])
@pytest.mark.parametrize("option", [*KERNELS, *DISTANCES, *REFRESH_RULES])
def test_every_kernel_distance_and_rule_can_be_chosen(games, preset, option, batch):
    name = "kernel" if option in KERNELS else "distance" if option in DISTANCES else "refresh"
    settings = dataclasses.replace(preset("5"), batch=batch, **{name: option})
    arm = study.study(settings, games).arms["maddpg_pjap"]
    assert np.isfinite(arm.policies).all() and np.isfinite(arm.field).all() and np.isfinite(arm.distances).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a matrix"),
        ("x*y", "not a matrix"),
        ("[[0, 0], [0, 1]", "not a matrix"),
        ("[" * 2000, "not a matrix"),
        ("5", "not a matrix"),
        ('{"a": 1}', "not a matrix"),
        ("[]", "empty"),
        ("[[]]", "empty"),
        ("[[1, 2], [3]]", "ragged"),
        ('[[1, "<script>"]]', "is not a real number"),
        ("[[1, null]]", "is not a real number"),
        ("[[true]]", "is not a real number"),
        ("[[NaN]]", "not finite"),
        ("[[1e400]]", "not finite"),
        (f"[[{'9' * 1000}]]", "not finite"),
        ("[[1e9]]", "too large to be drawn"),
        (str([[0] * 8]), "1 rows and 8 columns"),
    ],
)
def test_bad_coefficients_are_one_clear_message(games, preset, text, message):
    settings = dataclasses.replace(preset("5"), game=study.OWN_GAME, coefficients=text)
    with pytest.raises(BenchError, match=re.escape(message)):
        study.study(settings, games)
    page = app.run(defs={"games": games, "preset": settings})[1]["page"]
    assert page.count('role="alert"') == 1 and "What to do:" in page
    assert "<img" not in page and "<script" not in page and "Traceback" not in page


def test_a_batch_that_the_buffer_cannot_fill_is_one_clear_message(preset):
    page = app.run(defs={"preset": dataclasses.replace(preset("2"), buffer_size=10, batch=32)})[1]["page"]
    assert "a buffer of 10 cannot fill a batch of 32" in page and "<img" not in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[0, 0, 0], [0, 0, 0], [0, 0, 5e4]]", "diverges: after"),
        ("[[3]]", "too flat to tell"),
        ("[[0, 1], [1, 0]]", "There is no critical point in the square"),
        ("[[0, 0, -1], [0, 2, 0], [-1, 0, 0]]", "on a line of critical points"),
        ("[[0]]", "R = 0"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_game_can_be_typed(games, preset, text, said):
    settings = dataclasses.replace(preset("5"), game=study.OWN_GAME, coefficients=text, learning_rate=0.5)
    page = shown.page(study.study(settings, games))
    assert said in page
    assert page.count("<img") == 6


@pytest.mark.parametrize(
    ("coefficients", "formula"),
    [
        ([[0, 0, -1], [0, 5, 0], [-1, 0, -4]], "−x<sup>2</sup> + 5xy − y<sup>2</sup> − 4x<sup>2</sup>y<sup>2</sup>"),
        ([[0, 1], [1, 0]], "x + y"),
        ([[-2.5, 0], [0, 1]], "−2.5 + xy"),
        ([[1]], "1"),
        ([[0]], "0"),
    ],
)
def test_the_formula(coefficients, formula):
    assert shown.formula(study.PolynomialGame(coefficients)) == formula


@pytest.fixture(scope="module")
def exported(games, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "notebook.html"
    export(path, games, STAMP)
    return path


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_static_copy_is_well_formed_and_needs_nothing_else(exported, preset):
    page = exported.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == sum(6 if preset(number).sampler == "pjap" else 5 for number in FIGURES)
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 20 for image in images)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?://|marimo-", re.sub(r"base64,[^\"]*", "", page))
    targets = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    assert len(targets) == 6 and targets <= {"#" + attributes.get("id", "") for _, attributes in reader.tags}
    # Controls as set, and provenance.
    assert f"<dt>Steps</dt><dd>{preset('3').steps}</dd>" in page
    assert "<dt>Reward</dt><dd>Twin Peaks</dd>" in page and "<dt>ε</dt><dd>1e−05</dd>" in page
    assert all(value in page for value in STAMP.values())


def test_the_static_copy_has_the_same_bytes_again(exported, games, tmp_path):
    export(tmp_path / "again.html", games, STAMP)
    assert (tmp_path / "again.html").read_bytes() == exported.read_bytes()


def test_the_digest_covers_the_notebook():
    covered = provenance.imports_of("pjap_bench.notebook.export")
    assert {f"pjap_bench.{name}" for name in ("notebook.games", "notebook.study", "notebook.shown", "games.learning")} <= covered
