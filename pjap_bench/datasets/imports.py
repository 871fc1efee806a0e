"""Imports: a user's HDF5 in our own format, D4RL-style flat files and Minari datasets, made into datasets of ours.

What a D4RL-style file holds, L steps in E episodes, one after another; an episode ends where `terminals` or `timeouts` say so:

    observations               [L, N, O] or [L, N * O]; or [L, S], of the single-agent task with the same physics
    actions                    [L, N, A] or [L, N * A]
    rewards                    [L], or [L, N] that are equal for all agents
    terminals, timeouts        [L], or [L, N] that are equal for all agents; 0 and 1
    states, or infos/state     [L, S]                                        (this and what follows may be missing)
    infos/qpos, infos/qvel     [L, positions], [L, velocities]: the physics before each step
    metadata/final_qpos, _qvel [E, ...]: the physics at the end of each episode
    metadata/offsets           [E]: the first step of each episode, where its end is not marked
    metadata/seed, policy      [E]: of each episode; `policy` is an index into the file's attribute `policies`

A Minari dataset holds the same by episodes of T steps: observations and infos [T + 1, ...], the rest [T, ...]. Its observations
may also be a Dict of agent_0, agent_1, ..., its actions as well.

What is stored then:
- with the physics and its final states, layout "physics"; with the physics alone, layout "observations", which the environment
  derives. The file's own observations must be those that the physics gives;
- else its observations and states. Where one of them is missing, its numbers are copied out of the other: the environment tells
  which number of the state an agent sees. A number that is nowhere to be found is an error;
- `next_observations` are not read; steps after the last end are an episode that was cut (attribute `tail`: its steps, else 0);
- an episode is terminated by the task where `terminals` say so at its last step, also where `timeouts` do.
"""

import dataclasses
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pjap_bench import config, files
from pjap_bench.datasets import cards, collection, fetch, hdf5
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

#: keys of what is known of a whole dataset, as an export writes it and an import looks for it
KNOWN = ("policies", "policy_sha256", "noise", "seam", "tail")

_ROWS = 65_536  # compared at once
_FLOATS, _WHOLE, _FLAGS = "f", "iu", "biuf"
_KINDS = {_FLOATS: "floating-point numbers", _WHOLE: "whole numbers", _FLAGS: "flags"}
_ENVIRONMENT = "correct the file, or the card's environment"


def import_dataset(card: dict, source: str | Path | None, output: str | Path, stamp: dict) -> None:
    """Imports what a card of the source `hdf5` or `minari` describes, and writes it with its summary.

    Args:
        source: the HDF5 file, or the folder of Minari datasets; None: the card's `file`, relative to the repository's root, or
            else Minari's own folder.

    Raises:
        BenchError: another source; as `from_hdf5` and `from_minari`; returns that differ from the card's `published` by more
            than its `tolerance`, if it has one.
    """
    if source is None and "file" in card:
        source = config.ROOT / card["file"]
    if card["source"] == "minari":
        dataset = from_minari(card, source)
    elif card["source"] == "hdf5" and source is not None:
        dataset = from_hdf5(card, source)
    else:
        what = f"a card of the source '{card['source']}' names no file to import"
        raise BenchError(what, where=card["id"], do="import cards of hdf5 (with a file) or minari")
    collection.finish(output, dataset, card, stamp, noise_floor=None)


def from_hdf5(card: dict, path: str | Path) -> hdf5.Dataset:
    """Reads an HDF5 file by its card: `format` (pjap_bench: our own, of either layout; d4rl), `environment`, `actions`.

    Raises:
        BenchError: another size or hash than the card's or the record of its download, a missing or empty or damaged array,
            another shape or dtype, episodes that overlap, have no ends or are longer than the horizon, agents that disagree,
            values that are not finite, actions outside [-1, 1] where the card refuses them, observations that are not those
            of the physics.
    """
    path = Path(path)
    _check_pinned(path, card)
    with hdf5.opened(path) as file:
        if card["format"] == "d4rl":
            return _dataset(_read_flat(file, path, card["environment"]), card, "hdf5")
        _check_own(file, path)
    dataset = hdf5.read_unpinned(path)
    _check_environment(dataset.attributes["environment"], card, path)
    described = _described(card, "hdf5", dataset.layout, dataset.attributes, dataset.lengths, path)
    kinds = dict.fromkeys(("actions", "rewards", *hdf5.LAYOUTS[dataset.layout]), np.float32) | hdf5.OF_EPISODES
    with np.errstate(over="ignore"):  # of float64 beyond float32, an error below
        arrays = {name: getattr(dataset, name).astype(kind, copy=False) for name, kind in kinds.items()}
    for name, values in arrays.items():
        _check_finite(values, name, path)
    arrays["actions"] = _within(arrays["actions"], card["actions"], path)
    return dataclasses.replace(dataset, **arrays, attributes=dataset.attributes | described)


def from_minari(card: dict, folder: str | Path | None = None) -> hdf5.Dataset:
    """Reads the Minari dataset `minari_id` of a card with Minari's own loader; nothing is ever downloaded.

    Args:
        folder: where Minari's datasets are; None: where Minari itself keeps them (MINARI_DATASETS_PATH, or in the home folder).

    Raises:
        BenchError: Minari is not installed, no such dataset, and as `from_hdf5`.
    """
    minari, name = require_minari(), card["minari_id"]
    data = (Path(folder) / name if folder else minari.storage.get_dataset_path(name)) / "data"
    if not data.is_dir():
        do = f"fetch it once with `minari download {name}`, or say where it is with MINARI_DATASETS_PATH or the card's 'file'"
        raise BenchError(f"no Minari dataset '{name}'", where=data.parent, do=do)
    metadata = _guarded(lambda: json.loads((data / "metadata.json").read_bytes()), data / "metadata.json")
    if not isinstance(metadata, dict) or not {"observation_space", "action_space"} <= set(metadata):
        # Minari would make the environment to learn them: a data file would then choose the code that runs.
        raise BenchError("the dataset does not state its spaces", where=data / "metadata.json", do=hdf5.CORRECT)
    known = metadata.get("pjap_bench") if isinstance(metadata.get("pjap_bench"), dict) else {}
    _check_environment(known.get("environment"), card, data)
    for path in data.glob("*.hdf5"):
        with hdf5.opened(path):
            pass  # Minari opens it by itself
    source = _guarded(lambda: minari.MinariDataset(data), data)
    return _dataset(_read_episodes(source, data, card["environment"], known), card, "minari")


def require_minari() -> Any:
    """The package `minari`, which only imports and exports of its format need.

    Raises:
        BenchError: it is not installed.
    """
    try:
        import minari
    except ImportError as error:
        raise BenchError(f"Minari cannot be used ({error})", do="install the Python package 'minari'") from error
    return minari


@dataclasses.dataclass
class _Found:
    """What a source holds, step after step; where something is not known, None."""

    where: Path
    lengths: np.ndarray  # [E]
    terminated: np.ndarray  # [E]
    observations: np.ndarray | None  # as in the source, [L, ...]; not kept where the physics gives them
    actions: np.ndarray  # as in the source, [L, ...]
    rewards: np.ndarray  # [L]
    states: np.ndarray | None  # [L, S]
    physics: np.ndarray | None  # [L + E, P], or [L, P] without the final states
    seed: np.ndarray | None  # [E]
    policy: np.ndarray | None  # [E]
    known: dict


def _dataset(found: _Found, card: dict, origin: str) -> hdf5.Dataset:
    """Brings what was found into the form of a dataset."""
    where, environment = found.where, get_environment(card["environment"])
    agents, episodes = environment.agents, len(found.lengths)
    for name in ("observations", "actions", "states", "physics"):
        _check_finite(getattr(found, name), name, where)
    if found.lengths.max() > environment.horizon:
        what = f"an episode of {found.lengths.max()} steps, but {card['environment']} ends after {environment.horizon}"
        raise BenchError(f"{what}: its ends are not marked", where=where, do=_ENVIRONMENT)
    layout = "observations"
    if found.physics is None:
        arrays = _seen(found, environment)
    elif len(found.physics) > len(found.rewards):
        layout, arrays = "physics", {"physics": found.physics}
    else:
        arrays = {"observations": environment.observations(found.physics), "states": environment.state(found.physics)}
    attributes = _described(card, origin, layout, found.known, found.lengths, where)
    known = found.policy is not None and "policies" in found.known
    if not known:
        attributes |= {"policies": ["unknown"], "policy_sha256": [""]}
    return hdf5.Dataset(
        lengths=found.lengths,
        terminated=found.terminated,
        actions=_within(_by_agent(found.actions, agents, environment.action_size, "actions", where), card["actions"], where),
        rewards=found.rewards,
        seed=np.full(episodes, -1) if found.seed is None else found.seed,
        policy=found.policy if known else np.zeros(episodes, dtype=np.int32),
        attributes=attributes,
        **arrays,
    )


def _described(card: dict, origin: str, layout: str, known: dict, lengths: np.ndarray, where: Path) -> dict:
    """The attributes of an import: the card's, and what its source knows of itself in the right form."""
    seam, tail, episodes = known.get("seam", [0]), known.get("tail", 0), len(lengths)
    rises = isinstance(seam, list) and all(isinstance(first, int) for first in seam) and sorted(set(seam)) == seam
    if not (rises and seam and seam[0] == 0 and seam[-1] < episodes):
        raise BenchError(f"seam {seam} does not rise from 0 to less than {episodes} episodes", where=where, do=hdf5.CORRECT)
    if tail not in (0, int(lengths[-1])):
        raise BenchError(f"tail {tail} is not the {lengths[-1]} steps of the last episode, nor 0", where=where, do=hdf5.CORRECT)
    policies = known.get("policies")
    if not (isinstance(policies, list) and policies and all(isinstance(name, str) for name in policies)):
        policies = ["unknown"]
    digests = known.get("policy_sha256")
    if not (isinstance(digests, list) and len(digests) == len(policies) and all(isinstance(digest, str) for digest in digests)):
        digests = [""] * len(policies)
    noise = known.get("noise")
    return {
        "environment": card["environment"],
        "dataset": card["id"],
        "origin": origin,
        "layout": layout,
        "actions": "as stored" if card["actions"] == "keep" else hdf5.CLIPPED,
        "noise": float(noise) if isinstance(noise, int | float) else math.nan,
        "policies": policies,
        "policy_sha256": digests,
        "licence": card["licence"],
        "seam": seam,
        "tail": tail,
        **cards.reference_returns(card),
    }


def _read_flat(file: h5py.File, where: Path, environment: str) -> _Found:
    """A D4RL-style file, each array in one pass."""
    attributes = {name: file.attrs[name] for name in ("environment", *KNOWN) if name in file.attrs}
    known = {name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value for name, value in attributes.items()}
    if known.get("environment", environment) != environment:
        raise BenchError(f"the file is of the environment {known['environment']}", where=where, do=_ENVIRONMENT)
    rewards = _shared(_array(file, "rewards", where), "rewards", where)
    steps = len(rewards)
    if not steps:
        raise BenchError("no steps", where=where, do=hdf5.CORRECT)
    terminals, timeouts = (
        _shared(_array(file, key, where, _FLAGS, rows=steps), key, where) == 1 for key in ("terminals", "timeouts")
    )
    offsets = _array(file, "metadata/offsets", where, _WHOLE, needed=False)
    lengths = _lengths(terminals | timeouts, offsets, where)
    last = np.cumsum(lengths) - 1
    if offsets is None and not (terminals | timeouts)[-1]:
        known["tail"] = int(lengths[-1])
    physics = _read_physics(file, lengths, environment, where)
    observations, states = _array(file, "observations", where, rows=steps), None
    if physics is None:
        states = _array(file, "states" if "states" in file else "infos/state", where, rows=steps, needed=False)
    else:
        rows = hdf5.before_actions(lengths) if len(physics) > steps else np.arange(steps)
        _check_seen(observations, physics, rows, get_environment(environment), where)
        observations = None
    return _Found(
        where=where,
        lengths=lengths,
        terminated=terminals[last],
        observations=observations,
        actions=_array(file, "actions", where, rows=steps),
        rewards=rewards,
        states=states,
        physics=physics,
        seed=_array(file, "metadata/seed", where, _WHOLE, rows=len(lengths), needed=False),
        policy=_array(file, "metadata/policy", where, _WHOLE, rows=len(lengths), needed=False),
        known=known,
    )


def _read_physics(file: h5py.File, lengths: np.ndarray, environment: str, where: Path) -> np.ndarray | None:
    """Positions and velocities side by side, the final states in their places if they are there."""
    if "infos/qpos" not in file or "infos/qvel" not in file:
        return None
    steps, episodes = lengths.sum(), len(lengths)
    final = "metadata/final_qpos" in file and "metadata/final_qvel" in file
    size = get_environment(environment).physics_size
    physics = np.empty((steps + episodes * final, size), dtype=np.float32)
    before = hdf5.before_actions(lengths) if final else slice(None)
    first = 0
    for name in ("qpos", "qvel"):
        values = _array(file, f"infos/{name}", where, rows=steps)
        last = first + math.prod(values.shape[1:])
        if values.ndim != 2 or last > size or (name == "qvel" and last != size):
            what = f"infos/{name} has shape {values.shape}; positions and velocities of {environment} are {size} numbers"
            raise BenchError(what, where=where, do=_ENVIRONMENT)
        physics[before, first:last] = values
        if final:
            ends = _array(file, f"metadata/final_{name}", where, rows=episodes)
            if ends.shape[1:] != values.shape[1:]:
                raise BenchError(
                    f"metadata/final_{name} has shape {ends.shape}, unlike infos/{name}", where=where, do=hdf5.CORRECT
                )
            physics[lengths.cumsum() + np.arange(episodes), first:last] = ends
        first = last
    return physics


def _read_episodes(source: Any, data: Path, environment: str, known: dict) -> _Found:
    """A Minari dataset, episode after episode."""
    parts, lengths, terminated = defaultdict(list), [], []
    sizes, loading = get_environment(environment), source.iterate_episodes()
    while (episode := _guarded(lambda: next(loading, None), data)) is not None:
        here = f"{data}, episode {episode.id}"
        steps = len(episode.rewards)
        if not steps:
            raise BenchError("no steps", where=here, do=hdf5.CORRECT)
        infos = episode.infos or {}
        fields = {
            "observations": (_stacked(episode.observations, sizes.agents, here), steps + 1, _FLOATS),
            "actions": (_stacked(episode.actions, sizes.agents, here), steps, _FLOATS),
            "rewards": (episode.rewards, steps, _FLOATS),
            "terminations": (episode.terminations, steps, _FLAGS),
            "truncations": (episode.truncations, steps, _FLAGS),
            **{f"infos/{name}": (infos[name], steps + 1, _FLOATS) for name in ("state", "qpos", "qvel") if name in infos},
        }
        found = {key: _checked(values, key, here, kinds, rows) for key, (values, rows, kinds) in fields.items()}
        ends = _shared(found.pop("terminations"), "terminations", here) == 1
        if ((_shared(found.pop("truncations"), "truncations", here) == 1) | ends)[:-1].any():
            raise BenchError("an end in the middle of the episode", where=here, do=hdf5.CORRECT)
        terminated.append(ends[-1])
        lengths.append(steps)
        if "infos/qpos" in found and "infos/qvel" in found:
            halves = (found.pop(key).reshape(steps + 1, -1) for key in ("infos/qpos", "infos/qvel"))
            physics = np.concatenate(list(halves), axis=1)
            if physics.shape[1] != sizes.physics_size:
                what = f"infos/qpos and infos/qvel have {physics.shape[1]} numbers, {environment} has {sizes.physics_size}"
                raise BenchError(what, where=here, do=_ENVIRONMENT)
            _check_seen(found.pop("observations"), physics, np.arange(steps + 1), sizes, here)
            found.pop("infos/state", None)
            parts["physics"].append(physics)
        for key, values in found.items():
            parts[key].append(values[:steps])
    if not lengths:
        raise BenchError("no episodes", where=data, do=hdf5.CORRECT)
    flat = {key: _joined(parts, key, len(lengths), data) for key in list(parts)}
    episodes = _guarded(lambda: list(source.storage.get_episode_metadata(range(len(lengths)))), data)
    policies = [each.get("policy") for each in episodes]
    return _Found(
        where=data,
        lengths=np.array(lengths),
        terminated=np.array(terminated),
        observations=flat.get("observations"),
        actions=flat["actions"],
        rewards=_shared(flat["rewards"], "rewards", data),
        states=flat.get("infos/state"),
        physics=flat.get("physics"),
        seed=np.array([each.get("seed", -1) for each in episodes]),
        policy=np.array(policies) if all(isinstance(policy, np.integer) for policy in policies) else None,
        known=known,
    )


def _guarded(read, where: Path) -> Any:
    """What Minari reads; whatever it raises on a damaged dataset (assertions, keys, values, HDF5's own) is one clear error."""
    try:
        return read()
    except Exception as error:
        raise BenchError(f"Minari cannot read this dataset ({error})", where=where, do=hdf5.CORRECT) from error


def _stacked(values: Any, agents: int, where: object) -> Any:
    """A Dict of agent_0, agent_1, ... as one array [T, N, ...]; an array as it is."""
    if not isinstance(values, dict):
        return values
    names = [f"agent_{agent}" for agent in range(agents)]
    if set(values) != set(names) or len({np.shape(values[name]) for name in names}) > 1:
        what = f"a Dict of {', '.join(sorted(values))}; needed are {', '.join(names)}, of equal shapes"
        raise BenchError(what, where=where, do=_ENVIRONMENT)
    return np.stack([values[name] for name in names], axis=1)


def _joined(parts: dict, key: str, episodes: int, where: Path) -> np.ndarray:
    """The episodes' arrays one after another; the parts are let go, so that no two copies of everything are in memory."""
    found = parts.pop(key)
    shapes = {values.shape[1:] for values in found}
    if len(found) < episodes or len(shapes) > 1:
        what = f"{key} is in {len(found)} of {episodes} episodes" if len(found) < episodes else f"{key} changes its shape"
        raise BenchError(what, where=where, do=hdf5.CORRECT)
    return np.concatenate(found)


def _array(
    file: h5py.File, key: str, where: Path, kinds: str = _FLOATS, rows: int | None = None, needed: bool = True
) -> np.ndarray | None:
    """One array, floating-point numbers as float32; None where it is missing and not needed."""
    if key not in file:
        if needed:
            there = ", ".join(sorted(file)) or "nothing"
            raise BenchError(f"key '{key}' is missing (there: {there})", where=where, do=hdf5.CORRECT)
        return None
    found = file[key]
    if not isinstance(found, h5py.Dataset) or not found.shape:
        raise BenchError(f"key '{key}' is not an array", where=where, do=hdf5.CORRECT)
    # float64 becomes float32 as it is read, so that no float64 copy is ever in memory
    values = found.astype(np.float32)[:] if kinds == _FLOATS and found.dtype.kind == "f" else found[:]
    return _checked(values, key, where, kinds, rows)


def _checked(values: Any, key: str, where: object, kinds: str, rows: int | None) -> np.ndarray:
    """An array of one of the kinds of numbers and of so many rows, floating-point numbers as float32."""
    dtype = getattr(values, "dtype", None)
    if dtype is None or dtype.kind not in kinds or not values.shape:
        what = f"{key} is of {f'dtype {dtype}' if dtype is not None else type(values).__name__}"
        raise BenchError(f"{what}, not an array of {_KINDS[kinds]}", where=where, do=hdf5.CORRECT)
    if rows is not None and len(values) != rows:
        raise BenchError(f"{key} has {len(values)} rows, not {rows}", where=where, do=hdf5.CORRECT)
    if kinds == _FLAGS and not np.isin(values, (0, 1)).all():
        raise BenchError(f"{key} holds other values than 0 and 1", where=where, do=hdf5.CORRECT)
    return values.astype(np.float32, copy=False) if kinds == _FLOATS else values


def _shared(values: np.ndarray, key: str, where: object) -> np.ndarray:
    """What the agents share: [L] of [L], [L, 1] or [L, N]."""
    _check_finite(values, key, where)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or not values.shape[1]:
        what = f"{key} has shape {values.shape}, not one number a step or one for each agent"
        raise BenchError(what, where=where, do=hdf5.CORRECT)
    differ = (values != values[:, :1]).any(axis=1)
    if differ.any():
        what = f"agents differ in '{key}' at {differ.sum()} of {len(values)} steps, first at step {differ.argmax()}"
        raise BenchError(what, where=where, do="use data in which the agents share rewards and ends")
    return np.ascontiguousarray(values[:, 0])


def _lengths(ends: np.ndarray, offsets: np.ndarray | None, where: Path) -> np.ndarray:
    """Steps of each episode, [E], from marked ends [L] or from the first step of each episode [E]."""
    steps = len(ends)
    if offsets is None:
        if not ends.any():
            raise BenchError("no ends: terminals and timeouts are 0 at every step", where=where, do="mark where episodes end")
        last = np.flatnonzero(ends)
        return np.diff(np.append(last, steps - 1) if last[-1] < steps - 1 else last, prepend=-1)
    starts = offsets.astype(np.int64)
    if starts.ndim != 1 or not len(starts) or starts[0] != 0 or starts[-1] >= steps or (np.diff(starts) < 1).any():
        what = f"metadata/offsets must rise from 0 to less than {steps}: the episodes overlap or are out of order"
        raise BenchError(what, where=where, do=hdf5.CORRECT)
    lengths = np.diff(starts, append=steps)
    within = np.setdiff1d(np.flatnonzero(ends), np.append(starts[1:], steps) - 1)
    if len(within):
        what = f"terminals or timeouts end an episode at step {within[0]}, metadata/offsets do not"
        raise BenchError(what, where=where, do=hdf5.CORRECT)
    return lengths


def _by_agent(values: np.ndarray, agents: int, size: int, key: str, where: Path) -> np.ndarray:
    """[L, N, size] of itself or of [L, N * size]."""
    if values.shape[1:] not in ((agents, size), (agents * size,)):
        what = f"{key} has shape {values.shape}, not ({len(values)}, {agents}, {size}) or ({len(values)}, {agents * size})"
        raise BenchError(what, where=where, do=_ENVIRONMENT)
    return values.reshape(-1, agents, size)


def _seen(found: _Found, environment: type) -> dict[str, np.ndarray]:
    """Observations [L, N, O] and states [L, S] of a source without physics, one copied out of the other where it is missing."""
    agents, size, width = environment.agents, environment.observation_size, environment.state_size
    states = found.states
    if states is not None and states.shape[1:] != (width,):
        raise BenchError(f"states have shape {states.shape}, not ({len(states)}, {width})", where=found.where, do=_ENVIRONMENT)
    if found.observations.shape[1:] == (width,) and width != agents * size:
        columns = _copied(environment.observations, environment.state, environment)
        if columns is None:
            what = f"observations have shape {found.observations.shape}: the state, in which not all is that the agents see"
            raise BenchError(what, where=found.where, do="store observations by agents, or infos/qpos and infos/qvel")
        return {"observations": found.observations[:, columns].reshape(-1, agents, size), "states": found.observations}
    observations = _by_agent(found.observations, agents, size, "observations", found.where)
    if states is None:
        columns = _copied(environment.state, environment.observations, environment)
        if columns is None:
            what = "states are missing, and the agents do not see all that the state holds"
            raise BenchError(what, where=found.where, do="add the key 'states' (in Minari: infos/state)")
        states = observations.reshape(len(observations), -1)[:, columns]
    return {"observations": observations, "states": states}


def _copied(wanted, given, environment: type) -> np.ndarray | None:
    """For each number of one view of the physics where the other view has the same number; None if one is not there.

    Two numbers are the same where they agree in 16 random states.
    """
    physics = np.random.default_rng(0).standard_normal((16, environment.physics_size))
    wanted, given = (view(physics).reshape(len(physics), -1) for view in (wanted, given))
    same = (wanted[:, :, None] == given[:, None, :]).all(axis=0)
    return same.argmax(axis=1) if same.any(axis=1).all() else None


def _check_seen(observations: np.ndarray, physics: np.ndarray, rows: np.ndarray, environment: type, where: object) -> None:
    """These rows of the physics must give the observations of the source, be they what the agents see or the state."""
    _check_finite(physics, "physics", where)
    _check_finite(observations, "observations", where)
    values = observations.reshape(len(observations), -1)
    agents_see = environment.agents * environment.observation_size
    views = {environment.state_size: environment.state, agents_see: environment.observations}
    view = views.get(values.shape[1])
    if view is None:
        what = f"observations have shape {observations.shape}: {values.shape[1]} numbers a step, not {agents_see}"
        raise BenchError(what, where=where, do=_ENVIRONMENT)
    for first in range(0, len(values), _ROWS):
        part = slice(first, first + _ROWS)
        given = view(physics[rows[part]]).reshape(-1, values.shape[1])
        wrong = ~np.isclose(values[part], given, rtol=1e-3, atol=1e-3).all(axis=1)
        if wrong.any():
            what = f"observations differ from what infos/qpos and infos/qvel give, first at step {first + wrong.argmax()}"
            raise BenchError(what, where=where, do="correct the card's environment, or remove infos/qpos and infos/qvel")


def _check_finite(values: np.ndarray | None, key: str, where: object) -> None:
    for first in range(0, 0 if values is None else len(values), _ROWS):
        part = values[first : first + _ROWS]
        bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if bad.any():
            what = f"{key} holds values that are not finite, first in row {first + bad.argmax()}"
            raise BenchError(what, where=where, do=hdf5.CORRECT)


def _within(actions: np.ndarray, policy: str, where: Path) -> np.ndarray:
    """Actions outside [-1, 1], by the card's policy: 'clip' (in place), 'keep' or 'refuse'."""
    if policy == "clip":
        return np.clip(actions, -1, 1, out=actions)
    if policy == "refuse" and (outside := np.abs(actions) > 1).any():
        what = f"{outside.sum()} of {actions.size} numbers of actions are outside [-1, 1], up to {np.abs(actions).max():.4g}"
        raise BenchError(what, where=where, do="say 'actions: clip' or 'actions: keep' in the card")
    return actions


def _check_pinned(path: Path, card: dict) -> None:
    """The size and hash that a card states, or for a download the record of the first one, are those of the file."""
    if "urls" in card:
        if not path.exists():
            raise BenchError("is not there", where=path, do="check the path, or fetch it first")
        return fetch.check(path, size=card.get("size"), sha256=card.get("sha256"))  # it may have been put there by hand
    if "size" in card and path.exists() and path.stat().st_size != card["size"]:
        raise BenchError(f"{path.stat().st_size} bytes, but the card says {card['size']}", where=path, do="use the pinned file")
    if "sha256" in card and (found := files.sha256(path)) != card["sha256"]:
        raise BenchError(f"sha256 is {found}, but the card says {card['sha256']}", where=path, do="use the pinned file")


def _check_environment(found: object, card: dict, where: Path) -> None:
    if found not in (None, card["environment"]):
        raise BenchError(f"the data is of the environment {found}, not {card['environment']}", where=where, do=_ENVIRONMENT)


def _check_own(file: h5py.File, where: Path) -> None:
    """The dtypes of a file in our own format, whose shapes and values `hdf5` checks."""
    kinds = {"lengths": _WHOLE, "terminated": _FLAGS, "seed": _WHOLE, "policy": _WHOLE}
    kinds |= dict.fromkeys(("actions", "rewards", "physics", "observations", "states"), _FLOATS)
    for key in kinds.keys() & file.keys():
        if isinstance(file[key], h5py.Dataset) and file[key].dtype.kind not in kinds[key]:
            raise BenchError(f"{key} is of dtype {file[key].dtype}, not {_KINDS[kinds[key]]}", where=where, do=hdf5.CORRECT)
