import copy
import html.parser
import re

import pytest
from matplotlib.figure import Figure

from pjap_bench import figures
from pjap_bench.errors import BenchError
from pjap_bench.figures import figure6, style
from pjap_bench.report import write_report
from pjap_bench.report.pictures import CLAIMS, FIGURES
from pjap_bench.statistics import verdict
from pjap_bench.statistics.summary import summarise
from tests.statistics.fabricate import SETTINGS, STAMP, fabricate, write_claims

GAMES = {
    "id": "C1",
    "statement": "x < y & z",
    "source": "games",
    "parts": [{"estimate": "change of R", "region": {"below": 0}}],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A made-up results folder with statistics, verdict, figures and report."""
    results = fabricate(tmp_path_factory.mktemp("report") / "quick")
    summarise(results, SETTINGS, STAMP)
    verdict.judge(results, SETTINGS, STAMP, write_claims(results.parent / "claims.yaml", GAMES))
    for name in [*FIGURES, "claims/C1"]:
        style.save(Figure(figsize=(1, 1)), results / "figures" / name, STAMP)
    style.save(figure6.draw(results, STAMP), results / "figures" / "figure6", STAMP)
    write_report(results, SETTINGS, STAMP)
    return results


@pytest.fixture
def page(finished):
    return (finished / "report.html").read_text(encoding="utf-8")


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_self_contained(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == len(FIGURES) + 1
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 40 for image in images)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe"}
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", page))
    targets = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    # But for the notebook's page beside it.
    assert targets - {"notebook.html"} <= {"#" + attributes.get("id", "") for _, attributes in reader.tags}


def test_everything_is_escaped(page):
    assert "x &lt; y &amp; z" in page
    assert "&lt;made up&gt;" in page and "<made up>" not in page


def test_the_page_says_what_the_results_say(page):
    for text in (
        "1 reproduced",
        "May claim nothing.",
        "uncontained",
        "0123456789ab",
        "6200",
        "a" * 64,
        "MADDPG+CQL+PJAP",
    ):
        assert text in page
    assert page.index('id="verdict"') < page.index('id="figures"') < page.index('id="timings"')


def test_every_figure_and_claim_with_a_picture_has_words():
    assert list(FIGURES) == list(figures.FIGURES) and tuple(CLAIMS) == figures.CLAIMS


def test_companions_fold_out_under_their_figures(page):
    for number in range(1, 6):
        figure, details, companion = (
            page.index(text) for text in (f'id="figure{number}"', "<details", f'id="figure{number}_seeds"')
        )
        details = page.index("<details", figure)
        assert figure < details < companion < page.index("</details>", details)
        assert f"Made-up caption {number}_seeds." in page
    assert "details-content" in page  # they print, folded or not


def test_a_claim_stands_beside_its_evidence_and_errata_beside_their_numbers(page):
    row = page[page.index(">C1</th>") :]
    assert CLAIMS["C1"] in row[: row.index("</tr>")]
    section = page[page.index('id="errata"') : page.index('id="datasets"')]
    for text in ("“1 &lt; 0”", "0 &lt; 1.", "0 &amp; 1: <b>0.1235</b>"):
        assert text.replace("&lt;", "<") in section.replace("&lt;", "<")


def test_a_missing_picture_of_a_claim(finished, tmp_path):
    picture = finished / "figures" / "claims" / "C1.png"
    picture.rename(tmp_path / "C1.png")
    try:
        with pytest.raises(BenchError, match=r"C1\.png: the figure is not there"):
            write_report(finished, SETTINGS, STAMP)
    finally:
        (tmp_path / "C1.png").rename(picture)


def test_same_input_same_bytes(finished, page):
    write_report(finished, SETTINGS, STAMP)
    assert (finished / "report.html").read_text(encoding="utf-8") == page


def test_a_missing_figure(finished, tmp_path):
    (finished / "figures" / "figure3.png").rename(tmp_path / "figure3.png")
    try:
        with pytest.raises(BenchError, match=r"figure3.png: the figure is not there"):
            write_report(finished, SETTINGS, STAMP)
    finally:
        (tmp_path / "figure3.png").rename(finished / "figures" / "figure3.png")


def test_figure6_shows_scale_regime_and_all_panels(finished):
    figure = figure6.draw(finished, STAMP)
    # Per dataset: three aggregates in two normalisations, distances, returns.
    assert sum(len(column.axes) for column in figure.subfigs) == 2 * 8
    assert "quick" in figure._suptitle.get_text() and "made up" in figure._suptitle.get_text()


def test_figure6_without_the_papers_arms_and_with_one_seed(tmp_path):
    settings = copy.deepcopy(SETTINGS)
    settings["experiments"] = {"good": {"arms": ["behaviour_cloning"], "seeds": [0], "updates": 1000}}
    results = fabricate(tmp_path / "quick")
    summarise(results, settings, STAMP)
    figure = figure6.draw(results, STAMP)
    assert sum(len(column.axes) for column in figure.subfigs) == 5


def test_figure6_without_its_data(tmp_path):
    with pytest.raises(BenchError, match=r"statistics\.provenance\.json"):
        figure6.draw(tmp_path, STAMP)
