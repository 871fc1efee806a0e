"""The images: their size, and what a step costs more inside than outside, where this machine has images and an apptainer."""

import os
import subprocess
import sys
import time

from pjap_bench import containers
from pjap_bench.benchmarks import table

SIZES = {"analysis": 250, "train": 650}  # MB asked for
STEP = {"analysis": "import matplotlib, numpy, pandas, scipy", "train": "import numpy, torch"}


def measure(settings: dict) -> list[dict]:
    """Two rows for each pinned image that is here: MB, and seconds more than outside; pairs of neighbours in time."""
    if containers.find_runtime("apptainer") is None:
        return []
    rows = []
    for name in [name for name in SIZES if not containers.missing_images("apptainer", [name])]:
        image = containers.ROOT / containers.file_of(name)
        rows.append(table.row("container, size", name, [image.stat().st_size / 1e6], "MB", at_most=SIZES[name]))
        inside = [str(containers.ADAPTER), "exec", "--home", str(containers.ROOT), str(image), "python", "-c", STEP[name]]
        pairs = [(_seconds(inside), _seconds([sys.executable, "-c", STEP[name]])) for _ in range(8)][1:]  # the first warms up
        rows.append(
            table.row("container, one step", f"{name}: {STEP[name]}", [one - other for one, other in pairs], "s", at_most=2)
        )
    return rows


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=os.environ | containers.environment_of("apptainer"), cwd=containers.ROOT, check=True)
    return time.perf_counter() - began
