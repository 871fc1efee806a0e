"""Reads flashbax vaults, the format of OG-MARL's published datasets, with tensorstore alone, and writes them in ours.

X.vlt/UID holds metadata.json and zarr arrays inside an OCDBT store (manifest.ocdbt, d/). For 2halfcheetah, T steps, N agents:

    observations. [1, T, N, O]   actions. [1, T, N, A]   rewards., terminals., truncations. [1, T, N]   infos.state. [1, T, S]

The arrays claim 10^13 steps; `vault_index` says how many are there. Reading past it gives zeros, reading all kills the process.

What a vault leaves open is decided here:
- an episode ends where `terminals` or `truncations` say so, for all agents at once; after the last end the recording
  stopped, and what is left over is an episode that was cut there (attribute `tail` holds its steps);
- an episode counts as terminated by the task if its last step is a terminal, no truncation, and comes before the
  environment's horizon: old environments mark the time limit as a terminal, too;
- agents must have equal rewards, since the datasets and the learners have one team reward.
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import tensorstore

from pjap_bench import files
from pjap_bench.datasets import cards, collection, fetch, hdf5
from pjap_bench.environments import get as get_environment
from pjap_bench.errors import BenchError

ORIGIN = "og_marl_vault"

_STEPS_AT_ONCE = 100_000  # about 20 MB of 2halfcheetah; whole chunks of the store, which are somewhat smaller
_AGAIN = "delete it, fetch and unpack the archive again, or tell its publisher"


def convert_archive(name: str, archive: str | Path, output: str | Path, stamp: dict) -> None:
    """Converts one uid of a fetched archive: checked, unpacked beside `output` and removed afterwards; otherwise as `convert`."""
    card, output = cards.load(name, ORIGIN), Path(output)
    try:
        fetch.check(archive, size=card.get("size"), sha256=card.get("sha256"))  # it may have been put there by hand
        output.parent.mkdir(parents=True, exist_ok=True)
        with files.folder_beside(output) as temporary:
            vaults = fetch.unpack(archive, temporary / "vaults", only=f"*.vlt/{card['uid']}/*")
            convert(card, vaults, output, stamp)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchError(f"cannot be written ({reason})", where=output, do="free space, then run again") from error


def convert(card: dict, folder: str | Path, output: str | Path, stamp: dict) -> None:
    """Writes the vault of a card (`uid`, in the one X.vlt inside `folder` that has it) as our HDF5 with its summary.

    Raises:
        BenchError: as `read_vault`; returns that differ from the card's `published` by more than its `tolerance`.
    """
    folder = Path(folder)
    found = sorted(path for path in folder.glob(f"**/*.vlt/{card['uid']}") if path.is_dir())
    if len(found) != 1:
        there = ", ".join(sorted(str(path.parent.relative_to(folder)) for path in folder.glob("**/*.vlt/*/metadata.json")))
        what = f"{len(found)} vaults with the uid '{card['uid']}' instead of one (there: {there or 'no vault'})"
        raise BenchError(what, where=folder, do="correct the card's uid, or use another archive")
    dataset = read_vault(found[0].parent, card["uid"], card["environment"], actions=card["actions"])
    attributes = dataset.attributes | {"dataset": card["id"], "licence": card["licence"], **cards.reference_returns(card)}
    collection.finish(Path(output), dataclasses.replace(dataset, attributes=attributes), card, stamp, noise_floor=None)


def read_vault(folder: str | Path, uid: str, environment: str, *, actions: str) -> hdf5.Dataset:
    """Reads one uid of a vault as a dataset of layout "observations" (shapes: see `hdf5`).

    Args:
        folder: X.vlt.
        uid: the folder inside, for instance "Good".
        environment: name of ours, whose sizes the arrays must have.
        actions: what to do with actions outside [-1, 1]: "clip", "keep" or "refuse".

    Raises:
        BenchError: no such vault or uid, another version, no steps, a missing or damaged array, another shape or dtype, a
            leading axis that is not 1, values that are not finite, agents that disagree, an episode longer than the horizon,
            steps of zeros only (not written), actions outside [-1, 1] where they are refused.
    """
    base = Path(folder).absolute() / uid  # the store takes absolute paths only
    _check_version(base)
    sizes = get_environment(environment)
    steps = _length(base)
    agents = (sizes.agents,)
    observations = _read(base, "observations", steps, (*agents, sizes.observation_size))
    states = _read(base, "infos.state", steps, (sizes.state_size,))
    acted = _read(base, "actions", steps, (*agents, sizes.action_size))
    rewards = _shared(base, "rewards", _read(base, "rewards", steps, agents))
    terminals, truncations = (
        _shared(base, name, _read(base, name, steps, agents, flags=True)) for name in ("terminals", "truncations")
    )
    ends = np.flatnonzero(terminals | truncations)
    tail = steps - (ends[-1] + 1 if len(ends) else 0)
    last = np.append(ends, steps - 1) if tail else ends
    lengths = np.diff(last, prepend=-1)
    if lengths.max() > sizes.horizon:
        what = f"an episode of {lengths.max()} steps, but {environment} ends after {sizes.horizon}: its ends are not marked"
        raise BenchError(what, where=base, do="use another vault, or correct the card's environment")
    return hdf5.Dataset(
        lengths=lengths,
        terminated=terminals[last] & ~truncations[last] & (lengths < sizes.horizon),
        actions=_within(base, acted, actions),
        rewards=rewards,
        seed=np.full(len(lengths), -1),
        policy=np.zeros(len(lengths), dtype=np.int32),
        observations=observations,
        states=states,
        attributes={
            "environment": environment,
            "dataset": f"{Path(folder).stem} {uid}",
            "origin": ORIGIN,
            "layout": "observations",
            "actions": "as stored" if actions == "keep" else hdf5.CLIPPED,
            "noise": math.nan,
            "policies": ["unknown"],
            "policy_sha256": [""],
            "seam": [0],
            "tail": int(tail),
        },
    )


def _check_version(base: Path) -> None:
    """Versions 1.0 to 1.x name their arrays alike and differ in the part of metadata.json that is not needed here."""
    if not base.is_dir():
        uids = ", ".join(sorted(path.parent.name for path in base.parent.glob("*/metadata.json")))
        raise BenchError(f"no uid '{base.name}' (there: {uids or 'no vault'})", where=base.parent, do="correct the uid")
    metadata = files.read_json(base / "metadata.json")
    version = metadata.get("version") if isinstance(metadata, dict) else None
    if isinstance(version, bool) or not isinstance(version, int | float) or not 1 <= version < 2:
        what = f"flashbax vault of version {json.dumps(version)}; versions 1.0 to 1.x can be read"
        raise BenchError(what, where=base / "metadata.json", do="write the vault anew with a flashbax of version 0.1 or later")


def _open(base: Path, name: str) -> tensorstore.TensorStore:
    store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{base}/"}, "path": f"{name}/"}
    try:
        return tensorstore.open({"driver": "zarr", "kvstore": store}, open=True, read=True).result()
    except (ValueError, OSError, RuntimeError) as error:
        if "does not exist" in str(error):
            raise BenchError(f"array '{name}' is missing", where=base, do=_AGAIN) from error
        raise _unreadable(base, name, error) from error


def _unreadable(base: Path, name: str, error: Exception) -> BenchError:
    reason = str(error).partition(" [tensorstore_spec")[0].partition(" [source locations")[0]
    return BenchError(f"array '{name}' cannot be read ({reason})", where=base, do=_AGAIN)


def _length(base: Path) -> int:
    """How many steps were written."""
    store = _open(base, "vault_index")
    if store.shape != (1,) or store.dtype.numpy_dtype.kind != "i":
        raise BenchError(f"vault_index is {store.dtype.name} {store.shape}, not one whole number", where=base, do=_AGAIN)
    try:
        steps = int(store.read().result()[0])
    except (ValueError, OSError, RuntimeError) as error:
        raise _unreadable(base, "vault_index", error) from error
    if steps < 1:
        raise BenchError(f"the vault is empty ({steps} steps)", where=base, do=_AGAIN)
    return steps


def _read(base: Path, field: str, steps: int, shape: tuple[int, ...], flags: bool = False) -> np.ndarray:
    """One field, [steps, *shape], float32 or (flags) bool; read and checked in slices of whole chunks."""
    name = f"{field}."
    store = _open(base, name)
    if store.shape[2:] != shape:
        what = f"array '{name}' has {store.shape[2:]} numbers a step, not {shape}"
        raise BenchError(what, where=base, do="correct the card's environment, or use another vault")
    if store.shape[0] != 1:
        what = f"array '{name}' has a leading axis of {store.shape[0]}: so many recordings side by side, not one"
        raise BenchError(what, where=base, do="write the vault anew with one recording (add_batch_size=1)")
    if store.shape[1] < steps:
        raise BenchError(f"array '{name}' has {store.shape[1]} steps, but vault_index says {steps}", where=base, do=_AGAIN)
    kinds = "biuf" if flags else "f"
    if store.dtype.numpy_dtype.kind not in kinds:
        what = f"array '{name}' is of {store.dtype.name}, not {'bool' if flags else 'float32'}"
        raise BenchError(what, where=base, do=_AGAIN)
    chunk = store.chunk_layout.read_chunk.shape[1]
    stride = chunk * max(1, _STEPS_AT_ONCE // chunk)
    try:
        values = np.empty((steps, *shape), dtype=bool if flags else np.float32)
    except MemoryError as error:
        raise BenchError(f"array '{name}': no memory for {steps} steps", where=base, do="use a larger machine") from error
    for first in range(0, steps, stride):
        try:
            part = store[0, first : min(first + stride, steps)].read().result()
        except (ValueError, OSError, RuntimeError) as error:
            raise _unreadable(base, name, error) from error
        if flags:
            if not np.isin(part, (0, 1)).all():
                raise BenchError(f"array '{name}' holds other values than 0 and 1", where=base, do=_AGAIN)
        elif not (finite := np.isfinite(part)).all():
            step = first + int(np.argmin(finite.reshape(len(part), -1).all(axis=1)))
            raise BenchError(f"array '{name}' holds values that are not finite, first at step {step}", where=base, do=_AGAIN)
        elif field == "observations" and not (written := part.any(axis=(1, 2))).all():
            step = first + int(np.argmin(written))
            what = f"step {step} of {steps} holds nothing but zeros in '{name}': it was never written"
            raise BenchError(what, where=base, do=_AGAIN)
        values[first : first + len(part)] = part
    return values


def _shared(base: Path, field: str, values: np.ndarray) -> np.ndarray:
    """The column that all agents share: [T, N] to [T]."""
    differ = (values != values[:, :1]).any(axis=1)
    if differ.any():
        what = f"agents differ in '{field}' at {differ.sum()} of {len(values)} steps, first at step {differ.argmax()}"
        raise BenchError(what, where=base, do="use a vault in which the agents share rewards and ends")
    return np.ascontiguousarray(values[:, 0])


def _within(base: Path, actions: np.ndarray, policy: str) -> np.ndarray:
    outside = np.abs(actions) > 1
    if policy == "clip":
        return np.clip(actions, -1, 1)
    if policy == "refuse" and outside.any():
        what = f"{outside.sum()} of {actions.size} numbers of actions are outside [-1, 1], up to {np.abs(actions).max():.4g}"
        raise BenchError(what, where=base, do="say 'actions: clip' or 'actions: keep' in the card")
    return actions
