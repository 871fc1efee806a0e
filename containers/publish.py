"""Puts the pinned images and results where others get them, and gets images from there: a registry or an OCI layout.

    python containers/publish.py push docker://registry.example.org/group [--results results/quick]
    python containers/publish.py push oci:/archive/pjap_bench
    python containers/publish.py pull docker://registry.example.org/group      then `make images` has nothing to do

Each image goes there as its squashfs, a file of known sha256 (`oras pull` fetches it too), and as a container image for podman
and docker where its OCI archive was built. Needs skopeo, which also keeps the credentials (skopeo login).
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pjap_bench import containers, files
from pjap_bench.errors import BenchError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SQUASHFS = "application/vnd.pjap-bench.squashfs.v1"
RESULTS = "application/vnd.pjap-bench.results.v1.tar+gzip"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=("push", "pull"))
    parser.add_argument("place", help="docker://HOST/PATH, or oci:FOLDER for an archive on disk")
    parser.add_argument("--images", nargs="+", help="default: all that are not optional; push: and optional ones that are here")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="folders of results, pushed too")
    given = parser.parse_args()
    try:
        if not re.fullmatch(r"docker://[\w.:-]+(/[\w.-]+)*|oci:[^:]+", given.place):
            raise BenchError(f"'{given.place}' is no place", where="publish", do="name docker://HOST/PATH or oci:FOLDER")
        if not shutil.which("skopeo"):
            raise BenchError("needs skopeo", where="publish", do="apt-get install skopeo")
        names = given.images or usual(given.direction)
        if given.direction == "pull":
            for name in names:
                pull(given.place, name)
        else:
            for name in names:
                push_image(given.place, name)
            for folder in given.results:
                push_results(given.place, folder)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def usual(direction: str) -> list[str]:
    """The images that are meant where none is named: all that the workflow needs, and to push optional ones that are here."""

    def here(name: str) -> bool:
        return direction == "push" and (containers.ROOT / containers.file_of(name)).exists()

    needed = containers.usual()
    return [name for name in containers.locked()["images"] if name in needed or here(name)]


def push_image(place: str, name: str) -> None:
    """Pushes one pinned image, and prints by which digest it is to be had.

    Raises:
        BenchError: the file is not here or not the pinned one; the place does not take it.
    """
    entry = containers.locked()["images"].get(name)
    path = containers.ROOT / containers.file_of(name)
    if files.sha256(path) != entry["sha256"]:
        raise BenchError("is not the pinned image", where=path, do="delete it and build it anew: make images")
    _push(_address(place, name, f"squashfs-{entry['sha256'][:12]}"), path, SQUASHFS, path.name)
    archive = containers.ROOT / containers.oci_file_of(name)
    if archive.exists():
        target = _address(place, name, f"oci-{entry['sha256'][:12]}")
        _skopeo("copy", f"oci-archive:{archive}", target)
        _say(target)


def push_results(place: str, folder: Path) -> None:
    """Pushes a folder of results as one archive: names in order, no times and no owners, so that equal files are equal bytes.

    Raises:
        BenchError: no such folder; the place does not take it.
    """
    if not folder.is_dir():
        raise BenchError("is no folder", where=folder, do="name a folder of results, for instance results/quick")
    with tempfile.TemporaryDirectory() as work:
        archive = Path(work) / f"{folder.name}.tar.gz"
        with (
            open(archive, "wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as out,
        ):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    out.add(path, f"{folder.name}/{path.relative_to(folder)}", filter=_anonymous)
        digest = files.sha256(archive)
        _push(_address(place, "results", f"{folder.name}-{digest[:12]}"), archive, RESULTS, archive.name)


def pull(place: str, name: str) -> None:
    """Gets the squashfs of a pinned image, under its final name only if it is the pinned one, byte for byte.

    Raises:
        BenchError: the place has it not, or has other bytes.
    """
    entry = containers.locked()["images"].get(name)
    if entry is None:
        raise BenchError(f"names no image '{name}'", where=containers.LOCK, do="name one that is pinned")
    target = containers.ROOT / containers.file_of(name)
    if target.exists() and files.sha256(target) == entry["sha256"]:
        print(f"{target.name} is here already")
        return
    containers.BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pulling-", dir=containers.BUILT) as work:
        _skopeo("copy", _address(place, name, f"squashfs-{entry['sha256'][:12]}"), f"oci:{work}/layout:image")
        # skopeo has compared every blob with its name; the one that was pinned must be among them.
        blob = Path(work) / "layout" / "blobs" / "sha256" / entry["sha256"]
        if not blob.exists() or files.sha256(blob) != entry["sha256"]:
            raise BenchError(f"has no '{name}' with the pinned bytes", where=place, do="build it instead: make images")
        os.replace(blob, target)
    print(f"{target.name} is here, sha256:{entry['sha256']}")


def _push(target: str, path: Path, kind: str, title: str) -> None:
    """One file as an OCI artifact: a manifest with an empty configuration and the file as its only layer."""
    with tempfile.TemporaryDirectory(prefix=".pushing-", dir=path.parent) as work:
        layout = Path(work)
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        digest = files.sha256(path)
        os.link(path, blobs / digest)
        layer = {"mediaType": kind, "digest": f"sha256:{digest}", "size": path.stat().st_size}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _blob(blobs, b"{}", f"{kind}.config"),
            "layers": [layer | {"annotations": {"org.opencontainers.image.title": title}}],
        }
        listed = _blob(blobs, files.json_bytes(manifest), MANIFEST)
        listed["annotations"] = {"org.opencontainers.image.ref.name": "file"}
        (layout / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_bytes(files.json_bytes({"schemaVersion": 2, "manifests": [listed]}))
        _skopeo("copy", f"oci:{layout}:file", target)
    _say(target)


def _blob(blobs: Path, content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _address(place: str, name: str, tag: str) -> str:
    """An OCI layout has tags only; a registry has names."""
    return f"{place}:{name}-{tag}" if place.startswith("oci:") else f"{place}/{name}:{tag}"


def _say(target: str) -> None:
    digest = _skopeo("inspect", "--raw", target)
    address = target.removeprefix("docker://").rpartition(":")[0]
    print(f"{target}\n    {address}@sha256:{hashlib.sha256(digest).hexdigest()}")


def _skopeo(verb: str, *arguments: str) -> bytes:
    """Runs skopeo; a registry on this machine itself is spoken to without TLS."""
    flags = ["--preserve-digests", "--quiet"] if verb == "copy" else []
    for end, address in zip(("src", "dest"), [each for each in arguments if ":" in each], strict=False):
        if re.match(r"docker://(localhost|127\.0\.0\.1)[:/]", address):
            flags.append(f"--{end}-tls-verify=false" if verb == "copy" else "--tls-verify=false")
    ran = subprocess.run(["skopeo", verb, *flags, *arguments], capture_output=True, check=False)
    if ran.returncode:
        said = " / ".join(ran.stderr.decode(errors="replace").strip().splitlines()[-2:])
        raise BenchError(f"skopeo {verb} failed: {said}", where=arguments[-1], do="look at the address, and log in: skopeo login")
    return ran.stdout


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


if __name__ == "__main__":
    sys.exit(main())
