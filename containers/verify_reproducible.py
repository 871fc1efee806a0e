"""Runs the scale smoke twice inside the pinned images and once outside of them, and compares every output.

Two runs inside must agree in every byte, but for what says how long something took: timing.json, benchmarks/, logs/, and the
part of report.html that quotes them. A run outside carries another stamp; of its outputs it is said which have the same content.
Exit code 1 where two runs inside differ.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from matplotlib.image import imread
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pjap_bench import containers, files
from pjap_bench.figures import style

FOLDER = Path("results/verify-reproducible")
TIMED = re.compile(r"(^|/)(benchmarks|logs|checkpoints)/|(^|/)timing\.json$")
STAMPED = re.compile(r"\.(pdf|html)$|^games/provenance\.json$")  # all through, or nothing else: not to be compared
QUOTED_TIMES = re.compile(r'<section id="timings">.*?</section>', re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=containers.RUNTIMES, default="apptainer")
    parser.add_argument("--without-native", action="store_true", help="leave out the run outside of the images")
    given = parser.parse_args()
    shutil.rmtree(containers.ROOT / FOLDER, ignore_errors=True)
    first = run("first", "on", given.runtime)
    second = run("second", "on", given.runtime)
    same, other = compare(first, second, identical)
    print(f"inside, twice: {len(same)} of {len(same) + len(other)} outputs have the same bytes")
    for name in other:
        print(f"  differs: {name}")
    report = {"inside": {"same": same, "other": other}}
    if not given.without_native:
        native = run("native", "off", given.runtime)
        pair = [{name: path for name, path in each.items() if not STAMPED.search(name)} for each in (first, native)]
        agree, differ = compare(*pair, content)
        print(f"inside and outside: {len(agree)} of {len(agree) + len(differ)} outputs have the same content, stamps aside")
        for name in differ:
            print(f"  differs: {name}")
        report["outside"] = {"same": agree, "other": differ}
    files.write_json(containers.ROOT / FOLDER / "comparison.json", report)
    return 1 if other else 0


def run(name: str, mode: str, runtime: str) -> dict[str, Path]:
    """One run of smoke in a fresh folder: its outputs by name, but for those that say how long something took."""
    results = FOLDER / name
    print(f"running smoke into {results} with containers={mode} ...", file=sys.stderr)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "all",
        "--quiet",
        "all",
        "--config",
        "scale=smoke",
        f"results={results}",
    ]
    ran = subprocess.run(
        [*command, f"containers={mode}", f"runtime={runtime}"],
        cwd=containers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        sys.exit(f"{ran.stdout[-3000:]}\nerror: the run into {results} failed")
    root = containers.ROOT / results / "smoke"
    found = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if not TIMED.search(name)}


def compare(one: dict[str, Path], two: dict[str, Path], digest) -> tuple[list[str], list[str]]:
    """Names of outputs that are the same by `digest`, and of those that are not or are there once."""
    same = [name for name in one if name in two and digest(one[name]) == digest(two[name])]
    return same, sorted((one.keys() | two.keys()) - set(same))


def identical(path: Path) -> str:
    """Every byte, but the times that the report quotes."""
    if path.name == "report.html":
        text, times = QUOTED_TIMES.subn("", path.read_text(encoding="utf-8"))
        assert times, f"{path} marks no times"
        return hashlib.sha256(text.encode()).hexdigest()
    return files.sha256(path)


def content(path: Path) -> str:
    """What an output holds without its stamp: numbers, text, pixels."""
    digest = hashlib.sha256()
    if path.suffix == ".json":
        digest.update(json.dumps(_unstamped(files.read_json(path)), sort_keys=True).encode())
    elif path.suffix == ".png":
        digest.update(imread(path)[: -style.FOOTER_PIXELS].tobytes())
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            for name in sorted(set(arrays.files) - {"stamp"}):
                digest.update(name.encode() + arrays[name].tobytes())
    elif path.suffix == ".safetensors":
        for name, tensor in sorted(load_file(path).items()):
            digest.update(name.encode() + tensor.tobytes())
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: digest.update(name.encode() + item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
            )
    else:
        return files.sha256(path)
    return digest.hexdigest()


def _unstamped(value):
    """Without what names where it was made, and without hashes of files that carry such names."""
    if isinstance(value, dict):
        return {
            key: _unstamped(inner)
            for key, inner in value.items()
            if key not in ("stamp", "sha256", "files", "datasets", "environments")
        }
    return [_unstamped(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
