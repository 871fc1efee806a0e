"""Datasets in memory and on disk: HDF5 files of whole episodes, one after another, of any lengths.

E episodes of lengths T_e, L = sum T_e steps, N agents, A numbers of an agent's action, O of its observation, S of the state:

    lengths    [E] int64        steps of each episode
    terminated [E] uint8        1 where the task ended the episode, 0 where time did
    actions    [L, N, A]        the joint actions
    rewards    [L]              one reward, shared by the agents
    seed       [E] int64        of the episode, -1 where it is not known
    policy     [E] int32        index into the attribute `policies`

and by the attribute `layout` either the physics, from which the environment derives what agents see,

    physics      [L + E, P]     the final state of each episode included

or what was seen, where the physics is not known (vaults, imports),

    observations [L, N, O]
    states       [L, S]

All numbers are float32. Built-in gzip, shuffle and fletcher32; the same content gives the same bytes. Beside NAME.h5 lies
NAME.json with its sha256, origin and statistics; a file is opened only if both agree.
"""

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from pjap_bench import files
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

FORMAT = "pjap_bench 2"
LAYOUTS = {"physics": ("physics",), "observations": ("observations", "states")}
CLIPPED = "clipped to [-1, 1]"
CORRECT = "correct the file, or use another"  # what to do about a file that is not ours to make anew

#: dtypes of what is known of each episode; all else is float32
OF_EPISODES = {"lengths": np.int64, "terminated": np.uint8, "seed": np.int64, "policy": np.int32}

_ROWS_PER_CHUNK = 10_000
_REMAKE = "delete it and its .json, then run the workflow again"


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset in memory, and what is known of it; the arrays are as in the file (see the module).

    Attributes:
        attributes: environment (a name in `environments`), dataset, origin, layout, actions (`CLIPPED` or "as stored"), noise,
            policies (names), policy_sha256, licence, seam (first episode of each part), random_return, dataset_return; of
            vaults and imports also tail (steps of the last episode where the recording stopped in it, else 0).
    """

    lengths: np.ndarray
    terminated: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    seed: np.ndarray
    policy: np.ndarray
    attributes: dict
    physics: np.ndarray | None = None
    observations: np.ndarray | None = None
    states: np.ndarray | None = None

    @property
    def layout(self) -> str:
        """'physics' or 'observations'."""
        return self.attributes["layout"]

    @property
    def transitions(self) -> int:
        """Steps in all episodes."""
        return len(self.rewards)

    @property
    def offsets(self) -> np.ndarray:
        """The first step of each episode, and L: [E + 1]."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each episode, summed in float64: [E]."""
        return np.add.reduceat(self.rewards, self.offsets[:-1], dtype=np.float64)

    def observed(self) -> tuple[np.ndarray, np.ndarray]:
        """What the agents and the centralised critic see at each step: [L, N, O] and [L, S], in either layout."""
        if self.layout == "observations":
            return self.observations, self.states
        environment = get_environment(self.attributes["environment"])
        before = self.physics[before_actions(self.lengths)]
        return environment.observations(before), environment.state(before)

    def as_observed(self) -> "Dataset":
        """The same in the layout "observations"."""
        observations, states = self.observed()
        attributes = self.attributes | {"layout": "observations"}
        return dataclasses.replace(self, physics=None, observations=observations, states=states, attributes=attributes)

    def episodes(self, chosen: np.ndarray) -> "Dataset":
        """Only these episodes (indices [K]), in the order given; `seam` becomes [0], `tail` 0 if a whole one is last."""
        steps = _rows(self.offsets[chosen], self.lengths[chosen])
        parts = {name: getattr(self, name)[chosen] for name in ("lengths", "terminated", "seed", "policy")}
        parts |= {name: getattr(self, name)[steps] for name in ("actions", "rewards")}
        if self.layout == "physics":
            starts = self.offsets[chosen] + np.asarray(chosen)  # a final state lies between two episodes
            parts["physics"] = self.physics[_rows(starts, self.lengths[chosen] + 1)]
        else:
            parts |= {name: getattr(self, name)[steps] for name in LAYOUTS["observations"]}
        attributes = self.attributes | {"seam": [0]}
        if "tail" in attributes and chosen[-1] != len(self.lengths) - 1:
            attributes["tail"] = 0
        return dataclasses.replace(self, **parts, attributes=attributes)


def before_actions(lengths: np.ndarray) -> np.ndarray:
    """The rows of the physics [L + E, P] in which the agents acted: [L]; the others are final states."""
    return np.arange(lengths.sum()) + np.repeat(np.arange(len(lengths)), lengths)


def concatenate(datasets: list[Dataset], attributes: dict) -> Dataset:
    """One dataset after another, with these attributes, and the policies of all; one that several parts have is there once.

    It is known by its name and sha256, without one by its place in a dataset.

    Raises:
        BenchError: parts of different layouts or environments.
    """
    for key in ("layout", "environment"):
        found = sorted({dataset.attributes[key] for dataset in datasets})
        if len(found) > 1:
            raise BenchError(f"parts differ in their {key}: {', '.join(found)}", where="mixture", do="mix datasets that agree")
    of_parts = []
    for dataset in datasets:
        pairs = zip(dataset.attributes["policies"], dataset.attributes["policy_sha256"], strict=True)
        name = dataset.attributes["dataset"]
        of_parts.append([(policy, digest, None if digest else (name, index)) for index, (policy, digest) in enumerate(pairs)])
    known = list(dict.fromkeys(itertools.chain(*of_parts)))
    attributes = attributes | {"policies": [key[0] for key in known], "policy_sha256": [key[1] for key in known]}
    names = ("lengths", "terminated", "actions", "rewards", "seed", *LAYOUTS[datasets[0].layout])
    arrays = {name: np.concatenate([getattr(dataset, name) for dataset in datasets]) for name in names}
    places = [np.array([known.index(key) for key in own], dtype=np.int32) for own in of_parts]
    arrays["policy"] = np.concatenate([place[dataset.policy] for place, dataset in zip(places, datasets, strict=True)])
    return Dataset(**arrays, attributes=attributes)


def write(path: str | Path, dataset: Dataset) -> None:
    """Writes a dataset, whole or not at all.

    Raises:
        BenchError: arrays that do not fit together or the environment (nothing is written then), or a disk that refuses.
    """
    _check(dataset, path, "correct what makes it")
    image = io.BytesIO()  # on a full disk HDF5's own writer can abort the process, so it writes to memory
    with h5py.File(image, "w") as file:
        for name in ("actions", "rewards", *LAYOUTS[dataset.layout]):
            values = np.asarray(getattr(dataset, name), dtype=np.float32)
            chunk = (min(_ROWS_PER_CHUNK, len(values)), *values.shape[1:])
            file.create_dataset(
                name, data=values, chunks=chunk, compression="gzip", compression_opts=1, shuffle=True, fletcher32=True
            )
        for name, kind in OF_EPISODES.items():
            file.create_dataset(name, data=np.asarray(getattr(dataset, name), dtype=kind))
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
    return read_unpinned(path, _REMAKE)


def read_unpinned(path: str | Path, do: str = CORRECT) -> Dataset:
    """Reads a file of this format that has no summary beside it, for instance a user's own; otherwise as `read`.

    Args:
        do: what the errors advise.
    """
    with opened(path, do) as file:
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
        if attributes.get("format") != FORMAT:
            raise BenchError(f"format is '{attributes.get('format')}', not '{FORMAT}'", where=path, do=do)
        wrong = [name for name in ("environment", "dataset", "layout") if not isinstance(attributes.get(name), str)]
        names = attributes.get("policies")
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            wrong.append("policies")
        if wrong or attributes["layout"] not in LAYOUTS:
            what = f"attributes {', '.join(wrong)} are missing or not text" if wrong else f"layout '{attributes['layout']}'"
            raise BenchError(what, where=path, do=do)
        arrays = {name: file[name][:] for name in (*OF_EPISODES, "actions", "rewards", *LAYOUTS[attributes["layout"]])}
        dataset = Dataset(**arrays, attributes=attributes)
        _check(dataset, path, do)
    return dataset


@contextlib.contextmanager
def opened(path: str | Path, do: str = CORRECT) -> Iterator[h5py.File]:
    """Opens an HDF5 file that is read in the block; whatever HDF5 and numpy raise at a damaged one is one clear error.

    Raises:
        BenchError: no HDF5 file or a damaged one, or one that refers to other files, which no hash of it would cover.
    """
    try:
        with h5py.File(path, "r") as file:
            links = []
            file.visititems_links(lambda name, link: links.append((name, link)))
            for name, link in links:
                if _is_elsewhere(file, name, link):
                    raise BenchError(f"key '{name}' lies in another file", where=path, do=do)
            yield file
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"not a readable HDF5 file ({error})", where=path, do=do) from error


def _is_elsewhere(file: h5py.File, name: str, link: object) -> bool:
    if not isinstance(link, h5py.HardLink):
        return isinstance(link, h5py.ExternalLink)
    found = file[name]
    return isinstance(found, h5py.Dataset) and bool(found.is_virtual or found.external)


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


def _check(dataset: Dataset, path: str | Path, do: str) -> None:
    environment = get_environment(dataset.attributes["environment"])
    episodes, steps = len(dataset.lengths), len(dataset.rewards)
    if episodes == 0:
        raise BenchError("no episodes", where=path, do=do)
    expected = {
        "lengths": (episodes,),
        "terminated": (episodes,),
        "seed": (episodes,),
        "policy": (episodes,),
        "actions": (steps, environment.agents, environment.action_size),
        "rewards": (steps,),
    }
    if dataset.layout == "physics":
        expected["physics"] = (steps + episodes, environment.physics_size)
    else:
        expected["observations"] = (steps, environment.agents, environment.observation_size)
        expected["states"] = (steps, environment.state_size)
    for name, shape in expected.items():
        values = np.asarray(getattr(dataset, name))
        if values.shape != shape:
            raise BenchError(f"{name} has shape {values.shape}, not {shape}", where=path, do=do)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BenchError(f"{name} holds values that are not finite", where=path, do=do)
    if not np.isin(dataset.terminated, (0, 1)).all():
        raise BenchError("terminated holds other values than 0 and 1", where=path, do=do)
    lengths = np.asarray(dataset.lengths)
    if lengths.min() < 1 or lengths.max() > environment.horizon or lengths.sum() != steps:
        what = f"episodes of {lengths.min()} to {lengths.max()} steps, {lengths.sum()} in all, do not fit {steps} steps"
        raise BenchError(f"{what} and a horizon of {environment.horizon}", where=path, do=do)
    if not 0 <= np.min(dataset.policy) <= np.max(dataset.policy) < len(dataset.attributes["policies"]):
        raise BenchError("a policy index without a name", where=path, do=do)
    if np.max(dataset.seed) > np.iinfo(np.int64).max:
        raise BenchError(f"a seed beyond {np.iinfo(np.int64).max}", where=path, do=do)
    if dataset.attributes.get("actions") == CLIPPED and np.abs(dataset.actions).max() > 1:
        raise BenchError(f"actions beyond 1, though they are said to be {CLIPPED}", where=path, do=do)


def _rows(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The rows start, start + 1, ... (`count` of them) of each start, one after another."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + within


def _plain(value):
    """An HDF5 attribute as plain Python."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
