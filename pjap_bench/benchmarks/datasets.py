"""Datasets: collected from pinned policies and mixed, converted from a vault, on disk, read into the form in which they train."""

import functools
import multiprocessing
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tensorstore
import torch

from pjap_bench import config, files
from pjap_bench.benchmarks import table
from pjap_bench.datasets import cards, collection, hdf5, vault
from pjap_bench.datasets.description import TARGETS, compare
from pjap_bench.datasets.sequences import SequenceData

MIXTURE = "good_medium"

# Processes that are forked from one which has imported and done nothing else.
_CLEAN = multiprocessing.get_context("forkserver")


def measure(settings: dict, episodes: int | None = None) -> list[dict]:
    """Rows of `table.timed` and `table.row`.

    Args:
        settings: the whole configuration.
        episodes: of each policy; None for as many as the cards say.
    """
    _CLEAN.set_forkserver_preload([__name__])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {dataset: folder / f"{dataset}.h5" for dataset in ("poor", "medium", "good")}
        for dataset, path in parts.items():
            card = cards.load(dataset)
            each = episodes or card["episodes_per_policy"]
            work = f"{len(card['policies']) * each:,} episodes of {dataset}, two processes"
            collect = functools.partial(collection.collect, dataset, each, path, {}, processes=2)
            rows.append(table.timed("collect a dataset", work, collect, 1, None))
        mix = functools.partial(collection.mix, MIXTURE, parts, folder / f"{MIXTURE}.h5", {})
        rows.append(table.timed("mix a dataset", f"{MIXTURE}, from the files of its parts", mix, 1, None))
        rows.append(table.row("all four datasets", "the rows above", [sum(row["median"] for row in rows)], "s", at_most=120))
        for dataset, path in parts.items():
            compared = compare(hdf5.read(path).returns, cards.load(dataset)["published"])
            rows += [
                table.row(f"off the published {key}", f"returns of {dataset}", [100 * abs(off)], "%", at_most=100 * TARGETS[key])
                for key, off in compared["difference"].items()
            ]
        steps = hdf5.read(parts["good"]).transitions
        size = parts["good"].stat().st_size / steps  # bytes a step are MB a million
        rows.append(table.row("size of a file", "good, for 1,000,000 transitions", [size], "MB", at_most=92.4))  # 84 and 10 %

        card = {key: value for key, value in cards.load("og_marl_good").items() if key != "published"}
        write_vault(folder / "large.vlt" / card["uid"], hdf5.read(parts["good"]))
        converted = folder / "converted.h5"
        convert = functools.partial(vault.convert, card, folder, converted, {})
        rows.append(table.timed("convert a vault", f"{steps:,} transitions of good, unpacked", convert, 3, 60))

        plain = config.training_settings(settings, "good", "maddpg_cql")
        standardised = plain | {"standardise": True, "mask_unbounded": True}
        for path, what, chosen in (
            (parts["good"], "physics, the paper's settings", plain),
            (parts["good"], "physics, standardised and masked", standardised),
            (converted, "observations, the paper's settings", plain),
            (converted, "observations, standardised and masked", standardised),
        ):
            work = f"{steps:,} transitions of good, layout {what}"
            rows.append(table.timed("read into training form", work, functools.partial(_read, path, chosen), 3, 2))
            with ProcessPoolExecutor(1, mp_context=_CLEAN) as fresh:
                needed = fresh.submit(memory_of_reading, path, chosen).result()
            rows.append(table.row("most memory of reading, in sizes of the data read", work, [needed], "times", at_most=2))
    return rows


def write_vault(base: Path, dataset: hdf5.Dataset) -> None:
    """Writes a dataset as X.vlt/UID (`base`), with the chunks, the compression and the shapes of flashbax's vaults."""
    agents = dataset.actions.shape[1]
    ends = np.zeros((2, dataset.transitions), dtype=bool)  # terminals, truncations
    ends[np.where(dataset.terminated, 0, 1), dataset.offsets[1:] - 1] = True
    observations, states = dataset.observed()
    arrays = {"observations.": observations, "actions.": dataset.actions, "infos.state.": states}
    shared = {"rewards.": dataset.rewards, "terminals.": ends[0], "truncations.": ends[1]}
    arrays |= {name: np.repeat(values[:, None], agents, axis=1) for name, values in shared.items()}
    files.write_json(base / "metadata.json", {"version": 1.2})
    for name, values in arrays.items():
        steps = min(2**22 // values[:1].nbytes, len(values))
        _store(base, name, values[None], [1, steps, *values.shape[1:]])
    _store(base, "vault_index", np.array([dataset.transitions], dtype=np.int32), [1])


def memory_of_reading(path: Path, settings: dict) -> float:
    """What reading a file needs at most, over and above what this (fresh) process had, in sizes of the data that it gives."""
    before = _peak()
    data = _read(path, settings)
    return (_peak() - before) / sum(each.nbytes for each in vars(data).values() if isinstance(each, torch.Tensor))


def _read(path: Path, settings: dict) -> SequenceData:
    return SequenceData(hdf5.read(path), settings)


def _peak() -> int:
    """Bytes that this process had at most; `getrusage` would count those of the process that started it, too."""
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def _store(base: Path, name: str, values: np.ndarray, chunks: list[int]) -> None:
    metadata = {"shape": values.shape, "dtype": values.dtype.str, "chunks": chunks, "compressor": {"id": "gzip", "level": 5}}
    store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{base}/"}, "path": f"{name}/"}
    tensorstore.open({"driver": "zarr", "kvstore": store, "metadata": metadata}, create=True).result().write(values).result()
