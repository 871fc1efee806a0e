"""The pinned images: which there are, whether this machine has them, and in which one this process runs.

`containers/images.yaml` says what they are made of, `containers/images.lock.yaml` what came out when they were built
(`containers/build.py`). A step that says in its outputs where it ran asks `here`.
"""

import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pjap_bench import files
from pjap_bench.errors import BenchError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "containers"
DEFINITIONS = FOLDER / "images.yaml"
LOCK = FOLDER / "images.lock.yaml"
BUILT = FOLDER / "images"

#: in every image: {"name": ..., "definition": ...}
MARKER = Path("/etc/pjap_bench-image.json")

#: set to 1 for the steps of a workflow that runs inside images (workflow/rules/common.smk)
PINNED = "PJAP_BENCH_PINNED"

#: container runtimes, by the name that the setting `runtime` has
RUNTIMES = ("apptainer", "podman", "docker")

#: what builds images: programs, and Debian's packages of them
BUILDERS = {"mmdebstrap": "mmdebstrap", "sqfstar": "squashfs-tools"}

#: what Snakemake calls `apptainer`: it adds our options, or speaks to podman or docker instead
ADAPTER = FOLDER / "runtime" / "apptainer"

#: where containers/get_apptainer.sh puts one
OWN_APPTAINER = FOLDER / "apptainer" / "usr" / "bin" / "apptainer"


def definition(name: str) -> str:
    """sha256 over all that an image is made from: its entry, what all images share, the locks of its Python packages."""
    everything = files.read_yaml(DEFINITIONS)
    if name not in everything["images"]:
        known = ", ".join(everything["images"])
        raise BenchError(f"no image is called '{name}'", where=DEFINITIONS, do=f"use one of: {known}")
    entry = everything["images"][name]
    digest = hashlib.sha256(json.dumps([everything["debian"], everything["python"], entry], sort_keys=True).encode())
    for lock in entry["python"]:
        digest.update((ROOT / lock).read_bytes())
    return digest.hexdigest()


def locked() -> dict[str, Any]:
    """`images.lock.yaml`: by name, each image's `definition`, `sha256` and `bytes`; and what it was built with.

    Raises:
        BenchError: no lock, or not one.
    """
    lock = files.read_yaml(LOCK)
    if not isinstance(lock, dict) or not isinstance(lock.get("images"), dict):
        raise BenchError("is not a lock of images", where=LOCK, do="restore it with `git checkout containers/images.lock.yaml`")
    return lock


def usual() -> list[str]:
    """The images that are meant where none is named: all that are not optional."""
    return [name for name, entry in files.read_yaml(DEFINITIONS)["images"].items() if not entry.get("optional")]


@functools.cache
def here() -> str | None:
    """The pinned image in which this process runs, as NAME@sha256:DIGEST of its squashfs; None outside of any.

    Raises:
        BenchError: the image is not the one that the lock names; or this step belongs into an image and is not in one.
    """
    if not MARKER.exists():
        if os.environ.get(PINNED):
            raise BenchError(
                "this step was to run inside its pinned image, and runs outside of any",
                where="containers",
                do="look at what runs the containers with `make doctor`, or set containers=off to do without",
            )
        return None
    marker = files.read_json(MARKER)
    image = locked()["images"].get(marker.get("name"))
    if image is None or image["definition"] != marker.get("definition"):
        raise BenchError(
            f"holds an image '{marker.get('name')}' that {LOCK.name} does not name",
            where=MARKER,
            do="build the images of this version with `make images`",
        )
    return f"{marker['name']}@sha256:{image['sha256']}"


def file_of(name: str) -> Path:
    """Where the squashfs of a pinned image lies on this machine, relative to the project's folder; its name has its digest.

    Relative, since Snakemake refuses an image below a folder whose name has a space.
    """
    image = locked()["images"].get(name)
    if image is None:
        raise BenchError(f"names no image '{name}'", where=LOCK, do="pin it: make images PIN=yes")
    return (BUILT / f"{name}-{image['sha256'][:12]}.squashfs").relative_to(ROOT)


def oci_file_of(name: str) -> Path:
    """Where the OCI archive of the same root file system lies, for podman and docker."""
    return file_of(name).with_suffix(".oci.tar")


def verify(name: str, runtime: str) -> None:
    """Checks that this machine has an image, for its kind of processor, with every byte as it was pinned, and can run it.

    podman and docker are given the image first, if they have it not.

    Raises:
        BenchError: missing, unreadable or other bytes; made from another definition; another architecture; the runtime does
            not run it (too old, broken, no user namespaces).
    """
    lock = locked()
    entry = lock["images"][name]
    if entry["definition"] != definition(name):
        raise BenchError(
            f"the image '{name}' was pinned from other locks or another {DEFINITIONS.name} than stand here",
            where=LOCK,
            do=f"pin it anew: {to_build('apptainer', [name])} PIN=yes",
        )
    if platform.machine() != lock["architecture"]:
        raise BenchError(
            f"the images are for {lock['architecture']}, this machine is {platform.machine()}",
            where=LOCK,
            do="do without: containers=off (make: CONTAINERS=off)",
        )
    path = ROOT / (file_of(name) if runtime == "apptainer" else oci_file_of(name))
    if not path.exists():
        raise BenchError("this image is pinned and not here", where=path, do=to_build(runtime, [name]))
    if runtime == "apptainer":
        found, pinned_as = files.sha256(path), entry["sha256"]
    else:
        found, pinned_as = _layer(name, runtime, path), entry["root"]
    if found != pinned_as:
        raise BenchError(
            f"its sha256 is {found}, not the pinned {pinned_as}: it was changed or is cut off",
            where=path,
            do=f"delete it and build it anew: {to_build(runtime, [name])}",
        )
    said = _run(
        [str(ADAPTER), "exec", "--home", str(ROOT), str(file_of(name)), "bash", "-c", f"cat {MARKER}"], runtime, f"run {path}"
    )
    if entry["definition"] not in said:
        raise BenchError(f"{runtime} ran something else: {said[:200]}", where=path, do=_WITHOUT)


def _layer(name: str, runtime: str, archive: Path) -> str:
    """sha256 of the only layer of an image in podman's or docker's store, which gets it from the archive if need be."""
    tag = f"localhost/pjap_bench/{name}:{locked()['images'][name]['sha256'][:12]}"
    inspect = [find_runtime(runtime), "image", "inspect", "--format", "{{json .RootFS.Layers}}", tag]
    if subprocess.run(inspect, capture_output=True, check=False).returncode:
        _run([find_runtime(runtime), "load", "--input", str(archive)], runtime, f"load {archive}")
    layers = json.loads(_run(inspect, runtime, f"find {tag}, which it has loaded,"))
    return " ".join(layer.removeprefix("sha256:") for layer in layers)


def environment_of(runtime: str) -> dict[str, str]:
    """What the adapter must be told of the runtime."""
    return {"PJAP_BENCH_RUNTIME": f"{runtime}:{find_runtime(runtime)}"}


def check_folder() -> None:
    """Raises BenchError where the working folder cannot be written to."""
    if not os.access(".", os.W_OK):
        raise BenchError("this folder cannot be written to", where=os.getcwd(), do="work in a clone of your own")


def decided(mode: str | bool, main: bool) -> str | bool:
    """The setting `containers`, in a job what the main process made of it: a machine without a runtime must not go on outside."""
    return mode if main else os.environ.get(_DECIDED, mode)


def hand_down(images: dict[str, str], runtime: str, folders: list[str], gpu: bool) -> None:
    """Tells this process's jobs, by the environment, what was decided, and Snakemake which program is `apptainer`.

    Args:
        images: what `choose` gave.
        folders: beyond the project's own, that steps read or write.
        gpu: steps use one.
    """
    os.environ[_DECIDED] = "on" if images else "off"
    if images:
        os.environ |= environment_of(runtime)
        os.environ |= {"PJAP_BENCH_BIND": ":".join(folders), "PJAP_BENCH_GPU": str(int(gpu))}
        # Snakemake calls what is first on PATH under that name.
        os.environ["PATH"] = f"{ADAPTER.parent}{os.pathsep}{os.environ['PATH']}"


_DECIDED = "PJAP_BENCH_CONTAINERS"


def _run(command: list[str], runtime: str, what: str) -> str:
    """What a command prints. Raises BenchError with what it says where it fails."""
    environment = os.environ | environment_of(runtime)
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{runtime} does not {what}: {error}", where="containers", do=_WITHOUT) from error
    if ran.returncode:
        said = " / ".join((ran.stderr or ran.stdout).strip().splitlines()[-3:])
        raise BenchError(f"{runtime} does not {what}: {said}", where="containers", do=_WITHOUT)
    return ran.stdout


_WITHOUT = "see `make doctor`, or do without: containers=off (make: CONTAINERS=off)"


def to_build(runtime: str, names: list[str]) -> str:
    """The command that builds these images: optional ones are built where they are named."""
    named = "" if set(names) <= set(usual()) else f" IMAGES={shlex.quote(' '.join(names))}"
    return "make images" + named + ("" if runtime == "apptainer" else f" RUNTIME={runtime}")


def may_unpack() -> bool:
    """Whether this user may unpack a root file system, as a build does."""
    return os.geteuid() == 0 or not subprocess.run(["unshare", "--map-auto", "--user", "true"], capture_output=True).returncode


def find_runtime(name: str) -> str | None:
    """The program of a container runtime: on PATH, or for apptainer what `make apptainer` unpacked; None without."""
    for program in ("apptainer", "singularity") if name == "apptainer" else (name,):
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            found = shutil.which(program, path=folder) if folder else None
            if found and not _same(found, ADAPTER):
                return found
    if name == "apptainer" and os.access(OWN_APPTAINER, os.X_OK):
        return str(OWN_APPTAINER)
    return None


def missing_images(runtime: str, names: list[str]) -> list[str]:
    """Of these images those that are not pinned, or not on this machine in the form that a runtime needs."""
    form = file_of if runtime == "apptainer" else oci_file_of
    return [name for name in names if name not in locked()["images"] or not (ROOT / form(name)).exists()]


def choose(mode: str | bool, runtime: str, names: list[str]) -> tuple[dict[str, str], str]:
    """The images in which steps are to run, and in words why these or none.

    Args:
        mode: "on" (an error without), "auto" (where runtime and images are there) or "off". YAML reads on and off as booleans.
        runtime: one of `RUNTIMES`.
        names: the images that the rules need.

    Returns:
        by name the path of each image, empty for none; a sentence.

    Raises:
        BenchError: mode "on" and something is missing. Whether an image is what was pinned, `verify` says.
    """
    mode = {True: "on", False: "off"}.get(mode, mode)
    if mode == "off":
        return {}, "containers=off: steps run outside of images, and outputs say 'uncontained'"
    if find_runtime(runtime) is None:
        missing = f"there is no {runtime} on this machine"
        do = "make apptainer (Debian 12, root), or install it" if runtime == "apptainer" else f"install {runtime}"
        others = [name for name in RUNTIMES if name != runtime and find_runtime(name)]
        do += "".join(f", or runtime={name} (make: RUNTIME={name}), which is here" for name in others)
    elif absent := missing_images(runtime, names):
        missing = f"these images are not on this machine: {', '.join(absent)}"
        do = to_build(runtime, absent)
    else:
        return {name: str(file_of(name)) for name in names}, f"steps run inside the pinned images, by {runtime}"
    if mode == "on":
        raise BenchError(missing, where="containers=on", do=f"{do}; or run without: containers=off")
    return {}, f"{missing} ({do}): steps run outside of images, and outputs say 'uncontained'"


def _same(path: str, other: Path) -> bool:
    return os.path.exists(path) and other.exists() and os.path.samefile(path, other)
