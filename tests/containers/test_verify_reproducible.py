"""How two runs' outputs are compared: every byte inside the images, content without stamps outside."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from pjap_bench import files
from pjap_bench.figures import style
from tests.containers.conftest import load

verify = load("verify_reproducible")


def outputs(folder: Path, image: str, value: float = 1.0, seconds: str = "3 s") -> dict[str, Path]:
    """One output of every kind, as a run in that image would leave it."""
    folder.mkdir()
    stamp = {"image": image, "code": "0123456789ab"}
    files.write_json(folder / "run.json", {"stamp": stamp, "value": value, "files": {"policies.safetensors": image}})
    (folder / "statistics.csv").write_text(f"value\n{value}\n")
    np.savez(folder / "figure1.npz", values=np.array([value]), stamp=np.array(image))
    save_file({"policy": np.array([value], dtype=np.float32)}, folder / "policies.safetensors", metadata={"image": image})
    with h5py.File(folder / "good.h5", "w") as file:
        file["rewards"] = np.array([value])
        file.attrs["stamp"] = image
    figure = style.new_figure(3, 2)
    figure.subplots().plot([0, value], [0, 1])
    style.footer(figure, stamp)
    style.save(figure, folder / "figure1", stamp)
    (folder / "report.html").write_text(f'<p>{image}</p><section id="timings">{seconds}</section>')
    return {path.name: path for path in folder.iterdir()}


def test_two_runs_inside_agree_in_every_byte_but_the_times(tmp_path):
    one, two = outputs(tmp_path / "one", "train@sha256:1"), outputs(tmp_path / "two", "train@sha256:1", seconds="4 s")
    same, other = verify.compare(one, two, verify.identical)
    assert set(same) == set(one) and other == []


@pytest.mark.parametrize("name", ["run.json", "statistics.csv", "figure1.npz", "policies.safetensors", "good.h5", "figure1.png"])
def test_any_other_number_is_named(tmp_path, name):
    one, two = outputs(tmp_path / "one", "train@sha256:1"), outputs(tmp_path / "two", "train@sha256:1", value=0.5)
    assert name in verify.compare(one, two, verify.identical)[1]
    assert name in verify.compare(one, two, verify.content)[1]


def test_outside_of_the_images_stamps_are_left_aside(tmp_path):
    one, two = outputs(tmp_path / "one", "train@sha256:1"), outputs(tmp_path / "two", "uncontained")
    compared = [{name: path for name, path in each.items() if not verify.STAMPED.search(name)} for each in (one, two)]
    assert verify.compare(*compared, verify.identical)[0] == ["statistics.csv"]
    same, other = verify.compare(*compared, verify.content)
    assert other == [] and len(same) == 6


def test_an_output_that_is_there_once_differs(tmp_path):
    one, two = outputs(tmp_path / "one", "a"), outputs(tmp_path / "two", "a")
    del two["good.h5"]
    assert verify.compare(one, two, verify.identical)[1] == ["good.h5"]


def test_a_report_without_its_times(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("<p>none</p>")
    with pytest.raises(AssertionError, match="marks no times"):
        verify.identical(path)


@pytest.mark.parametrize("name", ["runs/good/a/timing.json", "benchmarks/train/x.tsv", "logs/a.log"])
def test_what_says_how_long_something_took(name):
    assert verify.TIMED.search(name)
    assert not verify.TIMED.search(name.replace("timing", "run").replace("benchmarks", "figures").replace("logs", "games"))
