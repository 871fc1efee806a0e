"""Small datasets of noise, and the cards that go with them, for the tests of imports, exports and mixtures."""

from pathlib import Path

import numpy as np
import yaml

from pjap_bench import files
from pjap_bench.datasets import hdf5
from pjap_bench.environments import get

EQUAL, UNEQUAL = (6, 6, 6), (5, 1, 9, 3)
ENVIRONMENTS = ("two_agent_halfcheetah", "three_agent_hopper", "six_agent_halfcheetah")


def make(environment: str = ENVIRONMENTS[0], layout: str = "physics", lengths: tuple = UNEQUAL, seed: int = 0) -> hdf5.Dataset:
    """Noise by two 'policies', of which the episodes alternate; every other episode is terminated, one seed is not known."""
    sizes, random = get(environment), np.random.default_rng(seed)
    steps, episodes = sum(lengths), len(lengths)
    index = np.arange(episodes)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    if layout == "physics":
        arrays = {"physics": noise(steps + episodes, sizes.physics_size)}
    else:
        arrays = {
            "observations": noise(steps, sizes.agents, sizes.observation_size),
            "states": noise(steps, sizes.state_size),
        }
    return hdf5.Dataset(
        lengths=np.array(lengths),
        terminated=index % 2 == 1,
        actions=random.uniform(-1, 1, (steps, sizes.agents, sizes.action_size)).astype(np.float32),
        rewards=noise(steps),
        seed=np.where(index == 1, -1, index + 100 * seed),
        policy=(index % 2).astype(np.int32),
        attributes={
            "environment": environment,
            "dataset": "toy",
            "origin": "generated",
            "layout": layout,
            "actions": hdf5.CLIPPED,
            "noise": 0.2,
            "policies": ["first", "second"],
            "policy_sha256": ["1" * 64, "2" * 64],
            "licence": "CC-BY-4.0",
            "seam": [0, 1],
            "tail": lengths[-1],
            "random_return": -1.0,
            "dataset_return": 3.0,
        },
        **arrays,
    )


def write(path: Path, dataset: hdf5.Dataset, noise_floor: float | None = 0.1) -> Path:
    """The dataset as a file with its summary."""
    hdf5.write(path, dataset)
    summary = {"sha256": files.sha256(path), "stamp": {"code": "abc"}, "noise_floor": noise_floor}
    files.write_json(hdf5.summary_path(path), summary)
    return path


def card(name: str, environment: str = ENVIRONMENTS[0], **more: object) -> dict:
    """A card with everything but its source."""
    return {
        "id": name,
        "title": name,
        "environment": environment,
        "description": "Noise.",
        "licence": "CC-BY-4.0",
        "citation": "none",
        "random_return": -1.0,
        **more,
    }


def generated(name: str, environment: str = ENVIRONMENTS[0], means: tuple = (10.0, 20.0)) -> dict:
    """The card of a dataset collected from policies 'first' and 'second'."""
    policies = [
        {"name": policy, "file": "none", "sha256": "0" * 64, "level": mean, "seed": 0, "updates": 1, "mean_return": mean}
        | {"sd_return": 1.0, "upright": 1.0}
        for policy, mean in zip(("first", "second"), means, strict=True)
    ]
    return card(name, environment, source="generated", noise=0.2, seed=0, episodes_per_policy=2, policies=policies)


def write_card(folder: Path, content: dict) -> None:
    """The card as a file."""
    (folder / f"{content['id']}.yaml").write_text(yaml.safe_dump(content))


def assert_equal(found: hdf5.Dataset, expected: hdf5.Dataset) -> None:
    """The same arrays, bit for bit, and the same attributes but for `dataset` and `origin`, which an import states anew."""
    for name in ("lengths", "terminated", "seed", "policy", "actions", "rewards", *hdf5.LAYOUTS[expected.layout]):
        values = getattr(found, name)
        assert np.array_equal(values, getattr(expected, name)), name
        assert values.dtype == np.float32 or name in ("lengths", "terminated", "seed", "policy")
    for key in set(expected.attributes) - {"dataset", "origin", "format"}:
        assert found.attributes[key] == expected.attributes[key], key
