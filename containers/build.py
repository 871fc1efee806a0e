"""Builds the images of images.yaml from Debian's and Python's package registries, bit for bit as images.lock.yaml has them.

    python containers/build.py                  all images that are not optional
    python containers/build.py train --pin      writes the lock anew
    python containers/build.py --if-needed auto --runtime apptainer    what `make reproduce` does beforehand

From one root file system (a tar) come a squashfs, which apptainer runs, and with --oci an OCI archive for podman and docker.
Needs mmdebstrap and squashfs-tools; works as root and where users may have namespaces of their own.
"""

import argparse
import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pjap_bench import containers, files
from pjap_bench.errors import BenchError

WHEELS = containers.FOLDER / "wheels"
TORCH_INDEX = os.environ.get("TORCH_INDEX") or "https://download.pytorch.org/whl/cpu"
SITE = "usr/local/lib/python3.11/dist-packages"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", help="names in images.yaml; default: all that are not optional")
    parser.add_argument("--pin", action="store_true", help="write images.lock.yaml anew instead of comparing with it")
    parser.add_argument("--oci", action="store_true", help="OCI archives too, for podman and docker")
    parser.add_argument("--if-needed", choices=("auto", "on", "off"), help="build only what steps would run in and is not here")
    parser.add_argument("--runtime", choices=containers.RUNTIMES, default="apptainer", help="for --if-needed")
    parser.add_argument("--fill", nargs=2, metavar=("ROOT", "IMAGE"), help=argparse.SUPPRESS)  # what mmdebstrap's hook calls
    given = parser.parse_args()
    try:
        if given.fill:
            fill(Path(given.fill[0]), given.fill[1])
        elif given.if_needed:
            build_if_needed(given.if_needed, given.runtime)
        else:
            build_all(given.images or containers.usual(), given.pin, given.oci)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build_if_needed(mode: str, runtime: str) -> None:
    """Builds the pinned images that are not here, where a runtime could run them.

    In mode `auto` a machine that cannot build goes without, and the workflow says so.
    """
    if mode == "off" or containers.find_runtime(runtime) is None:
        return
    missing = containers.missing_images(runtime, containers.usual())
    if not missing or (mode == "auto" and (_missing_tools() or not containers.may_unpack())):
        return
    print(f"images: building {' and '.join(missing)} once, some minutes (CONTAINERS=off does without) ...", file=sys.stderr)
    build_all(missing, pin=False, oci=runtime != "apptainer")


def build_all(names: list[str], pin: bool, oci: bool) -> None:
    """Builds images under their final names, or says what came out otherwise than it was pinned.

    Raises:
        BenchError: an unknown image, a tool or package that is not to be had, or other bytes than pinned.
    """
    for name in names:
        containers.definition(name)
    if missing := _missing_tools():
        packages = " ".join(sorted(set(missing)))
        raise BenchError(f"needs {packages}", where="images", do=f"apt-get install {packages}")
    if not containers.may_unpack():
        raise BenchError(
            "only root may unpack a root file system here: users have no namespaces of their own",
            where="images",
            do="run it as root, or have kernel.unprivileged_userns_clone=1 and a line in /etc/subuid for this user",
        )
    with _one_at_a_time():
        lock = _new_lock() if pin or not containers.LOCK.exists() else containers.locked()
        for name in names:
            built = build(name, lock, pin, oci)
            if pin:
                _pin(name, built, lock)
                files.write_text(containers.LOCK, _LOCK_HEADER + yaml.safe_dump(lock, sort_keys=False, width=120))


def _pin(name: str, built: dict[str, Any], lock: dict[str, Any]) -> None:
    """Puts an image into the lock. The Debian packages are one list for all images, and an image's own list of what it adds."""
    debian = built.pop("debian")
    if not _image(name).get("debian"):
        lock["debian"] = debian
    elif added := dict(debian["packages"].items() - lock["debian"].get("packages", {}).items()):
        built["debian"] = dict(sorted(added.items()))
    lock["images"][name] = built


def _image(name: str) -> dict[str, Any]:
    """An image's entry in images.yaml."""
    return files.read_yaml(containers.DEFINITIONS)["images"][name]


_LOCK_HEADER = """\
# What came out when the images of images.yaml were built: sha256 of each squashfs and of the root file system in it (a tar), and
# what that depends on beyond the locks of Python packages. Written by `make images PIN=yes`, compared by `make images`.
"""


def build(name: str, lock: dict[str, Any], pin: bool, oci: bool) -> dict[str, Any]:
    """Builds one image.

    Returns:
        its entry in the lock, with `debian`: the release and the packages it holds.
    """
    began = time.monotonic()
    entry = lock["images"].get(name)
    print(f"images: {name} ...", file=sys.stderr)
    fetch_wheels(name)
    containers.BUILT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=containers.BUILT) as folder:
        work = Path(folder)
        debian = unpack(name, work)
        tar, packed = work / "root.tar", work / "root.squashfs"
        epoch = str(files.read_yaml(containers.DEFINITIONS)["debian"]["date"])
        with open(tar, "rb") as root:
            _run(
                ["sqfstar", "-comp", "zstd", "-root-mode", "755", "-no-progress", "-quiet", str(packed)],
                stdin=root,
                env=os.environ | {"SOURCE_DATE_EPOCH": epoch},
            )
        digest = files.sha256(packed)
        final = containers.BUILT / f"{name}-{digest[:12]}.squashfs"
        built = {
            "definition": containers.definition(name),
            "sha256": digest,
            "root": files.sha256(tar),
            "bytes": packed.stat().st_size,
            "debian": debian,
        }
        if not pin:
            _compare(name, built, entry, lock)
        if oci:
            archive = work / "oci.tar"
            write_oci(tar, archive, f"{name}:{digest[:12]}", int(epoch))
            os.replace(archive, final.with_suffix(".oci.tar"))
        os.replace(packed, final)
    megabytes = built["bytes"] / 1e6
    print(f"images: {final.name}: {megabytes:.0f} MB, {time.monotonic() - began:.0f} s, sha256:{digest}", file=sys.stderr)
    return built


def fetch_wheels(name: str) -> None:
    """Downloads the wheels that an image's locks name into containers/wheels; pip checks every hash, also of what is there."""
    for lock in _image(name)["python"]:
        wheels = _wheels(lock)
        wheels.mkdir(parents=True, exist_ok=True)
        download = [*_PIP, "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        download += _from_source(name)
        download += ["--dest", str(wheels), "--find-links", str(wheels), "-r", str(containers.ROOT / lock)]
        if not lock.endswith("torch-cpu.txt"):
            _run(download, do="look at what pip says: it needs a package index that answers")
            continue
        # As in workflow/environment/set_up.sh: a folder that pip is set to may have torch's CPU build, else PyTorch's own index.
        if subprocess.run([*download, "--no-index"], capture_output=True, check=False).returncode:
            _run([*download, "--index-url", TORCH_INDEX], do=f"needs {TORCH_INDEX}, or a mirror: TORCH_INDEX=https://...")


def _from_source(name: str) -> list[str]:
    """pip's options for packages that are built, with the setuptools that build.txt locks for .venv."""
    packages = _image(name).get("from_source", [])
    return ["--no-build-isolation", "--no-binary", ",".join(packages)] if packages else []


def _wheels(lock: str) -> Path:
    """Where the wheels of a lock are kept: torch's build for a CPU apart, which pip would take for the one for CUDA."""
    return WHEELS / "torch-cpu" if lock.endswith("torch-cpu.txt") else WHEELS


_PIP = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check"]


def unpack(name: str, work: Path) -> dict[str, Any]:
    """Makes `work`/root.tar, the root file system.

    Returns:
        the Debian release it came from and every package with its version.
    """
    debian = files.read_yaml(containers.DEFINITIONS)["debian"]
    fill_in = f'"$PYTHON" "$BUILD" --fill "$1" {name}'
    command = ["mmdebstrap", "--quiet", "--variant=essential", "--format=tar", "--skip=output/dev"]
    command += [f"--include={','.join([*debian['packages'], *_image(name).get('debian', [])])}"]
    command += ['--aptopt=Acquire::Retries "3"', *(f"--dpkgopt=path-exclude={pattern}" for pattern in debian["without"])]
    command += [f"--customize-hook={fill_in}", debian["suite"], str(work / "root.tar")]
    command += [f"deb [signed-by={_KEYRING}] {_mirror()} {debian['suite']} {' '.join(debian['components'])}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {
        "SOURCE_DATE_EPOCH": str(debian["date"]), "TMPDIR": str(work), "LC_ALL": "C.UTF-8",
        "PYTHON": sys.executable, "BUILD": str(Path(__file__).resolve()), "FACTS": str(work / "facts.json"),
    }  # fmt: skip
    _run(command, env=environment, do="look at what mmdebstrap says: it needs a Debian mirror that answers")
    # No device nodes, which users could not unpack; runtimes mount the machine's own over an empty folder.
    (work / "dev").mkdir(mode=0o755)
    owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=755", f"--mtime=@{debian['date']}"]
    _run(["tar", "--append", *owner, "--file", str(work / "root.tar"), "--directory", str(work), "./dev"])
    return files.read_json(work / "facts.json")


_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def _mirror() -> str:
    """The Debian mirror that this machine's own apt is set to."""
    try:
        said = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)"], capture_output=True, text=True
        )
    except FileNotFoundError:
        said = None
    for line in said.stdout.splitlines() if said else []:
        address, _, of = line.partition(" ")
        if of.strip() == "Debian Debian":
            return address
    raise BenchError("apt is set to no Debian mirror", where="images", do="build on a Debian, after `apt-get update`")


def fill(root: Path, name: str) -> None:
    """Inside mmdebstrap, as its root: the Python packages and the marker into `root`, and out what differs between builds."""
    entry = _image(name)
    packages = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", "--showformat", "${Package} ${Version}\n"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    release = next(root.glob("var/lib/apt/lists/*InRelease")).read_text(errors="replace")
    facts = {
        "release": re.search(r"^Version: (.*)$", release, re.MULTILINE)[1],
        "released": re.search(r"^Date: (.*)$", release, re.MULTILINE)[1],
        "packages": dict(sorted(line.split(" ") for line in packages.splitlines())),
    }
    files.write_json(os.environ["FACTS"], facts)

    site, alone = root / SITE, {"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    for lock in entry["python"]:
        install = [*_PIP, "install", "--quiet", "--no-index", "--find-links", str(_wheels(lock)), "--no-deps", "--require-hashes"]
        install += ["--no-compile", "--no-warn-script-location", "--root-user-action=ignore", "--upgrade"]
        install += _from_source(name)
        _run([*install, "--target", str(site), "-r", str(containers.ROOT / lock)], env=os.environ | alone)
    # Scripts name the Python that installed them, and the records of them their hashes; steps call modules.
    shutil.rmtree(site / "bin", ignore_errors=True)
    for record in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
        for path in site.glob(f"*.dist-info/{record}"):
            path.unlink()
    for path in site.glob("*.pth"):  # of setuptools: imported at every start, and so with byte code that is new in every build
        path.unlink()
    for pattern in files.read_yaml(containers.DEFINITIONS)["python"]["without"]:
        for path in sorted(site.glob(pattern)):
            if path.is_dir():  # not one inside another that is gone
                shutil.rmtree(path)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for program, content in entry.get("programs", {}).items():
        path = root / "usr/local/bin" / program
        path.write_text(content)
        path.chmod(0o755)
    marker = root / containers.MARKER.relative_to("/")
    marker.write_text(json.dumps({"name": name, "definition": containers.definition(name)}) + "\n")

    # Byte code once, checked against no time of a file: it must neither be stale nor be made at every start.
    for cache in sorted(root.glob("usr/**/__pycache__")):
        shutil.rmtree(cache)
    compiled = ["chroot", str(root), "python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    _run([*compiled, "/usr/lib/python3", "/usr/lib/python3.11", f"/{SITE}"], accept=(0, 1))  # 1: a file that is no Python
    # mmdebstrap itself takes out logs, lists and caches, and needs its own files below tmp until it has.


def write_oci(tar: Path, archive: Path, tag: str, epoch: int) -> None:
    """An OCI archive with `tar` as its only layer; also what `docker load` reads (its older format, manifest.json)."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    layer = archive.with_suffix(".layer")
    with open(tar, "rb") as source, open(layer, "wb") as target, gzip.GzipFile("", "wb", 1, target, mtime=0) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    config = {
        "architecture": "amd64", "os": "linux", "created": created,
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8"], "Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{files.sha256(tar)}"]},
        "history": [{"created": created, "created_by": "pjap_bench containers/build.py"}],
    }  # fmt: skip
    blobs = {}

    def blob(content: Path | bytes, kind: str) -> dict[str, Any]:
        if isinstance(content, bytes):
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        else:
            digest, size = files.sha256(content), content.stat().st_size
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}

    described = blob(layer, "layer.v1.tar+gzip")
    configured = blob(files.json_bytes(config), "config.v1+json")
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configured, "layers": [described],
    }  # fmt: skip
    tag = f"localhost/pjap_bench/{tag}"
    listed = blob(files.json_bytes(manifest), "manifest.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": tag}}
    blobs["oci-layout"] = files.json_bytes({"imageLayoutVersion": "1.0.0"})
    blobs["index.json"] = files.json_bytes({"schemaVersion": 2, "manifests": [listed]})
    paths = {
        key: f"blobs/sha256/{value['digest'].partition(':')[2]}" for key, value in (("Config", configured), ("Layer", described))
    }
    blobs["manifest.json"] = files.json_bytes([{"Config": paths["Config"], "RepoTags": [tag], "Layers": [paths["Layer"]]}])
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as out:
        for path, content in sorted(blobs.items()):
            entry = tarfile.TarInfo(path)
            entry.mtime, entry.mode = epoch, 0o644
            entry.size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as source:
                out.addfile(entry, source)
    layer.unlink()


def _path(described: dict[str, Any]) -> str:
    return f"blobs/sha256/{described['digest'].removeprefix('sha256:')}"


def _compare(name: str, built: dict[str, Any], entry: dict[str, Any] | None, lock: dict[str, Any]) -> None:
    """Raises: BenchError where the image is not the pinned one, with the packages that moved."""
    if entry is None:
        raise BenchError(f"names no image '{name}'", where=containers.LOCK, do=f"pin it: make images PIN=yes IMAGES={name}")
    if built["sha256"] == entry["sha256"]:
        return
    reasons = []
    if built["definition"] != entry["definition"]:
        reasons.append("images.yaml or a lock of Python packages is not what it was when the image was pinned")
    old, new = lock["debian"]["packages"] | entry.get("debian", {}), built["debian"]["packages"]
    for package in sorted(old.keys() | new.keys()):
        if old.get(package) != new.get(package):
            reasons.append(f"Debian's {package} is {new.get(package, 'gone')}, pinned was {old.get(package, 'none')}")
    for tool, version in _tools().items():
        if lock["builder"].get(tool) != version:
            reasons.append(f"the builder's {tool} is {version}, pinned was {lock['builder'].get(tool)}")
    why = "; ".join(reasons) or "all packages and tools are the pinned ones, and yet the bytes differ"
    raise BenchError(
        f"came out as sha256:{built['sha256']}, pinned is sha256:{entry['sha256']}: {why}",
        where=f"image {name}",
        do="use the pinned image from where it was published (docs/containers.md), or pin this one: make images PIN=yes",
    )


def _new_lock() -> dict[str, Any]:
    old = containers.locked() if containers.LOCK.exists() else {"debian": {}, "images": {}}
    return {"architecture": platform.machine(), "builder": _tools()} | {key: old[key] for key in ("debian", "images")}


def _tools() -> dict[str, str]:
    """The versions of what the bytes of an image may depend on, beside what is in it."""
    packages = ("mmdebstrap", "squashfs-tools", "libzstd1", "tar")
    said = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return dict(line.split(" ") for line in said.splitlines())


def _missing_tools() -> list[str]:
    return [package for program, package in containers.BUILDERS.items() if not shutil.which(program)]


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    containers.BUILT.mkdir(exist_ok=True)
    with open(containers.BUILT / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for left in containers.BUILT.glob(".building-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield


def _run(command: list[str], do: str = "look at what it says", accept: tuple[int, ...] = (0,), **options: Any) -> None:
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if ran.returncode not in accept:
        said = " / ".join(ran.stdout.strip().splitlines()[-5:])
        raise BenchError(f"failed with {ran.returncode}: {said}", where=" ".join(map(str, command[:3])), do=do)


if __name__ == "__main__":
    sys.exit(main())
