import json

import pytest

from pjap_bench.errors import BenchError
from pjap_bench.files import write_json
from pjap_bench.statistics import verdict
from tests.statistics.fabricate import STAMP, write_claims

RUNS = {
    "id": "C13-good",
    "source": "runs",
    "estimator": "paired_difference",
    "quantity": "distance_sampled",
    "window": "last_fifth",
    "arms": ["maddpg_cql_pjap", "maddpg_cql"],
    "dataset": "good",
    "region": {"below": 0},
}
BELOW = {"estimate": "change of R", "region": {"below": 0}}
ABOVE = {"estimate": "true change of R", "region": {"above": 0}}
GAMES = {"id": "C1", "source": "games", "parts": [BELOW, ABOVE]}


@pytest.fixture
def judge(summarised, settings, tmp_path):
    """Judges one claim and returns its entry."""

    def judge_one(claim, **stamp):
        claims = write_claims(tmp_path / "claims.yaml", claim)
        return verdict.judge(summarised, settings, STAMP | stamp, claims)["claims"][0]

    return judge_one


def set_estimate(summarised, **values):
    path = summarised / "games" / "estimates.json"
    estimates = json.loads(path.read_text())
    estimates["C1"]["change of R"] |= values
    write_json(path, estimates)


def test_reproduced_in_a_game(judge):
    entry = judge(GAMES)
    assert entry["status"] == "reproduced"
    assert entry["data"] == "simulated game"
    assert [estimate["position"] for estimate in entry["estimates"]] == ["inside", "inside"]


def test_one_part_outside_is_not_reproduced(judge):
    entry = judge(GAMES | {"parts": [BELOW, {"estimate": "true change of R", "region": {"below": 0.1}}]})
    assert entry["status"] == "not reproduced"
    assert "true change of R = 0.2" in entry["reason"] and "1 of 2" in entry["reason"]


def test_an_interval_across_the_edge_is_inconclusive(judge, summarised):
    set_estimate(summarised, low=-0.3, high=0.1)
    entry = judge(GAMES)
    assert entry["status"] == "inconclusive"
    assert "[−0.3, 0.1]" in entry["reason"]


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [(-0.11, -0.09, "reproduced"), (-0.2, -0.13, "not reproduced"), (-0.13, -0.1, "inconclusive")],
)
def test_region_around_a_value(judge, summarised, low, high, status):
    set_estimate(summarised, low=low, high=high)
    part = {"estimate": "change of R", "region": {"equal": -0.1, "within": 0.02}}
    assert judge(GAMES | {"parts": [part]})["status"] == status


def test_reproduced_on_generated_data_names_the_numbers(judge):
    entry = judge(RUNS)
    assert entry["status"] == "reproduced on generated data"
    assert entry["data"] == "generated"
    assert "5 seeds" in entry["reason"] and "95% interval" in entry["reason"]
    estimate = entry["estimates"][0]
    assert estimate["low"] < estimate["value"] < estimate["high"] < 0
    assert estimate["method"] == "paired t" and estimate["window"] == "last_fifth"


def test_published_data_may_be_called_reproduced(judge, summarised):
    path = summarised / "datasets" / "good.json"
    write_json(path, json.loads(path.read_text()) | {"origin": "OG-MARL"})
    assert judge(RUNS)["status"] == "reproduced"


def test_runs_outside_the_region(judge):
    assert judge(RUNS | {"region": {"above": 0}})["status"] == "not reproduced"


def test_runs_across_the_edge(judge):
    assert judge(RUNS | {"region": {"below": -0.0098}})["status"] == "inconclusive"


def test_fewer_than_five_seeds_give_points_only(judge):
    entry = judge(RUNS | {"dataset": "good_medium"})
    assert entry["status"] == "inconclusive"
    assert entry["estimates"][0]["low"] is None
    assert "2 seeds, too few for an interval" in entry["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"smallest_scale": "paper"}, "smallest scale that can show it is paper; this one is quick"),
        ({"arms": ["maddpg_cql_current", "maddpg_cql"]}, "does not train maddpg_cql_current on good"),
        ({"dataset": "medium"}, "does not train MADDPG+CQL+PJAP, MADDPG+CQL on medium"),
    ],
)
def test_not_testable(judge, change, reason):
    entry = judge(RUNS | change)
    assert entry["status"] == "not testable at this scale"
    assert reason in entry["reason"]
    assert entry["estimates"] == []


def test_runs_with_other_settings_than_the_scale_show_nothing(judge, settings):
    settings["experiments"]["good"] |= {"changed": ["batch", "updates"]}
    entry = judge(RUNS)
    assert (entry["status"], entry["estimates"]) == ("not testable at this scale", [])
    assert entry["reason"] == "On good settings are not the scale's: batch, updates."


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (RUNS | {"arms": ["maddpg_cql", "behaviour_cloning"]}, "compares with behaviour_cloning, but .* with maddpg_cql alone"),
        (RUNS | {"estimator": "ratio"}, "C13-good refers to the unknown estimator 'ratio'"),
        (GAMES | {"parts": [BELOW | {"estimate": "height"}]}, "C1 refers to the unknown estimate 'height'"),
        (RUNS | {"region": {"near": 0}}, "claims.yaml: .*near"),
        (RUNS | {"extra": 1}, "unknown key 'claims.0.extra'"),
        (RUNS | {"quantity": "final_return"}, "C13-good has a window, which only distances have"),
        (GAMES | {"window": "last_fifth"}, "C1 has a window"),
        ({key: value for key, value in RUNS.items() if key != "region"}, "key 'claims.0.region' is missing"),
    ],
)
def test_bad_claims(judge, summarised, claim, message):
    with pytest.raises(BenchError, match=message):
        judge(claim)
    assert not (summarised / "verdict.json").exists()


@pytest.mark.parametrize("text", [None, "", "a,b\n1"])
def test_statistics_that_cannot_be_read(judge, summarised, text):
    path = summarised / "statistics.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BenchError, match=r"statistics\.csv"):
        judge(RUNS)
    assert not (summarised / "verdict.json").exists()


def test_the_same_claim_twice(tmp_path):
    claims = write_claims(tmp_path / "claims.yaml", GAMES, GAMES)
    with pytest.raises(BenchError, match="claim C1 is there twice"):
        verdict.read_claims(claims)


def test_the_file_and_the_table(summarised, settings, tmp_path):
    claims = write_claims(tmp_path / "claims.yaml", GAMES, RUNS)
    returned = verdict.judge(summarised, settings, STAMP, claims)
    assert json.loads((summarised / "verdict.json").read_text()) == returned
    assert returned["stamp"] == STAMP
    assert sum(returned["counts"].values()) == 2
    table = verdict.format_table(returned, width=100)
    assert "May claim nothing." in table and "1 reproduced, 1 reproduced on generated data" in table
    assert max(map(len, table.splitlines())) <= 100


def test_the_projects_own_claims_are_valid():
    book = verdict.read_claims(verdict.config.ROOT / "workflow" / "claims.yaml")
    ids = {claim["id"] for claim in book["claims"]}
    assert {f"C{number}" for number in ("1", "2a", "2b", *range(3, 12))} <= ids
    assert {f"C{number}-{dataset}" for number in (12, 13, 14, 15) for dataset in ("good", "good_medium")} <= ids
