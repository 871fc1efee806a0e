"""What the simulations of Figures 1-5 must show: the numbers and tolerances of the specification."""

import copy
import json

import numpy as np
import pytest

from pjap_bench.errors import BenchError
from pjap_bench.games.experiments import first_above, simulate

CLAIMS = {"C1", "C2a", "C2b", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11"}


@pytest.fixture(scope="module")
def arrays(simulated):
    results, _ = simulated

    def read(number):
        with np.load(results / "games" / f"figure{number}.npz", allow_pickle=False) as file:
            return dict(file)

    return read


@pytest.fixture(scope="module")
def estimates(simulated):
    return json.loads((simulated[0] / "games" / "estimates.json").read_text())


def test_every_file_is_there_and_carries_the_stamp(simulated, arrays):
    results, stamp = simulated
    written = {path.name for path in (results / "games").iterdir()}
    assert written == {f"figure{n}.npz" for n in range(1, 6)} | {"estimates.json", "captions.json", "provenance.json"}
    assert json.loads((results / "games" / "provenance.json").read_text()) == stamp
    for number in range(1, 6):
        assert json.loads(str(arrays(number)["stamp"])) == stamp
    captions = json.loads((results / "games" / "captions.json").read_text())
    assert set(captions) == {f"figure{number}" for number in range(1, 6)}


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


def test_figure3_moves_every_start_by_exactly_the_mean(arrays):
    found = arrays(3)
    np.testing.assert_allclose(found["data"].mean(axis=0), [-0.02, 0.04], atol=1e-15)
    moved = found["policies"][:, -1] - found["policies"][:, 0]
    assert len(moved) == 3
    np.testing.assert_allclose(moved, np.tile([1.6, -0.8], (3, 1)), atol=1e-9)
    np.testing.assert_allclose(found["policies"][:, -1], found["predicted"], atol=1e-9)


def test_figure4_ends_where_the_closed_forms_say(arrays):
    found = arrays(4)
    assert np.abs(found["centred_final"]).max() < 1e-8
    ends = found["optimum_final"].mean(axis=-1)
    np.testing.assert_allclose(ends.mean(axis=1), [0.6124, 0.6027, 0.5755, 0.4374, 0.2355], atol=0.002)
    assert ends.std(axis=1).max() <= 0.013
    np.testing.assert_array_equal(found["sigmas"], [0, 0.1, 0.2, 0.5, 1])
    np.testing.assert_allclose(np.interp([0.2, 0.5], found["curve_sigma"], found["curve_action"]), [0.5755, 0.4374], atol=1e-4)


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


def test_the_same_settings_give_the_same_bytes(game_settings, tmp_path):
    small = copy.deepcopy(game_settings)
    small["figure2"] |= {"runs": 5, "steps": 600}
    small["figure4"] |= {"datasets": 5}
    small["figure5"] |= {"runs": 5, "epochs": 10, "scan": {"alphas": [5], "runs": 5}}
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
    assert not (tmp_path / "games" / "estimates.json").exists()
