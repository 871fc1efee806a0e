"""The workflow and its images: nothing runs outside of them in silence."""

import re
import shutil
from pathlib import Path

import pytest

from pjap_bench import config, containers, files
from tests.workflow.test_workflow import copy_tree, snakemake, with_images

DATASET = "results/smoke/datasets/good.json"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("workflow") / "été à la plage")


def test_images_that_are_asked_for_and_not_there(tree):
    done = snakemake(tree, DATASET, "--config", "scale=smoke", "containers=on")
    assert done.returncode != 0
    assert "What to do: make" in done.stdout + done.stderr
    assert not (tree / DATASET).exists()


def test_an_image_that_is_not_the_pinned_one(tree, tmp_path):
    with_images(tree, tmp_path)
    done = snakemake(tree, DATASET, "--config", "scale=smoke", "containers=on", path=tmp_path)
    shutil.rmtree(tree / "containers" / "images")
    assert done.returncode != 0
    assert "changed or is cut off" in done.stdout + done.stderr
    assert not (tree / DATASET).exists()


def test_snakemake_that_was_not_told_to_use_containers(tree, tmp_path):
    """Snakemake itself ignores the images then and says nothing."""
    with_images(tree, tmp_path)
    arguments = ("--cores", "1", "--workflow-profile", "none", "--config", "scale=smoke", "containers=auto")
    done = snakemake(tree, DATASET, *arguments, path=tmp_path)
    assert done.returncode != 0
    assert "Snakemake was not told to use the images" in done.stdout + done.stderr
    # Even without the hook that says so, the step itself looks.
    done = snakemake(tree, DATASET, "--no-hooks", *arguments, path=tmp_path)
    shutil.rmtree(tree / "containers" / "images")
    assert done.returncode != 0
    assert "was to run inside its pinned image" in done.stdout + done.stderr
    assert not (tree / DATASET).exists()


def test_a_runtime_that_runs_things_outside(tree, tmp_path):
    """A job runs what the runtime runs; should that be the machine itself, the step looks."""
    with_images(tree, tmp_path, answer='while [[ $1 != bash ]]; do shift; done; "$@"')
    done = snakemake(tree, DATASET, "--no-hooks", "--config", "scale=smoke", "containers=on", path=tmp_path)
    shutil.rmtree(tree / "containers" / "images")
    assert done.returncode != 0
    log = (tree / "results/smoke/logs/collect_dataset/good.log").read_text()
    assert "runs outside of any" in log + done.stdout + done.stderr


def planned(tree, profile, *options, **told):
    """What a dry run says, with every job's resources and command."""
    settings = ("--config", "scale=smoke", "containers=off", "results=none", *(f"{key}={value}" for key, value in told.items()))
    done = snakemake(tree, "-n", "-p", "--workflow-profile", f"profiles/{profile}", *options, *settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    train = done.stdout.split("rule train:")[1]
    assert "runtime=1440" in train and "mem_mb=4000" in train
    return done.stdout


def test_a_slurm_cluster_can_be_planned(tree):
    """The executor itself is what `make test-slurm` runs."""
    assert "gpu" not in planned(tree, "slurm")
    assert "gpu=1" in planned(tree, "slurm", jobs="{device: cuda}")


def test_a_kubernetes_cluster_can_be_planned(tree):
    """Steps see of the results what storage gives them, and keep checkpoints on the volume; `make test-kubernetes` runs it."""
    options = ("--container-image", "none", "--default-storage-prefix", str(tree))
    said = planned(tree, "kubernetes", *options).replace(str(tree), "TREE")
    commands = re.findall(r"^Shell command: (.*)$", said, re.MULTILINE)
    assert len(commands) > 20
    for command in commands:
        places = set(re.findall(r"[^ '\"]*none/smoke", command))
        assert places <= {".snakemake/storage/fsTREE/none/smoke", "TREE/none/smoke"}, command
        assert command.count("TREE/none/smoke/checkpoints") == ("pjap_bench train " in command), command


RUN = "smoke/runs/good/behaviour_cloning/seeds-0-1/run.json"


@pytest.fixture(scope="module")
def tree_with_images(tree) -> Path:
    (tree / "containers" / "images").symlink_to(containers.BUILT)
    if containers.OWN_APPTAINER.exists():
        (tree / "containers" / "apptainer").symlink_to(containers.FOLDER / "apptainer")
    return tree


@pytest.mark.usefixtures("real")
def test_steps_inside_their_images(tree_with_images):
    tree = tree_with_images
    done = snakemake(tree, f"results/{RUN}", "--config", "scale=smoke", "containers=on")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    stamp = files.read_json(tree / "results" / RUN)["stamp"]
    assert stamp["image"] == f"train@sha256:{containers.locked()['images']['train']['sha256']}"
    assert not [path for path in (tree / "results").rglob("*") if path.owner() != config.ROOT.owner()]


@pytest.mark.usefixtures("real", "real_podman")
def test_podman_gives_the_same_bytes(tree_with_images):
    """Into a folder outside of the project's, which steps must be given."""
    tree = tree_with_images
    elsewhere = tree.parent / "else where"
    settings = ("--config", "scale=smoke", "containers=on", "runtime=podman", f"results={elsewhere}")
    done = snakemake(tree, str(elsewhere / RUN), *settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for name in ("policies.safetensors", "evaluations.csv", "metrics.csv", "run.json"):
        path = Path(RUN).with_name(name)
        assert (elsewhere / path).read_bytes() == (tree / "results" / path).read_bytes()
