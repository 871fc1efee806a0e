"""Writes the vaults of this folder with flashbax itself; README.md says how to run it and with which versions it was run.

python write_vaults.py              the archives that the tests read, and their sha256 in archives.json
python write_vaults.py --large DIR  a vault of 1,000,000 steps (1000 episodes), to measure the conversion with
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import tempfile
import zipfile
from pathlib import Path

import content
import flashbax
import jax
import numpy as np
from flashbax.vault import Vault

FOLDER = Path(__file__).resolve().parent
ARCHIVES = {"tiny.zip": ("Good", "Poor"), "odd.zip": ("Wide", "Empty")}


def write_vault(folder: Path, uid: str, experience: dict, batch: int = 1, piece: int = 50) -> None:
    """Sends `experience` ([T, ...] each) through a flat buffer into FOLDER/tiny.vlt/UID, `piece` steps at a time."""
    step = jax.tree.map(lambda values: values[0], experience)
    buffer = flashbax.make_flat_buffer(
        max_length=batch * 2 * piece, min_length=1, sample_batch_size=1, add_sequences=True, add_batch_size=batch
    )
    state = buffer.init(step)
    vault = Vault("tiny.vlt", state.experience, rel_dir=os.path.relpath(folder), vault_uid=uid, metadata={"note": "a test"})
    add = jax.jit(buffer.add)
    steps = len(experience["rewards"]) if uid != "Empty" else 0
    for first in range(0, steps, piece):
        part = jax.tree.map(lambda values: np.repeat(values[None, first : first + piece], batch, axis=0), experience)  # noqa: B023
        state = add(state, part)
        vault.write(state)


def write_archive(path: Path, folder: Path) -> None:
    """Zips a folder: names sorted, no dates, so that only the content counts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(file.relative_to(folder).as_posix()), file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def write_small() -> None:
    hashes = {}
    for name, uids in ARCHIVES.items():
        with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
            for uid in uids:
                experience = content.experience(uid if uid != "Empty" else "Wide")
                write_vault(Path(temporary), uid, experience, batch=5 if uid == "Wide" else 1)
            write_archive(FOLDER / name, Path(temporary))
        hashes[name] = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    versions = {package: importlib.metadata.version(package) for package in ("flashbax", "jax", "tensorstore", "numpy")}
    (FOLDER / "archives.json").write_text(json.dumps({"sha256": hashes, "written_with": versions}, indent=2) + "\n")


def write_large(folder: Path, episodes: int = 1000, horizon: int = 1000) -> None:
    random = np.random.default_rng(0)
    steps = episodes * horizon
    ends = np.zeros((steps, 2), dtype=bool)
    ends[horizon - 1 :: horizon] = True
    experience = {
        "observations": random.standard_normal((steps, 2, 13), dtype=np.float32),
        "actions": random.uniform(-1, 1, (steps, 2, 3)).astype(np.float32),
        "rewards": np.repeat(random.standard_normal((steps, 1), dtype=np.float32), 2, axis=1),
        "terminals": ends,
        "truncations": np.zeros_like(ends),
        "infos": {"state": random.standard_normal((steps, 17), dtype=np.float32)},
    }
    write_vault(folder, "Large", experience, piece=20_000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", type=Path)
    given = parser.parse_args()
    if given.large:
        write_large(given.large)
    else:
        write_small()
