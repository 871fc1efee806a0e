"""Exports: a dataset of ours as a Minari dataset, or as a flat file with D4RL's keys; `imports` reads both back, bit for bit.

Neither format has agents of its own. Here, agents are an axis: a step's observations are [N, O], its actions [N, A], and
the reward is the one that the agents share. Seeds and policies are kept for each episode, and everything else that is
known of the dataset, its licence and its origin among it, in the metadata.

What neither format has to say of an episode's final state:
- from layout "physics" it is known, and exported (Minari: the last observation; D4RL: next_observations and metadata/final_*);
- from layout "observations" it is not. Minari wants an observation after the last step, and gets the last one again; its
  metadata says so (`final_observation`). D4RL's file then has no next_observations.
"""

import io
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pjap_bench import files
from pjap_bench.datasets import hdf5
from pjap_bench.datasets.imports import require_minari
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

_ROWS_PER_CHUNK = 10_000
_BYTES_OF_AN_EPISODE = 30_000  # that HDF5 adds to the numbers in Minari's file


def to_d4rl(path: str | Path, target: str | Path) -> None:
    """Writes a dataset as one flat HDF5 file with D4RL's keys, whole or not at all; L steps, E episodes, N agents.

        observations [L, N, O]   actions [L, N, A]   rewards [L]   terminals, timeouts [L] bool   states [L, S]
        metadata/seed, metadata/policy [E]

    and from layout "physics"

        next_observations [L, N, O]   infos/qpos, infos/qvel [L, P / 2]   metadata/final_qpos, metadata/final_qvel [E, P / 2]

    Readers of D4RL leave keys with 'metadata' in them alone, so what belongs to episodes is there.

    Raises:
        BenchError: a dataset that cannot be read, its own file or summary as target, or a disk that refuses.
    """
    dataset = hdf5.read(path)
    if Path(target).resolve() in (Path(path).resolve(), hdf5.summary_path(path).resolve()):
        raise BenchError("is the dataset itself", where=target, do="choose another file")
    image = io.BytesIO()  # on a full disk HDF5's own writer can abort the process, so it writes to memory
    with h5py.File(image, "w") as file:
        for key, values in _flat(dataset):
            shape = (min(_ROWS_PER_CHUNK, len(values)), *values.shape[1:])
            file.create_dataset(key, data=values, chunks=shape, compression="gzip", compression_opts=1, shuffle=True)
        for key, value in _provenance(path, dataset).items():
            file.attrs[key] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
    with files.written_beside(target) as temporary:
        temporary.write_bytes(image.getbuffer())


def to_minari(path: str | Path, folder: str | Path, minari_id: str | None = None) -> str:
    """Writes a dataset as a Minari dataset, whole or not at all, which `minari.load_dataset` reads.

    An episode of T steps: observations [T + 1, N, O], actions [T, N, A], rewards, terminations, truncations [T], and infos
    `state` [T + 1, S], from layout "physics" also `qpos` and `qvel` [T + 1, P / 2]. Both spaces are a Box of [N, ...];
    that of the actions is bounded by 1 where the data is. The reference returns are Minari's reference scores.

    Args:
        folder: where Minari's datasets are (MINARI_DATASETS_PATH).
        minari_id: its name there; None: pjap_bench/NAME-v0.

    Returns:
        the name.

    Raises:
        BenchError: a dataset that cannot be read, Minari is not installed, a name that is not Minari's or is taken, or a disk
            that is too full.
    """
    minari = require_minari()
    dataset = hdf5.read(path)
    minari_id = f"pjap_bench/{dataset.attributes['dataset']}-v0" if minari_id is None else minari_id
    try:
        minari.dataset.minari_dataset.parse_dataset_id(minari_id)
    except (ValueError, TypeError) as error:
        raise BenchError(f"'{minari_id}' is no name of a Minari dataset", where=path, do="use (namespace/)name-v0") from error
    target = Path(folder) / minari_id
    if target.exists():
        raise BenchError("exists already", where=target, do="delete it, or use another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.folder_beside(target) as temporary:
            _reserve(dataset, temporary)
            _write_minari(minari, dataset, minari_id, _provenance(path, dataset), temporary / "new" / "data")
            os.replace(temporary / "new", target)
    except (OSError, RuntimeError) as error:  # HDF5 has errors of both kinds for a disk that refuses
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"cannot be written ({reason})", where=target, do="free space or choose another folder") from error
    return minari_id


def _flat(dataset: hdf5.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """D4RL's keys, one after the other, so that only one derived array is in memory."""
    environment = get_environment(dataset.attributes["environment"])
    last = dataset.offsets[1:] - 1
    for key, of_episodes in (("terminals", dataset.terminated == 1), ("timeouts", dataset.terminated == 0)):
        flags = np.zeros(dataset.transitions, dtype=bool)
        flags[last] = of_episodes
        yield key, flags
    yield "actions", dataset.actions
    yield "rewards", dataset.rewards
    yield "metadata/seed", np.asarray(dataset.seed, dtype=np.int64)
    yield "metadata/policy", np.asarray(dataset.policy, dtype=np.int32)
    if dataset.layout == "observations":
        yield "observations", dataset.observations
        yield "states", dataset.states
        return
    before = hdf5.before_actions(dataset.lengths)
    yield "observations", environment.observations(dataset.physics[before])
    yield "next_observations", environment.observations(dataset.physics[before + 1])
    yield "states", environment.state(dataset.physics[before])
    ends = dataset.offsets[1:] + np.arange(len(dataset.lengths))
    for name, values in _positions_and_velocities(dataset.physics).items():
        yield f"infos/{name}", values[before]
        yield f"metadata/final_{name}", values[ends]


def _write_minari(minari: Any, dataset: hdf5.Dataset, minari_id: str, provenance: dict, data: Path) -> None:
    """Writes the folder `data` with Minari's own storage; its other ways of writing need JAX."""
    from gymnasium.spaces import Box

    environment = get_environment(dataset.attributes["environment"])
    bound = np.float32(1.0 if dataset.attributes["actions"] == hdf5.CLIPPED else np.inf)
    seen, done = (environment.agents, environment.observation_size), (environment.agents, environment.action_size)
    data.parent.mkdir()
    storage = minari.dataset.minari_storage.MinariStorage.new(
        data,
        observation_space=Box(-np.float32(np.inf), np.float32(np.inf), seen, np.float32),
        action_space=Box(-bound, bound, done, np.float32),
    )
    storage.update_episodes(_buffers(minari, dataset))
    storage.update_episode_metadata({"policy": policy} for policy in np.asarray(dataset.policy, dtype=np.int32))
    attributes = dataset.attributes
    whole = dataset.layout == "physics"
    storage.update_metadata(
        {
            "dataset_id": minari_id,
            "minari_version": minari.__version__,
            "description": f"{attributes['dataset']}: {environment.name}, its {environment.agents} agents as an axis",
            "algorithm_name": ", ".join(dict.fromkeys(attributes["policies"])),
            "ref_min_score": attributes["random_return"],
            "ref_max_score": attributes["dataset_return"],
            "final_observation": "recorded" if whole else "not known, the last one is repeated",
            "licence": attributes["licence"],
            "pjap_bench": provenance,
        }
    )


def _buffers(minari: Any, dataset: hdf5.Dataset) -> Iterator[Any]:
    """The episodes as Minari takes them."""
    environment = get_environment(dataset.attributes["environment"])
    for index, (first, last) in enumerate(itertools.pairwise(dataset.offsets)):
        steps = slice(first, last)
        if dataset.layout == "physics":
            physics = dataset.physics[first + index : last + index + 1]
            observations, states = environment.observations(physics), environment.state(physics)
            infos = {"state": states, **_positions_and_velocities(physics)}
        else:
            again = np.append(np.arange(first, last), last - 1)
            observations, infos = dataset.observations[again], {"state": dataset.states[again]}
        at_end = np.arange(first, last) == last - 1
        terminated, seed = bool(dataset.terminated[index]), int(dataset.seed[index])
        yield minari.data_collector.EpisodeBuffer(
            seed=seed if seed >= 0 else None,
            observations=observations,
            actions=dataset.actions[steps],
            rewards=dataset.rewards[steps],
            terminations=at_end & terminated,
            truncations=at_end & (not terminated),
            infos=infos,
        )


def _positions_and_velocities(physics: np.ndarray) -> dict[str, np.ndarray]:
    """The two halves of the physics [..., P]: the tasks here move by slides and hinges, with one velocity for each position."""
    half = physics.shape[-1] // 2
    return {"qpos": physics[..., :half], "qvel": physics[..., half:]}


def _provenance(path: str | Path, dataset: hdf5.Dataset) -> dict:
    """What is known of a dataset as plain data: its attributes, and its file's hash and stamp; numbers not known are left out."""
    summary = hdf5.read_summary(path)
    known = {key: value for key, value in dataset.attributes.items() if value == value}
    return known | {"source_sha256": summary["sha256"], "stamp": summary.get("stamp", {})}


def _reserve(dataset: hdf5.Dataset, folder: Path) -> None:
    """Takes the space that is needed, and gives it back: Minari writes with HDF5, which kills the process on a full disk.

    Raises:
        OSError: the disk refuses.
    """
    environment = get_environment(dataset.attributes["environment"])
    numbers = environment.agents * (environment.observation_size + environment.action_size) + environment.state_size + 2
    numbers += environment.physics_size * (dataset.layout == "physics")
    rows, episodes = dataset.transitions + len(dataset.lengths), len(dataset.lengths)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, int(1.25 * 4 * numbers * rows) + _BYTES_OF_AN_EPISODE * episodes)
