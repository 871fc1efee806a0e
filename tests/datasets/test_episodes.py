"""Datasets of episodes of any lengths: views, selections, both layouts, and their training form."""

import dataclasses

import numpy as np
import pytest
import torch

from pjap_bench.datasets import hdf5
from pjap_bench.datasets.sequences import SequenceData
from pjap_bench.environments import get
from pjap_bench.errors import BenchError

LENGTHS = np.array([5, 1, 7])
ENVIRONMENT = get("two_agent_halfcheetah")


@pytest.fixture
def uneven(noise_dataset) -> hdf5.Dataset:
    """Three episodes of 5, 1 and 7 steps; the task ended the second, time the others."""
    random = np.random.default_rng(1)
    return dataclasses.replace(
        noise_dataset,
        lengths=LENGTHS,
        terminated=np.array([False, True, False]),
        physics=random.standard_normal((16, 18)).astype(np.float32),
        actions=random.uniform(-1, 1, (13, 2, 3)).astype(np.float32),
        rewards=np.arange(13, dtype=np.float32),
    )


@pytest.fixture
def seen(uneven) -> hdf5.Dataset:
    """The same as what was seen, without its physics."""
    observations, states = uneven.observed()
    attributes = uneven.attributes | {"layout": "observations"}
    return dataclasses.replace(uneven, physics=None, observations=observations, states=states, attributes=attributes)


def test_steps_and_returns_of_each_episode(uneven):
    assert uneven.transitions == 13
    np.testing.assert_array_equal(uneven.offsets, [0, 5, 6, 13])
    np.testing.assert_array_equal(uneven.returns, [0 + 1 + 2 + 3 + 4, 5, sum(range(6, 13))])


def test_what_was_seen_leaves_the_final_states_out(uneven):
    observations, states = uneven.observed()
    before = np.delete(uneven.physics, [5, 7, 15], axis=0)
    np.testing.assert_array_equal(observations, ENVIRONMENT.observations(before))
    np.testing.assert_array_equal(states, ENVIRONMENT.state(before))


def test_the_physics_given_up_for_what_was_seen(uneven, seen):
    found = uneven.as_observed()
    assert (found.layout, found.physics) == ("observations", None)
    for values, expected in zip(found.observed(), seen.observed(), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_chosen_episodes_in_the_order_given(uneven, seen):
    for dataset in (uneven, seen):
        chosen = dataset.episodes(np.array([2, 0]))
        np.testing.assert_array_equal(chosen.lengths, [7, 5])
        np.testing.assert_array_equal(chosen.rewards, [*range(6, 13), *range(5)])
        np.testing.assert_array_equal(chosen.policy, [1, 0])
        for whole, part in zip(dataset.observed(), chosen.observed(), strict=True):
            np.testing.assert_array_equal(part, np.concatenate([whole[6:], whole[:5]]))
    np.testing.assert_array_equal(uneven.episodes(np.array([1])).physics, uneven.physics[6:8])


@pytest.mark.parametrize("layout", ["physics", "observations"])
def test_either_layout_is_read_as_written(layout, uneven, seen, tmp_path):
    dataset = uneven if layout == "physics" else seen
    hdf5.write(tmp_path / "a.h5", dataset)
    found = hdf5.read_unpinned(tmp_path / "a.h5")
    assert found.layout == layout
    for name in ("lengths", "terminated", "actions", "rewards", "seed", "policy", *hdf5.LAYOUTS[layout]):
        np.testing.assert_array_equal(getattr(found, name), getattr(dataset, name))


def test_concatenation_counts_on(uneven, seen):
    unknown = uneven.attributes | {"policy_sha256": ["", ""]}
    parts = [dataclasses.replace(uneven, attributes=unknown | {"dataset": name}) for name in ("one", "other")]
    both = hdf5.concatenate([parts[0], parts[1].episodes(np.array([2]))], unknown)
    np.testing.assert_array_equal(both.lengths, [5, 1, 7, 7])
    np.testing.assert_array_equal(both.policy, [0, 0, 1, 3])
    assert both.physics.shape == (16 + 8, 18)
    with pytest.raises(BenchError, match="differ in their layout"):
        hdf5.concatenate([uneven, seen], uneven.attributes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": np.array([5, 1, 6])}, "12 in all, do not fit 13 steps"),
        ({"lengths": np.array([13, 0, 0])}, "episodes of 0 to 13 steps"),
        ({"lengths": np.empty(0, dtype=int)}, "no episodes"),
        ({"physics": np.zeros((13, 18), dtype=np.float32)}, "physics has shape"),
        ({"rewards": np.full(13, np.nan, dtype=np.float32)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_not_written(change, message, uneven, tmp_path):
    with pytest.raises(BenchError, match=message):
        hdf5.write(tmp_path / "a.h5", dataclasses.replace(uneven, **change))
    assert not list(tmp_path.iterdir())


def test_where_the_task_ends_an_episode_no_value_follows(uneven, settings):
    first = torch.zeros(1, 1, dtype=torch.long)
    whole = settings | {"sequence": 13}
    cut = SequenceData(uneven, whole | {"time_limit": "terminal"}).batch(first)
    masked = SequenceData(uneven, whole | {"time_limit": "masked"}).batch(first)
    ends = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    assert cut.terminals.flatten().tolist() == ends
    assert cut.weights.flatten().tolist() == [1] * 13
    # Time ended the first and the last; the task the second, which stays a target.
    assert masked.terminals.flatten().tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert masked.weights.flatten().tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    assert cut.keep.flatten().tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("standardise", [False, True])
def test_both_layouts_train_on_the_same_numbers(standardise, uneven, seen, settings):
    chosen = settings | {"sequence": 4, "standardise": standardise}
    kept = seen.observations.copy()
    batches = [SequenceData(dataset, chosen).batch(torch.tensor([[0, 3, 9]])) for dataset in (uneven, seen)]
    for first, second in zip(*batches, strict=True):
        assert torch.equal(first, second)
    np.testing.assert_array_equal(seen.observations, kept)  # the dataset itself is left alone
    if standardise:
        observations = SequenceData(uneven, chosen | {"sequence": 13}).batch(torch.zeros(1, 1, dtype=torch.long)).observations
        assert torch.allclose(observations.mean(dim=(0, 1, 2)), torch.zeros(2, 13), atol=1e-6)
        assert torch.allclose(observations.std(dim=(0, 1, 2)), torch.ones(2, 13), atol=1e-5)


def test_rewards_are_scaled(uneven, settings):
    data = SequenceData(uneven, settings | {"sequence": 13, "reward_scale": 0.1})
    assert torch.equal(data.batch(torch.zeros(1, 1, dtype=torch.long)).rewards.flatten(), torch.arange(13.0) * 0.1)


def test_the_policy_of_each_step(uneven, settings):
    data = SequenceData(uneven, settings | {"sequence": 4})
    assert data.policy_of_step.tolist() == [0] * 6 + [1] * 7
