"""HDF5 files of whole episodes: physics state, joint actions, rewards; observations are views of the physics.

    physics  [episodes, horizon + 1, physics] float32, the final state included
    actions  [episodes, horizon, agents * action] float32
    rewards  [episodes, horizon] float32, shared by the agents
    seed     [episodes] int64, policy [episodes] int32 (index into the attribute `policies`)

Built-in gzip, shuffle and fletcher32; the same content gives the same bytes. Beside NAME.h5 lies NAME.json with its
sha256, origin and statistics; a file is opened only if both agree.
"""

import io
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pjap_bench import files
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

FORMAT = "pjap_bench physics 1"
_EPISODES_PER_CHUNK = 10
_REMAKE = "delete it and its .json, then run the workflow again"


class Dataset(NamedTuple):
    """A dataset in memory, and what is known of it."""

    physics: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    seed: np.ndarray
    policy: np.ndarray
    attributes: dict

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, summed in float64."""
        return self.rewards.sum(axis=1, dtype=np.float64)

    @property
    def transitions(self) -> int:
        """Steps in all episodes."""
        return self.rewards.size


def write(path: str | Path, dataset: Dataset) -> None:
    """Writes a dataset, whole or not at all."""
    episodes = len(dataset.rewards)
    image = io.BytesIO()  # on a full disk HDF5's own writer can abort the process, so it writes to memory
    with h5py.File(image, "w") as file:
        for name in ("physics", "actions", "rewards"):
            values = np.asarray(getattr(dataset, name), dtype=np.float32)
            chunk = (min(_EPISODES_PER_CHUNK, episodes), *values.shape[1:])
            file.create_dataset(
                name, data=values, chunks=chunk, compression="gzip", compression_opts=1, shuffle=True, fletcher32=True
            )
        file.create_dataset("seed", data=np.asarray(dataset.seed, dtype=np.int64))
        file.create_dataset("policy", data=np.asarray(dataset.policy, dtype=np.int32))
        file.attrs["format"] = FORMAT
        for name, value in sorted(dataset.attributes.items()):
            file.attrs[name] = value
    with files.written_beside(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def read(path: str | Path) -> Dataset:
    """Reads a dataset and checks it: the hash beside it, the layout, the shapes, finite numbers.

    Raises:
        BenchError: missing, truncated, corrupted, another hash, another layout, not finite.
    """
    path = Path(path)
    summary = read_summary(path)
    found = files.sha256(path)
    if found != summary["sha256"]:
        raise BenchError(
            f"sha256 is {found}, but {summary_path(path).name} says {summary['sha256']}: changed or truncated",
            where=path,
            do=_REMAKE,
        )
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            arrays = {name: file[name][:] for name in ("physics", "actions", "rewards", "seed", "policy")}
    except (OSError, KeyError) as error:
        raise BenchError(f"not a readable dataset ({error})", where=path, do=_REMAKE) from error
    if attributes.get("format") != FORMAT:
        raise BenchError(f"format is '{attributes.get('format')}', not '{FORMAT}'", where=path, do=_REMAKE)
    missing = {"environment", "dataset", "policies"} - set(attributes)
    if missing:
        raise BenchError(f"attributes {', '.join(sorted(missing))} are missing", where=path, do=_REMAKE)
    environment = get_environment(attributes["environment"])
    episodes = len(arrays["rewards"])
    expected = {
        "physics": (episodes, environment.horizon + 1, environment.physics_size),
        "actions": (episodes, environment.horizon, environment.agents * environment.action_size),
        "rewards": (episodes, environment.horizon),
        "seed": (episodes,),
        "policy": (episodes,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise BenchError(f"{name} has shape {arrays[name].shape}, not {shape}", where=path, do=_REMAKE)
        if not np.isfinite(arrays[name]).all():
            raise BenchError(f"{name} holds values that are not finite", where=path, do=_REMAKE)
    if episodes == 0 or not 0 <= arrays["policy"].min() <= arrays["policy"].max() < len(attributes["policies"]):
        raise BenchError("no episodes, or a policy index without a name", where=path, do=_REMAKE)
    return Dataset(**arrays, attributes=attributes)


def summary_path(path: str | Path) -> Path:
    """The .json beside a dataset."""
    return Path(path).with_suffix(".json")


def read_summary(path: str | Path) -> dict:
    """What the .json beside a dataset says: sha256, origin, statistics.

    Raises:
        BenchError: missing or not a dataset's summary.
    """
    summary = files.read_json(summary_path(path))
    if not (isinstance(summary, dict) and isinstance(summary.get("sha256"), str)):
        raise BenchError("not the summary of a dataset", where=summary_path(path), do=_REMAKE)
    return summary


def _plain(value):
    """An HDF5 attribute as plain Python."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
