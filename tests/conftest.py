"""What the tests share: small datasets made of noise, and the settings of a small learner."""

import json
import os

import numpy as np
import pytest
import torch

from pjap_bench import config, containers, files
from pjap_bench.datasets import hdf5

#: set in continuous integration: missing images fail there and skip elsewhere
IMAGES_REQUIRED = "PJAP_BENCH_NEEDS_IMAGES"

LABEL = {"scale": "smoke", "regime": "a test"}


@pytest.fixture(scope="session", params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request) -> torch.device:
    """Every device that there is: what takes it is tested on a GPU too (`-k cuda` there)."""
    return torch.device(request.param)


@pytest.fixture(params=["cuda"])
def gpu(request) -> torch.device:
    """For what says nothing on a CPU."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    return torch.device(request.param)


@pytest.fixture
def settings() -> dict:
    """Training settings of the smoke scale's PJAP arm: complete, tiny."""
    return config.training_settings(config.load("smoke"), "good", "maddpg_cql_pjap")


@pytest.fixture
def small(settings) -> dict:
    """The same, small enough for a reference with loops."""
    return settings | {"batch": 3, "sequence": 4, "ood_actions": 2, "critic_width": 7, "policy_width": 5}


@pytest.fixture
def double_precision():
    """New tensors are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def noise_dataset() -> hdf5.Dataset:
    """Three episodes of pure noise by two 'policies': for shapes and algebra, not for learning."""
    random = np.random.default_rng(0)
    episodes, steps = 3, 3000
    return hdf5.Dataset(
        lengths=np.full(episodes, 1000),
        terminated=np.zeros(episodes, dtype=bool),
        physics=random.standard_normal((steps + episodes, 18)).astype(np.float32),
        actions=random.uniform(-1, 1, (steps, 2, 3)).astype(np.float32),
        rewards=random.standard_normal(steps).astype(np.float32),
        seed=np.arange(episodes),
        policy=np.array([0, 0, 1]),
        attributes={
            "environment": "two_agent_halfcheetah",
            "dataset": "noise",
            "layout": "physics",
            "policies": ["first", "second"],
        },
    )


@pytest.fixture
def noise_file(tmp_path, noise_dataset):
    """The same as a file with its summary."""
    path = tmp_path / "noise.h5"
    hdf5.write(path, noise_dataset)
    files.write_json(hdf5.summary_path(path), {"sha256": files.sha256(path)})
    return path


@pytest.fixture
def label() -> str:
    """The --label of a command."""
    return json.dumps(LABEL)


@pytest.fixture(scope="session")
def real() -> None:
    """The pinned images and an apptainer, where this machine has them."""
    _need("apptainer")


@pytest.fixture(scope="session")
def real_podman(tmp_path_factory):
    """The same with podman, told what it may ask of a small virtual machine."""
    _need("podman")
    settings = tmp_path_factory.mktemp("podman") / "containers.conf"
    limits = '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
    settings.write_text(f'{limits}[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(settings))
        yield


def _need(runtime: str) -> None:
    missing = f"no {runtime}" if containers.find_runtime(runtime) is None else None
    if absent := containers.missing_images(runtime, ["analysis", "train"]):
        missing = f"no images {absent} for {runtime} ({containers.to_build(runtime, absent)})"
    if missing:
        if os.environ.get(IMAGES_REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
