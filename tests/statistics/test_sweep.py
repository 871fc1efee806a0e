"""The table and the figure of a sweep, from made-up scores."""

import pandas as pd
import pytest
from matplotlib.image import imread
from scipy import stats

from pjap_bench import config
from pjap_bench.errors import BenchError
from pjap_bench.figures import style
from pjap_bench.figures import sweep as figure
from pjap_bench.files import read_json, write_json
from pjap_bench.statistics import sweep

STAMP = {"pjap_bench": "0", "scale": "quick", "regime": "made up", "code": "0", "image": "uncontained"}
SEEDS = 4


@pytest.fixture
def settings() -> dict:
    quick = config.swept(config.load("quick"), "what_decides")
    return {key: quick[key] for key in ("sweep", "arms", "experiments", "statistics")}


@pytest.fixture
def results(tmp_path, settings):
    """Scores in which a run's number is 1000 for each place of its arm, plus 10 for each seed's square, plus 1 for PJAP."""
    rows = []
    for place, arm in enumerate(settings["arms"]):
        for seed in range(SEEDS):
            for quantity in sweep.QUANTITIES:
                value = 1000.0 * place + 10.0 * seed**2 + ("pjap" in arm) * (1.0 + seed)
                rows.append(("good", arm, seed, quantity, "raw", value))
    columns = ["dataset", "arm", "seed", "quantity", "normalisation", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "scores.csv", index=False)
    write_json(tmp_path / "datasets" / "good.json", {"reference": {"random_return": -200.0, "dataset_return": 6000.0}})
    return tmp_path


def test_every_variant_has_its_arms_and_their_paired_difference(results, settings):
    sweep.tabulate(results, settings, STAMP)
    table = pd.read_csv(results / "sweep.csv").set_index(["variant", "arm", "quantity"])
    places = {arm: place for place, arm in enumerate(settings["arms"])}
    for name, variant in settings["sweep"]["variants"].items():
        for quantity in sweep.QUANTITIES:
            control = [1000.0 * places[variant["arms"]["maddpg_cql"]] + 10.0 * seed**2 for seed in range(SEEDS)]
            row = table.loc[(name, "maddpg_cql", quantity)]
            assert row["value"] == pytest.approx(sum(control) / SEEDS)
            expected = stats.t.interval(0.95, SEEDS - 1, row["value"], stats.sem(control))
            assert (row["low"], row["high"]) == pytest.approx(expected)
            difference = table.loc[(name, "maddpg_cql_pjap - maddpg_cql", quantity)]
            steps = places[variant["arms"]["maddpg_cql_pjap"]] - places[variant["arms"]["maddpg_cql"]]
            assert difference["value"] == pytest.approx(1000.0 * steps + 2.5)
            assert difference["n"] == SEEDS


def test_one_seed_has_no_interval(results, settings):
    scores = pd.read_csv(results / "scores.csv")
    scores[scores["seed"] == 0].to_csv(results / "scores.csv", index=False)
    sweep.tabulate(results, settings, STAMP)
    table = pd.read_csv(results / "sweep.csv")
    assert (table["method"] == "point").all()
    assert table["low"].isna().all()
    figure.draw(results, STAMP)


def test_a_variant_without_scores(results, settings):
    scores = pd.read_csv(results / "scores.csv")
    scores[~((scores["arm"] == "maddpg_cql__raw") & (scores["seed"] == 2))].to_csv(results / "scores.csv", index=False)
    with pytest.raises(BenchError, match="final_return of raw is missing or short"):
        sweep.tabulate(results, settings, STAMP)
    assert not (results / "sweep.csv").exists()


def test_the_figure(results, settings):
    sweep.tabulate(results, settings, STAMP)
    drawn = figure.draw(results, STAMP)
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == [variant["label"] for variant in settings["sweep"]["variants"].values()]
    style.save(drawn, results / "sweep", STAMP)
    assert imread(results / "sweep.png").std() > 0.05
    assert read_json(results / "sweep.provenance.json")["stamp"] == STAMP


def test_variants_may_be_numbers_and_labels_have_commas(results, settings):
    text = (results / "scores.csv").read_text()
    for kind in ("as_is", "raw"):
        text = text.replace(f"__{kind},", f"__{len(kind)},")
    (results / "scores.csv").write_text(text)
    arms = {arm.replace("__as_is", "__5").replace("__raw", "__3"): chosen for arm, chosen in settings["arms"].items()}
    arms["maddpg_cql__5"]["label"] = "MADDPG+CQL, the first, as in the scale"
    variants = {
        "5": {"label": "as in the scale", "arms": {arm: f"{arm}__5" for arm in settings["sweep"]["arms"]}},
        "3": {"label": "raw", "arms": {arm: f"{arm}__3" for arm in settings["sweep"]["arms"]}},
    }
    changed = settings | {"arms": arms, "sweep": settings["sweep"] | {"variants": variants, "order": list(variants)}}
    sweep.tabulate(results, changed, STAMP)
    drawn = figure.draw(results, STAMP)
    assert "MADDPG+CQL, the first" in [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]


def test_the_table_is_missing(results):
    with pytest.raises(BenchError, match=r"sweep.csv: the table is not there"):
        figure.draw(results, STAMP)
