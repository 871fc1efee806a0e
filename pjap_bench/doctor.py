"""What this machine has for the workflow, what will be used, what is missing and how to get it (`make doctor`)."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from typing import NamedTuple

from pjap_bench import containers
from pjap_bench.errors import BenchError


class Finding(NamedTuple):
    """One line of the answer: `state` is "ok", "missing" (something can be done) or "note"."""

    state: str
    topic: str
    words: str
    do: str = ""


def examine(mode: str, runtime: str, cuda: bool = False) -> list[Finding]:
    """Looks at the machine, its container runtimes, the pinned images and its GPUs; runs each image once.

    Args:
        mode, runtime: the settings `containers` and `runtime`.
        cuda: training is to use a GPU.
    """
    names = ["analysis", "train-cuda" if cuda else "train"]
    findings = [*_machine(), *_runtimes(runtime), *_images(runtime, names), *_building(), *_devices(cuda)]
    try:
        chosen, words = containers.choose(mode, runtime, names)
        if cuda and not chosen and (torch := importlib.metadata.version("torch")).endswith("+cpu"):
            findings.append(Finding("missing", "torch", f"{torch} in .venv uses no GPU", "make setup TORCH=cuda"))
        broken = [each for each in findings if each.topic == "image" and each.state == "missing"]
        if chosen and broken:
            findings.append(Finding("missing", "so", "the workflow would not start: see the images above"))
        else:
            findings.append(Finding("ok" if chosen or mode == "off" else "note", "so", words))
    except BenchError as error:
        findings.append(Finding("missing", "so", str(error)))
    return findings


def words(findings: list[Finding]) -> str:
    """The findings as lines of text."""
    signs = {"ok": "ok     ", "missing": "MISSING", "note": "note   "}
    lines = [f"{signs[each.state]}  {each.topic:<10} {each.words}" + (f" -> {each.do}" if each.do else "") for each in findings]
    return "\n".join(lines)


def _machine() -> list[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(containers.ROOT).free / 2**30
    cores = len(os.sched_getaffinity(0))
    python = f"Python {platform.python_version()} at {sys.executable}"
    size = f"{cores} cores, {memory:.0f} GiB of memory, {free:.0f} GiB of disk free"
    findings = [
        Finding("ok", "machine", f"{platform.system()} {platform.machine()}, {size}"),
        Finding("ok", "python", python),
    ]
    if free < 5:
        findings.append(Finding("note", "disk", "a run at the scale quick and both images take about 3 GiB"))
    if not os.access(containers.ROOT, os.W_OK):
        findings.append(Finding("missing", "folder", f"{containers.ROOT} cannot be written to", "work in a clone of your own"))
    stale = containers.ROOT / ".snakemake" / "locks"
    if stale.is_dir() and any(stale.iterdir()):
        findings.append(
            Finding(
                "note",
                "lock",
                "Snakemake holds a lock on this folder: it runs, or was killed",
                "snakemake --unlock if nothing runs",
            )
        )
    return findings


def _runtimes(wanted: str) -> list[Finding]:
    findings = []
    for name in containers.RUNTIMES:
        program = containers.find_runtime(name)
        if program:
            findings.append(Finding("ok", "runtime", f"{name}: {_version(program)} ({program})"))
        elif name == wanted:
            do = "make apptainer (Debian 12, as root), or install it" if name == "apptainer" else f"install {name}"
            findings.append(Finding("missing", "runtime", f"{name}: none", do))
    if os.geteuid() and not _user_namespaces():
        findings.append(
            Finding(
                "note",
                "namespaces",
                "users have no namespaces of their own, which apptainer without set-up by root needs",
                "as root: sysctl kernel.unprivileged_userns_clone=1",
            )
        )
    return findings


def _images(runtime: str, names: list[str]) -> list[Finding]:
    findings = []
    for name in names:
        try:
            entry = containers.locked()["images"].get(name)
            absent = containers.missing_images(runtime, [name])
            if not absent and containers.find_runtime(runtime):
                containers.verify(name, runtime)
        except BenchError as error:
            findings.append(Finding("missing", "image", str(error)))
            continue
        pin = f"{name}@sha256:{entry['sha256']}" if entry else name
        if absent:
            do = containers.to_build(runtime, [name]) if entry else f"make images IMAGES={name} PIN=yes"
            findings.append(Finding("missing", "image", f"{pin}: not here" if entry else f"{name}: not pinned", do))
        elif not containers.find_runtime(runtime):
            findings.append(Finding("note", "image", f"{pin}: here, and no {runtime} to run it"))
        else:
            findings.append(Finding("ok", "image", f"{pin} ({entry['bytes'] / 1e6:.0f} MB): here, unchanged, and runs"))
    return findings


def _building() -> list[Finding]:
    absent = [package for program, package in containers.BUILDERS.items() if not shutil.which(program)]
    if absent:
        return [Finding("note", "building", f"{' and '.join(absent)} are not here", f"apt-get install {' '.join(absent)}")]
    if not containers.may_unpack():
        do = "as root, or with kernel.unprivileged_userns_clone=1 and a line in /etc/subuid for this user"
        return [Finding("note", "building", "only root may unpack an image here", do)]
    return [Finding("ok", "building", "images can be built here")]


def _devices(cuda: bool) -> list[Finding]:
    program = shutil.which("nvidia-smi")
    if program:
        ran = subprocess.run([program, "--list-gpus"], capture_output=True, text=True, check=False)
        if ran.returncode == 0 and ran.stdout.strip():
            return [Finding("ok", "GPU", line.split(" (UUID")[0]) for line in ran.stdout.strip().splitlines()]
    state = "missing" if cuda else "note"
    return [Finding(state, "GPU", "none: training runs on the processor", "jobs={device: cpu}" if cuda else "")]


def _version(program: str) -> str:
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    lines = (ran.stdout or ran.stderr).strip().splitlines()
    return lines[0] if lines else f"says nothing (exit code {ran.returncode})"


def _user_namespaces() -> bool:
    unshare = shutil.which("unshare")
    return bool(unshare) and not subprocess.run([unshare, "--user", "true"], capture_output=True, check=False).returncode
