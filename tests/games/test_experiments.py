"""What the simulations of Figures 1-5 must show: the numbers and tolerances of the specification."""

import copy
import json

import numpy as np
import pytest

from pjap_bench.errors import BenchError
from pjap_bench.games import theory
from pjap_bench.games.experiments import EXPERIMENTS, simulate
from pjap_bench.games.experiments.estimates import bands
from pjap_bench.games.experiments.figure2 import first_above
from pjap_bench.games.experiments.figure3 import angles

CLAIMS = {"C1", "C2a", "C2b", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11"}


@pytest.fixture(scope="module")
def arrays(simulated):
    results, _ = simulated

    def read(experiment):
        name = experiment if isinstance(experiment, str) else f"figure{experiment}"
        with np.load(results / "games" / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return read


@pytest.fixture(scope="module")
def estimates(simulated):
    return json.loads((simulated[0] / "games" / "estimates.json").read_text())


@pytest.fixture(scope="module")
def errata(simulated):
    entries = json.loads((simulated[0] / "games" / "errata.json").read_text())
    return {entry["number"]: {each["what"]: each["value"] for each in entry["shown"]} for entry in entries}


def test_every_file_is_there_and_carries_the_stamp(simulated, arrays):
    results, stamp = simulated
    written = {path.name for path in (results / "games").iterdir()}
    texts = {f"{name}.json" for name in ("estimates", "captions", "errata", "provenance")}
    assert written == {f"{name}.npz" for name in EXPERIMENTS} | texts
    assert json.loads((results / "games" / "provenance.json").read_text()) == stamp
    for name in EXPERIMENTS:
        assert json.loads(str(arrays(name)["stamp"])) == stamp
    captions = json.loads((results / "games" / "captions.json").read_text())
    assert set(captions) == {f"figure{number}{kind}" for number in range(1, 6) for kind in ("", "_seeds")}


def test_every_claim_has_estimates_with_ordered_intervals(estimates):
    assert set(estimates) == CLAIMS
    for of_claim in estimates.values():
        for estimate in of_claim.values():
            assert set(estimate) == {"value", "low", "high", "n"}
            assert estimate["low"] <= estimate["value"] <= estimate["high"] and estimate["n"] >= 1


def test_figure1_brud_lowers_and_the_true_gradient_raises_the_reward(arrays, estimates):
    found = arrays(1)
    np.testing.assert_array_equal(found["brud_gradient"], [-0.5, 0.5])
    np.testing.assert_array_equal(found["true_gradient"], [0.5, -0.5])
    assert estimates["C1"]["BRUD change of R"]["value"] == pytest.approx(-0.0525)
    assert estimates["C1"]["true-gradient change of R"]["value"] == pytest.approx(0.0475)


def test_figure1_over_seeds_stays_in_the_quadrants_and_always_parts(arrays):
    found = arrays(1)
    policies, data = found["seed_policies"], found["seed_data"]
    assert policies.shape == data.shape == (200, 2)
    for drawn, signs in ((policies, [-1, 1]), (data, [1, -1])):
        assert (drawn * signs > 0).all() and np.abs(drawn).max() <= 1
    brud, mirrored, true = found["seed_changes"]
    assert (brud < 0).all() and (true > 0).all() and np.mean(mirrored > 0) > 0.95
    # By hand: each agent moves by rate times the other's data action.
    moved = policies + 0.1 * data[:, ::-1]
    np.testing.assert_allclose(brud, moved.prod(axis=1) - policies.prod(axis=1), atol=1e-15)


def test_figure2_medians_are_those_of_the_specification(arrays, estimates):
    found = arrays(2)
    np.testing.assert_array_equal(found["buffer_sizes"], [10, 100, 200, 400])
    assert found["steps"].shape == (4, 300)
    np.testing.assert_allclose(np.median(found["steps"], axis=1), [278, 362, 427, 518], rtol=0.05)
    np.testing.assert_allclose(np.median(found["path_lengths"], axis=1), [1.41, 1.61, 1.99, 2.65], rtol=0.05)
    for column in ("steps", "path_lengths", "staleness"):
        assert (np.diff(np.median(found[column], axis=1)) > 0).all()
    assert estimates["C2b"]["share of runs ending in ++ or --"]["value"] == 1
    assert (found["policies"][:, -1] > 0).all()


def test_figure2_bands_hold_their_median_and_start_at_the_start(arrays):
    found = arrays(2)
    low, median, high = np.moveaxis(found["reward_bands"], 1, 0)
    assert (low <= median).all() and (median <= high).all()
    np.testing.assert_allclose(median[:, 0], -0.3)
    # The median run reaches the target at the median step.
    steps = first_above(median, 0.5)
    np.testing.assert_allclose(steps, np.median(found["steps"], axis=1), atol=2)


def test_figure3_moves_every_start_by_exactly_the_mean(arrays):
    found = arrays(3)
    np.testing.assert_allclose(found["data"].mean(axis=0), [-0.02, 0.04], atol=1e-15)
    moved = found["policies"][:, -1] - found["policies"][:, 0]
    assert len(moved) == 3
    np.testing.assert_allclose(moved, np.tile([1.6, -0.8], (3, 1)), atol=1e-9)
    np.testing.assert_allclose(found["policies"][:, -1], found["predicted"], atol=1e-9)


def test_figure3_over_seeds_the_mean_sets_the_direction(arrays):
    found = arrays(3)
    predicted = found["seed_predicted"]
    assert predicted.shape == (200, 2)
    np.testing.assert_allclose(found["seed_moved_full"], predicted, atol=1e-9)
    full, mini = found["seed_angles"]
    assert full.max() < 1e-9
    assert 1e-3 < np.median(mini) < np.radians(10)
    # Noise of mini-batches: rate * sd / sqrt(batch) a step, 2000 steps; uniform actions have sd 1 / sqrt(3).
    noise = (found["seed_moved_batch"] - predicted).std()
    assert noise == pytest.approx(0.02 * np.sqrt(2000 / 3 / 32), rel=0.1)
    np.testing.assert_array_equal(found["seed_agree"], predicted[:, 0] * predicted[:, 1] > 0)
    agree, differ = found["seed_reward_bands"][:, 1, -1]
    assert agree > 0 > differ


def test_angles_are_exact_for_small_and_opposite_directions():
    moved, predicted = np.array([[1, 1e-9], [-1, 0], [0, 2], [3, 3]]), np.array([[1, 0], [1, 0], [1, 0], [1, 1]])
    np.testing.assert_allclose(angles(moved, predicted), [1e-9, np.pi, np.pi / 2, 0], rtol=1e-12, atol=1e-16)


def test_figure4_ends_where_the_closed_forms_say(arrays):
    found = arrays(4)
    assert np.abs(found["centred_final"]).max() < 1e-8
    ends = found["optimum_final"].mean(axis=-1)
    np.testing.assert_allclose(ends.mean(axis=1), [0.6124, 0.6027, 0.5755, 0.4374, 0.2355], atol=0.002)
    assert ends.std(axis=1).max() <= 0.013
    np.testing.assert_array_equal(found["sigmas"], [0, 0.1, 0.2, 0.5, 1])
    np.testing.assert_allclose(np.interp([0.2, 0.5], found["curve_sigma"], found["curve_action"]), [0.5755, 0.4374], atol=1e-4)


def test_figure4_over_seeds_reaches_the_closed_form(arrays):
    found = arrays(4)
    assert found["closed_form_errors"].max() < 1e-12
    for centre in ("centred", "origin", "optimum"):
        errors, actions = found[f"{centre}_error_bands"], found[f"{centre}_action_bands"]
        assert errors.shape == actions.shape == (5, 3, 2001)
        assert errors[:, 2, -1].max() < 1e-12 and (errors[:, 1, 0] > 0.1).all()
        np.testing.assert_allclose(actions[:, 1, -1], np.median(found[f"{centre}_final"].mean(axis=-1), axis=1), atol=1e-15)


def test_figure5_rewards_lie_in_the_bands_of_the_specification(arrays):
    found = arrays(5)
    # Middle 95 % of 200 runs, rows sigma = 0.2, 0.5, 1; the specification's own bands are of another 200 runs.
    bands = {
        "maddpg": [(0.553, 0.556), (0.403, 0.443), (0.109, 0.182)],
        "maddpg_pjap": [(0.562, 0.562), (0.555, 0.562), (0.549, 0.562)],
    }
    for arm, expected in bands.items():
        rewards = found[f"{arm}_final_reward"]
        assert rewards.shape == (4, 200)
        for row, (low, high) in enumerate(expected, start=1):
            found_low, found_high = np.percentile(rewards[row], [2.5, 97.5])
            assert low - 0.001 <= np.median(rewards[row]) <= high + 0.001
            assert abs(found_low - low) <= 0.015 and abs(found_high - high) <= 0.015
    np.testing.assert_allclose([found[f"{arm}_final_reward"][0] for arm in bands], 0.5625, atol=1e-3)


def test_figure5_over_seeds_ends_in_the_final_rewards(arrays):
    found = arrays(5)
    for arm in ("maddpg", "maddpg_pjap"):
        assert found[f"{arm}_reward_bands"].shape == (4, 3, 101) and found[f"{arm}_distance_bands"].shape == (4, 3, 100)
        np.testing.assert_allclose(found[f"{arm}_reward_bands"][:, :, -1], bands(found[f"{arm}_final_reward"].T).T)
    # The middle of MADDPG's runs lies at its closed form; of one dataset's, within the sampling of data and batches.
    np.testing.assert_allclose(found["maddpg_reward_bands"][:, 1, -1], found["maddpg_limit_reward"], atol=0.04)
    biased = theory.pjap_limit(10, 1, 4, 5)
    assert found["fixed_point_reward"] == pytest.approx(3 * biased**2 - 4 * biased**4)
    assert found["distance_changes"].shape == (4, 200) and (found["distance_changes"][1:] < 0).all()


def test_figure5_arms_share_their_data_and_pjap_comes_closer(estimates):
    for estimate in estimates["C11"].values():
        assert estimate["high"] < 0
    for sigma in ("0.5", "1"):
        assert estimates["C10"][f"share with final R >= 0.95 R*, maddpg, sigma {sigma}"]["value"] == 0


def test_figure5_states_what_it_does_not_reproduce(simulated):
    captions = json.loads((simulated[0] / "games" / "captions.json").read_text())
    assert "do not reproduce its PJAP rows 3 and 4 exactly" in captions["figure5"]


def test_the_share_of_random_datasets_that_succeed_falls_with_interaction(estimates):
    shares = [
        estimates["C9"][f"share that succeeds, {game}"]["value"]
        for game in ("decoupled", "sign_agreement", "action_agreement", "twin_peaks")
    ]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True) and len(set(shares)) == 4


def test_every_erratum_is_shown_by_its_numbers(errata, arrays):
    assert list(errata) == [1, 2, 3, 4, 5, 6]
    assert errata[1]["their largest difference to (a_y, a_x)"] < 1e-9
    assert errata[1]["their largest difference to (a_x, a_y)"] == pytest.approx(1.3)
    assert errata[2]["‖â, θ‖₁ for â = θ = (-0.5, 0.5)"] == 2 and errata[2]["‖â − θ‖₁ there"] == 0
    literal, right = (value for what, value in errata[2].items() if "printed" in what or "same" in what)
    assert literal < 0.5 < 0.95 < right
    for what, error in errata[3].items():
        assert (error < 1e-12) == ("the 1/n variance" in what)
    for sigma in (0.1, 0.2, 0.5, 1):
        assert errata[4][f"largest |a*| of 200 datasets drawn around the origin, sigma {sigma:g}"] > 0.01
    assert errata[4]["largest error against the closed form, all spreads"] < 1e-12
    assert errata[4]["largest |a*| with exactly recentred data"] < 1e-8
    products = [float(value) for value in errata[5]["priority times distance there"].split(" / ")]
    assert max(products) > 2 * min(products)


def test_the_bias_of_pjap_is_that_of_the_formula(errata):
    shown = errata[6]
    predicted, simulated = (
        np.array(value.split(" / "), dtype=float)
        for what, value in shown.items()
        if what.startswith("fixed point by the formula") or what.startswith("the same simulated")
    )
    np.testing.assert_allclose(simulated, predicted, atol=2e-4)
    assert shown["median R / R*, data uniform in [−0.3, 0.3]², both peaks outside"] < 0.9
    shares = [float(value.split("%")[0]) for what, value in shown.items() if what.startswith("share of runs")]
    assert shares == sorted(shares, reverse=True) and shares[0] > 98 and shares[-1] < 50
    # The paper's own rows 3 and 4: 0.550 and 0.541 of 0.5625.
    rows = [value for what, value in shown.items() if what.startswith("R / R* of PJAP")]
    assert [row.split(" and ")[0] for row in rows] == ["0.999", "0.978", "0.962"]


def test_random_datasets_hold_the_evidence_of_the_claims(arrays, estimates):
    found = arrays("random_datasets")
    np.testing.assert_allclose(found["decoupled_speed"], 2, rtol=1e-9)
    np.testing.assert_array_equal(found["means"].prod(axis=1) > 0, found["sign_agreement_rises"])
    np.testing.assert_allclose(found["action_agreement_final"], found["means"][:, ::-1], atol=1e-8)
    assert found["shares"][3, 0] == estimates["C9"]["share that succeeds, twin_peaks"]["value"]


def test_the_same_settings_give_the_same_bytes(game_settings, tmp_path):
    small = copy.deepcopy(game_settings)
    small["figure2"] |= {"runs": 5, "steps": 600}
    small["figure4"] |= {"datasets": 5}
    small["figure3"] |= {"seeds": 20, "steps": 50}
    small["figure5"] |= {"runs": 5, "epochs": 10, "scan": {"alphas": [5], "runs": 5}}
    small["errata"] |= {"steps": 5, "datasets": 2}
    for name in ("first", "second"):
        simulate(small, {"scale": "smoke"}, tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_a_run_that_never_reaches_the_target_counts_all_its_steps():
    rewards = np.array([[0, 1, 2], [0, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(first_above(rewards, 0.5), [1, 3, 0])


def test_impossible_settings_leave_nothing_behind(game_settings, tmp_path):
    broken = copy.deepcopy(game_settings)
    broken["figure2"]["buffer_sizes"] = [5]
    with pytest.raises(BenchError, match="a buffer of 5 cannot fill a batch of 10"):
        simulate(broken, {}, tmp_path / "games")
    assert not (tmp_path / "games").exists()


@pytest.mark.parametrize(
    ("experiment", "change", "complaint"),
    [
        ("figure4", {"learning_rate": 1}, r"games\.figure4: claim C7 has no finite"),
        ("figure3", {"low": 0.5}, r"games\.figure3: settings that give no numbers"),
    ],
)
def test_settings_without_numbers_are_one_error(game_settings, tmp_path, experiment, change, complaint):
    broken = copy.deepcopy(game_settings)
    broken[experiment] |= change
    with pytest.raises(BenchError, match=complaint), np.errstate(all="ignore"):
        simulate(broken, {}, tmp_path / "games")
    assert not (tmp_path / "games").exists()
