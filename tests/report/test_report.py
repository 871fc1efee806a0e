import copy
import html.parser
import re
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure

from pjap_bench import config, figures, files, report
from pjap_bench.datasets import cards, description, hdf5
from pjap_bench.errors import BenchError
from pjap_bench.figures import comparisons, figure6, style
from pjap_bench.report import deviations, write_report
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


DATASETS = {"good": "a" * 64, "medium": "c" * 64, "good_medium": "b" * 64}  # in the order of the page


def describe(results):
    """Adds the parts of the mixture to made-up results, and the description and figure of every dataset."""
    files.write_json(
        results / "datasets" / "medium.json",
        files.read_json(results / "datasets" / "good.json") | {"name": "medium", "sha256": DATASETS["medium"]},
    )
    steps, known = 6, cards.load("good")["policies"][0]
    for name, digest in DATASETS.items():
        data = hdf5.Dataset(
            lengths=np.array([2, 4]),
            terminated=np.array([True, False]),
            actions=np.full((steps, 2, 3), 0.5, dtype=np.float32),
            rewards=np.full(steps, 1000.0, dtype=np.float32),
            seed=np.array([0, 1]),
            policy=np.array([0, 1]),
            observations=np.zeros((steps, 2, 13), dtype=np.float32),
            states=np.zeros((steps, 17), dtype=np.float32),
            attributes={"environment": "two_agent_halfcheetah", "layout": "observations", "policies": ["first", "<second>"]},
        )
        card = cards.load(name)
        described = {
            "stamp": STAMP,
            "name": name,
            "card": card,
            "file": {"name": f"{name}.h5", "size": 1234567, "sha256": digest},
            "origin": "generated",
            "actions": "clipped to [-1, 1]",
            "reference": {"random_return": -200.0, "dataset_return": 6600.0},
            "behaviour": [known, None],
            "statistics": description.describe(data, published=card.get("published")),
        }
        files.write_json(results / "datasets" / f"{name}.description.json", described)
        style.save(Figure(figsize=(1, 1)), results / "figures" / f"dataset_{name}", STAMP)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A made-up results folder with statistics, verdict, figures and report."""
    results = fabricate(tmp_path_factory.mktemp("report") / "quick")
    summarise(results, SETTINGS, STAMP)
    verdict.judge(results, SETTINGS, STAMP, write_claims(results.parent / "claims.yaml", GAMES))
    for name in [*FIGURES, "claims/C1"]:
        style.save(Figure(figsize=(1, 1)), results / "figures" / name, STAMP)
    style.save(figure6.draw(results, STAMP), results / "figures" / "figure6", STAMP)
    describe(results)
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
    assert len(images) == len(FIGURES) + len(DATASETS) + 1
    assert all(image["src"].startswith("data:image/png;base64,") and len(image["alt"]) > 40 for image in images)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe"}
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", page))
    targets = {attributes["href"] for tag, attributes in reader.tags if tag == "a"}
    # But for the notebook's page beside it.
    assert targets - {"notebook.html"} <= {"#" + attributes.get("id", "") for _, attributes in reader.tags}


def test_costs_say_what_was_measured_and_what_was_not(page, finished, tmp_path):
    section = page[page.index('id="timings"') :]
    assert "Energy is the whole processor's" in section.replace("&#39;", "'")
    assert '<td class="number">43.21</td>' in section and '<td class="number">–</td>' in section
    assert "All jobs together" not in section  # no benchmarks
    results = shutil.copytree(finished, tmp_path / "results")
    for path in results.rglob("timing.json"):
        files.write_json(path, files.read_json(path) | {"processor_joules": None})
    counted = {"train/good/maddpg_cql/seeds-0-4": 90, "mix_dataset/good_medium": 6, "statistics": 12}
    left_over = {"train/good/maddpg_cql/seeds-0-2": 60, "mix_dataset/old": 60}
    for name, minutes in (counted | left_over).items():
        files.write_text(results / "benchmarks" / f"{name}.tsv", f"s\tmax_rss\tcpu_time\n1\t{minutes * 10}\t{minutes * 60}\n")
    write_report(results, SETTINGS, STAMP)
    section = (results / "report.html").read_text(encoding="utf-8").split('id="timings"')[1]
    assert "All jobs together took 1.8 hours of processor time, the largest 0.9 GB of memory." in section
    assert "Energy was not measured" in section


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


@pytest.mark.parametrize("place", ["pictures.py", "__init__.py"])
def test_a_figure_without_words_is_an_error_that_names_the_place(place, finished, monkeypatch):
    monkeypatch.setitem(figures.FIGURES, "mine", "pjap_bench.figures.mine")
    if place == "__init__.py":
        monkeypatch.setitem(FIGURES, "mine", FIGURES["figure6"])
    with pytest.raises(BenchError, match=rf"pjap_bench/report/{place}: the figure mine is not there"):
        write_report(finished, SETTINGS, STAMP)


def test_captions_of_runs_name_their_regime_and_those_of_games_the_game(page):
    shown = dict(re.findall(r'<figure id="(\w+)">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL))
    assert list(shown) and {name for name, text in shown.items() if "simulated game" not in text} == {"figure6", "comparisons"}
    assert all("Test data &lt;made up&gt;, not" in shown[name] for name in figures.OF_STATISTICS)


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


def test_many_estimates_of_a_claim_are_a_list():
    text = "5 of 5 estimates lie inside the claim's region: a = 1; b: c = 2 [1, 3] (the claim needs a value above 0); "
    text += "d = 4; e = 5; f = 6 (the claim needs 4 within 3)."
    assert report._reason(text) == (
        "5 of 5 estimates lie inside the claim's region:",
        [
            *("a = 1", "b: c = 2 [1, 3] (all of these: the claim needs a value above 0)"),
            *("d = 4", "e = 5", "f = 6 (all of these: the claim needs 4 within 3)"),
        ],
    )
    few = "1 of 1 estimates lies inside the claim's region: a = 1 (the claim needs 1)."
    assert report._reason(few) == (few, [])


def test_wide_words_of_the_paper_stand_apart_from_its_errors_under_their_numbers(finished, tmp_path):
    results = shutil.copytree(finished, tmp_path / "results")
    (one,) = files.read_json(results / "games" / "errata.json")
    files.write_json(results / "games" / "errata.json", [one | {"number": number} for number in range(1, 7)])
    write_report(results, SETTINGS, STAMP)
    page = (results / "report.html").read_text(encoding="utf-8")
    parts = (
        page.split('id="errata"')[1].split("</section>")[0].split("<h3>Where the paper’s words are wider than what holds</h3>")
    )
    assert [re.findall(r'<li value="(\d)">', part) for part in parts] == [["1", "2", "3", "4"], ["5", "6"]]


def test_captions_say_how_to_read_the_figures(page):
    for name, words in (
        *((f"figure{number}", "brighter is higher") for number in range(1, 6)),
        ("figure5", "some points lie outside"),
        ("figure6", "the axis is cut above"),
        ("figure6", "All arms but MADDPG+CQL and MADDPG+CQL+PJAP"),
    ):
        assert words in page.split(f'<figure id="{name}">')[1].split("</figcaption>")[0]


def test_words_in_backticks_are_code(page):
    assert "<code>behaviour</code> in workflow/config/paper.yaml" in page and "`" not in re.sub(r"base64,[^\"]*", "", page)
    assert str(report._coded("`a < b` & c")) == "<code>a &lt; b</code> &amp; c"


def test_a_missing_picture_of_a_claim(finished, tmp_path):
    picture = finished / "figures" / "claims" / "C1.png"
    picture.rename(tmp_path / "C1.png")
    try:
        with pytest.raises(BenchError, match=r"C1\.png: the figure is not there"):
            write_report(finished, SETTINGS, STAMP)
    finally:
        (tmp_path / "C1.png").rename(picture)


def test_each_dataset_has_its_card_statistics_and_figure(page):
    section = page[page.index('id="datasets"') : page.index('id="settings"')]
    places = [section.index(f'<h3 id="dataset-{name}">') for name in DATASETS]
    assert places == sorted(places), "a mixture comes after its parts"
    good, first = section[places[0] : places[1]], cards.load("good")["policies"][0]
    for text in (
        *("Stands for the dataset of the same name in OG-MARL", "Apache-2.0", "a" * 64, "1,234,567 bytes"),
        *("good.croissant.json", "not known", "&lt;second&gt;", first["sha256"][:16], f"{first['updates']:,}"),
        *("the mean of returns differs by −56.7 %, outside our target of 5 %", "Here 2000 to 4000, there 803 to 9132"),
        *("Episodes of 2 to 4 steps; 50.0 % ended by the task", "Mean returns: first 2000, &lt;second&gt; 4000."),
    ):
        assert text in good, text
    assert "published data" not in section[places[2] :]
    assert 'href="#dataset-good_medium"' in section[: places[0]]


def test_a_summary_of_something_else_among_the_datasets_does_not_show(finished, page):
    files.write_json(finished / "datasets" / "other.json", {"stamp": STAMP})
    write_report(finished, SETTINGS, STAMP)
    assert (finished / "report.html").read_text(encoding="utf-8") == page
    (finished / "datasets" / "other.json").unlink()


@pytest.mark.parametrize(
    ("name", "message"),
    [("figures/dataset_medium.png", "the figure is not there"), ("datasets/good.description.json", "cannot be read")],
)
def test_a_dataset_without_description_or_figure(name, message, finished, tmp_path):
    (finished / name).rename(tmp_path / "kept")
    try:
        with pytest.raises(BenchError, match=message):
            write_report(finished, SETTINGS, STAMP)
    finally:
        (tmp_path / "kept").rename(finished / name)


def test_a_description_of_another_file(finished):
    path = finished / "datasets" / "good.description.json"
    kept = path.read_bytes()
    described = files.read_json(path)
    files.write_json(path, described | {"file": described["file"] | {"sha256": "d" * 64}})
    try:
        with pytest.raises(BenchError, match=r"good\.description\.json: describes another file"):
            write_report(finished, SETTINGS, STAMP)
    finally:
        path.write_bytes(kept)


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


def test_figure6s_legend_has_a_column_of_arms_and_one_of_lines(finished):
    for column in figure6.draw(finished, STAMP).subfigs:
        legend = next(axes.get_legend() for axes in column.axes if "Mean distance" in axes.get_title(loc="left"))
        said = [text.get_text() for text in legend.get_texts()]
        assert said[:4] == ["MADDPG+CQL", "MADDPG+CQL+PJAP", "Behaviour cloning", " "]
        assert said[4].startswith("in the sampled batch") and len(said) == 8 and legend._ncols == 2


def test_figure6_without_the_papers_arms_and_with_one_seed(tmp_path):
    settings = copy.deepcopy(SETTINGS)
    settings["experiments"] = {"good": {"arms": ["behaviour_cloning"], "seeds": [0], "updates": 1000}}
    results = fabricate(tmp_path / "quick")
    summarise(results, settings, STAMP)
    figure = figure6.draw(results, STAMP)
    (column,) = figure.subfigs
    assert len(column.axes) == 5
    assert any("Final return" in text.get_text() for text in column.axes[0].texts)  # at the top, with no room left above it
    assert column.axes[0].get_gridspec().nrows == 3


def test_figure6_without_a_noise_floor(tmp_path):
    """As of imported data."""
    results = fabricate(tmp_path / "quick")
    for path in (results / "datasets").glob("*.json"):
        files.write_json(path, files.read_json(path) | {"noise_floor": None})
    summarise(results, SETTINGS, STAMP)
    for column in figure6.draw(results, STAMP).subfigs:
        legend = next(axes.get_legend() for axes in column.axes if "Mean distance" in axes.get_title(loc="left"))
        assert not any("noise floor" in text.get_text() for text in legend.get_texts())


def test_the_page_says_first_whether_it_was_made_in_an_image(finished):
    page = (finished / "report.html").read_text()
    assert "outside of any pinned image: uncontained" in page[: page.index("<nav")]
    write_report(finished, SETTINGS, STAMP | {"image": "analysis@sha256:" + "c" * 64})
    page = (finished / "report.html").read_text()
    write_report(finished, SETTINGS, STAMP)
    assert "analysis@sha256:ccc" in page[: page.index("<nav")]


def test_comparisons_show_every_dataset_and_all(finished):
    figure = comparisons.draw(finished, STAMP)
    assert len(figure.axes) == 9  # two datasets and all of them
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert "Good (5 seeds): final return minus MADDPG+CQL's" in titles and "All datasets" in titles
    (differences, *_) = figure.axes
    assert [label.get_text() for label in differences.get_yticklabels()] == ["MADDPG+CQL+PJAP", "Behaviour cloning"]
    dots = [line.get_xdata() for line in differences.lines if len(line.get_xdata()) == 5]
    assert [list(each) for each in dots] == [[500, 520, 500, 520, 500], [1000] * 5]


def test_comparisons_with_one_seed_and_one_dataset(tmp_path):
    settings = copy.deepcopy(SETTINGS)
    del settings["experiments"]["good_medium"]
    settings["experiments"]["good"]["seeds"] = [0]
    results = fabricate(tmp_path / "quick")
    summarise(results, settings, STAMP)
    assert len(comparisons.draw(results, STAMP).axes) == 3
    (results / "profiles.csv").unlink()
    with pytest.raises(BenchError, match=r"profiles\.csv: cannot be read"):
        comparisons.draw(results, STAMP)


def test_comparisons_show_nothing_for_certain_that_rests_on_few_seeds(finished):
    """Of Good's five seeds both arms win every pair; GoodMedium, and with it all datasets, has two seeds."""
    rows = np.reshape(comparisons.draw(finished, STAMP).axes, (3, 3))
    said = [[text.get_text() for text in row[1].texts] for row in rows]
    assert said == [["all pairs"] * 2, ["too few seeds\n(needs 5)"], ["too few seeds\n(needs 5)"]]
    # bars of intervals, ticks and the line of no difference; bands
    assert [[len(axes.collections) for axes in row[1:]] for row in rows] == [[2, 3], [0, 0], [0, 0]]
    assert [len(row[1].lines) for row in rows] == [3, 0, 0]
    assert [row[2].get_title(loc="right") for row in rows] == ["", *["no bands: too few seeds"] * 2]


def test_figures_and_verdicts_need_the_same_number_of_seeds():
    assert verdict.read_claims(config.ROOT / "workflow" / "claims.yaml")["minimum_seeds"] == figures.MINIMUM_SEEDS


@pytest.mark.parametrize("draw", [figure6.draw, comparisons.draw])
def test_long_labels_are_not_cut_off(draw, finished, tmp_path):
    results = shutil.copytree(finished, tmp_path / "results")
    provenance = files.read_json(results / "statistics.provenance.json")
    for arm in provenance["settings"]["arms"].values():
        arm["label"] += ", current policies"
    files.write_json(results / "statistics.provenance.json", provenance)
    figure = draw(results, STAMP)
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    for part in figure.axes:
        box = part.get_tightbbox(figure.canvas.get_renderer())
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, part


def test_figure6_without_its_data(tmp_path):
    with pytest.raises(BenchError, match=r"statistics\.provenance\.json"):
        figure6.draw(tmp_path, STAMP)


def test_deviations_are_the_settings_that_differ_from_the_papers(page):
    section = page[page.index('id="deviations"') : page.index('id="datasets"')]
    for row in (
        '<th scope="row">seeds</th><td>10</td><td>5, 2</td>',
        '<th scope="row">updates</th><td>500,000</td><td>1,000, 500</td>',
        '<th scope="row">batch</th><td>64</td><td>16</td>',
        '<th scope="row">episodes of good</th><td>1,000</td><td>2</td>',
    ):
        assert row in section
    assert 'scope="row">algorithm' not in section and 'scope="row">sampler' not in section
    assert "equal_targets" in section


def test_the_papers_own_settings_deviate_in_nothing(tmp_path):
    paper = config.load("paper")
    settings = config.evaluated(paper)
    for dataset, experiment in settings["experiments"].items():
        for arm in experiment["arms"]:
            own = {arm: config.training_settings(paper, dataset, arm)}
            files.write_json(tmp_path / "runs" / dataset / arm / "seeds-0-9" / "run.json", {"arms": own})
        experiment["stacks"] = [f"{arm}/seeds-0-9" for arm in experiment["arms"]]
    assert deviations.of_settings(tmp_path, settings, []) == []
    arm, *_ = settings["experiments"]["good"]["arms"]
    path = tmp_path / "runs" / "good" / arm / "seeds-0-9" / "run.json"
    run = files.read_json(path)
    run["arms"][arm]["evaluation"]["episodes"] = 3
    run["arms"][arm]["standardise"] = True
    files.write_json(path, run)
    assert deviations.of_settings(tmp_path, settings, []) == [
        {"key": "evaluation.episodes", "paper": "4", "here": "3"},
        {"key": "standardise", "paper": "no", "here": "yes"},
    ]
