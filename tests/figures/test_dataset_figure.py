"""The figure of a dataset: whole, stamped, true to the statistics, with and without known policies and equal lengths."""

import dataclasses
import json

import numpy as np
import pytest

from pjap_bench import files
from pjap_bench.datasets import cards, description
from pjap_bench.errors import BenchError
from pjap_bench.figures import dataset, style
from tests.figures.test_games_figures import STAMP, _text_chunks, assert_signed_and_whole


@pytest.fixture
def written(tmp_path, noise_dataset):
    """Describes a dataset as if it were the card `good`'s, and returns the results folder."""

    def write(data=noise_dataset, distance=None, published=None, policies=None):
        found = description.describe(data, published=published)
        if policies:
            found["policies"] = [found["policies"][0] | {"name": name} for name in policies]
            found["return"]["counts"] = [found["return"]["counts"][0]] * len(policies)
        if distance:
            found["distance"] |= distance
        described = {"card": cards.load("good"), "file": {}, "behaviour": [], "origin": "generated", "statistics": found}
        files.write_json(tmp_path / "datasets" / "good.description.json", described)
        return tmp_path

    return write


def known(count: int) -> dict:
    between = 0.5 + 0.01 * np.arange(count * count).reshape(count, count)
    np.fill_diagonal(between, 0.0)
    return {"between": between.tolist(), "to_data": np.where(np.eye(count) > 0, 0.125, between + 0.1).tolist()}


def assert_whole(figure):
    figure.canvas.draw()  # places what the layout moves
    assert_signed_and_whole(figure)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_distances_and_published_returns(written, tmp_path):
    published = {"mean": 5.0, "sd": 100.0, "min": -1, "max": 1, "origin": "made up"}
    figure = dataset.draw("good", written(distance=known(2), published=published), STAMP)
    assert_whole(figure)
    returns, matrix, *actions = figure.axes
    assert texts(matrix) == ["0.12", "0.51", "0.52", "0.12"]
    assert len(actions) == 6 and actions[4].get_title() == "agent 2, action 2"
    assert "3 episodes, 3,000 steps" in figure._suptitle.get_text()
    assert returns.get_xlim()[0] <= -95 and returns.get_xlim()[1] >= 105
    heights = sum(patch.get_height() for patch in returns.containers[0]) + sum(
        patch.get_height() for patch in returns.containers[1]
    )
    assert heights == 3, "each episode is drawn once"
    pairs = [style.save(dataset.draw("good", tmp_path, STAMP), tmp_path / name / "dataset_good", STAMP) for name in "ab"]
    assert json.loads(_text_chunks(pairs[0][0].read_bytes())["Description"]) == STAMP
    for first, second in zip(*pairs, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_unknown_policies_leave_the_matrix_out(written):
    figure = dataset.draw("good", written(), STAMP)
    assert_whole(figure)
    assert len(figure.axes) == 1 + 6


def test_a_matrix_with_gaps(written):
    gaps = {"between": [[None, None], [0.5, 0]], "to_data": [[None, None], [0.5, 0.25]]}
    figure = dataset.draw("good", written(distance=gaps), STAMP)
    assert_whole(figure)
    assert texts(figure.axes[1]) == ["–", "–", "0.50", "0.25"]


def test_one_episode(written, noise_dataset):
    figure = dataset.draw("good", written(noise_dataset.episodes(np.array([1]))), STAMP)
    assert_whole(figure)
    assert "1 episode, 1,000 steps" in figure._suptitle.get_text()


def test_unequal_lengths_have_a_panel(written, noise_dataset):
    uneven = dataclasses.replace(noise_dataset, lengths=np.array([1000, 1990, 10]))
    figure = dataset.draw("good", written(uneven, distance=known(2)), STAMP)
    assert_whole(figure)
    assert figure.axes[1].get_title(loc="left") == "Lengths"
    assert sum(patch.get_height() for patch in figure.axes[1].patches) == 3


@pytest.mark.parametrize("count", [1, 8, 12, 30])
def test_any_number_of_policies(count, written):
    names = [f"policy_{place}" for place in range(count)]
    figure = dataset.draw("good", written(distance=known(count), policies=names), STAMP)
    assert_whole(figure)
    assert len(figure.subfigs[0].legends) == (count <= dataset.NAMED)


def test_missing_or_broken_description(tmp_path):
    with pytest.raises(BenchError, match=r"good\.description\.json: cannot be read"):
        dataset.draw("good", tmp_path, STAMP)
    files.write_json(tmp_path / "datasets" / "good.description.json", [])
    with pytest.raises(BenchError, match="not the description of a dataset"):
        dataset.draw("good", tmp_path, STAMP)
