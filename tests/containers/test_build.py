"""The builder: what it says when an image comes out otherwise, and archives that are the same every time."""

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile

import pytest

from pjap_bench import config, containers, files
from pjap_bench.errors import BenchError
from tests.containers.conftest import load

build = load("build")


@pytest.fixture
def lock() -> dict:
    entry = {"definition": "d", "sha256": "a" * 64}
    return {"images": {"train": entry}, "debian": {"packages": {"python3": "3.11.2-1+b1"}}, "builder": build._tools()}


def test_the_same_bytes_pass(lock):
    build._compare("train", lock["images"]["train"] | {"debian": {"packages": {}}}, lock["images"]["train"], lock)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"debian": {"packages": {"python3": "3.11.2-1+b2"}}}, r"Debian's python3 is 3\.11\.2-1\+b2, pinned was 3\.11\.2-1\+b1"),
        ({"debian": {"packages": {}}}, r"Debian's python3 is gone"),
        ({"definition": "e"}, r"a lock of Python packages is not what it was"),
        ({}, r"the bytes differ"),
    ],
)
def test_other_bytes_say_which_package_moved(lock, change, message):
    built = {"definition": "d", "sha256": "b" * 64, "debian": lock["debian"]} | change
    with pytest.raises(BenchError, match=rf"came out as sha256:bbb.*{message}"):
        build._compare("train", built, lock["images"]["train"], lock)


def test_an_image_with_packages_of_its_own_lists_them_apart(lock):
    common = {"python3": "3.11.2-1+b1"}
    built = {"definition": "d", "sha256": "b" * 64, "debian": {"packages": common | {"gcc": "4:12.2.0-3"}}}
    build._pin("train-cuda", dict(built), lock)
    assert lock["debian"]["packages"] == common
    entry = lock["images"]["train-cuda"]
    assert entry["debian"] == {"gcc": "4:12.2.0-3"}
    moved = built | {"sha256": "c" * 64, "debian": {"packages": common | {"gcc": "4:12.2.0-4"}}}
    with pytest.raises(BenchError, match=r"Debian's gcc is 4:12\.2\.0-4, pinned was 4:12\.2\.0-3"):
        build._compare("train-cuda", moved, entry, lock)
    build._pin("train", {"definition": "d", "sha256": "a" * 64, "debian": {"packages": {"python3": "3.12"}}}, lock)
    assert lock["debian"]["packages"] == {"python3": "3.12"} and "debian" not in lock["images"]["train"]


def test_wheels_of_torch_for_a_cpu_lie_apart():
    """pip prefers 2.13.0+cpu to the 2.13.0 that a lock for CUDA asks for, and then finds another hash."""
    folders = {lock: build._wheels(lock) for image in ("train", "train-cuda") for lock in build._image(image)["python"]}
    assert folders.pop("workflow/environment/torch-cpu.txt") not in folders.values()


def test_another_builder_is_named(lock):
    lock["builder"] = {tool: "0" for tool in lock["builder"]} | {"tar": "0"}
    built = lock["images"]["train"] | {"sha256": "b" * 64, "debian": lock["debian"]}
    with pytest.raises(BenchError, match=r"the builder's tar is .*, pinned was 0"):
        build._compare("train", built, lock["images"]["train"], lock)


def test_an_unknown_image():
    done = subprocess.run(
        [sys.executable, "containers/build.py", "trian"], cwd=config.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no image is called 'trian'" in done.stderr and "use one of: analysis, train" in done.stderr


def test_without_the_tools(monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda program: None)
    with pytest.raises(BenchError, match="apt-get install mmdebstrap squashfs-tools"):
        build.build_all(["train"], pin=False, oci=False)
    monkeypatch.setattr(containers, "find_runtime", lambda name: "/usr/bin/apptainer")
    monkeypatch.setattr(containers, "missing_images", lambda runtime, names: names)
    build.build_if_needed("auto", "apptainer")  # goes without, and the workflow says so
    with pytest.raises(BenchError, match="needs mmdebstrap"):
        build.build_if_needed("on", "apptainer")


def test_what_a_killed_build_left_is_removed(project):
    (containers.BUILT / ".building-x" / "root").mkdir(parents=True)
    with build._one_at_a_time():
        assert not list(containers.BUILT.glob(".building-*"))


@pytest.mark.skipif(os.geteuid() != 0 or platform.machine() != "x86_64", reason="as root, on x86_64")
@pytest.mark.parametrize(("patches", "whole"), [("exit 0", True), ("exit 1", False)])
def test_an_apptainer_is_there_when_it_is_whole(tmp_path, patches, whole):
    folder, programs = tmp_path / "containers", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    shutil.copy(containers.FOLDER / "get_apptainer.sh", folder)
    unpack = 'mkdir -p "$3"/{etc/apptainer,usr/bin,usr/lib/x86_64-linux-gnu}; : >"$3/etc/apptainer/apptainer.conf"'
    unpack += '; printf "#!/bin/sh\necho fine\n" >"$3/usr/bin/apptainer"; chmod +x "$3/usr/bin/apptainer"'
    for name, does in {
        "apt-get": '[[ "$*" != *indextargets* ]] || echo "http://localhost Debian Debian"; [[ "$*" != *download* ]] || : >a.deb',
        "dpkg-deb": unpack,
        "patchelf": patches,
        "unsquashfs": "exit 0",
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{does}\n")
        (programs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([folder / "get_apptainer.sh"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == whole, done.stderr
    assert (folder / "apptainer/usr/bin/apptainer").exists() == whole
    assert not list(folder.glob(".apptainer-*"))


def test_an_oci_archive_is_whole_and_the_same_every_time(tmp_path):
    tar = tmp_path / "root.tar"
    with tarfile.open(tar, "w") as out:
        entry = tarfile.TarInfo("etc/file")
        entry.size = 5
        out.addfile(entry, io.BytesIO(b"hello"))
    for name in ("one", "two"):
        build.write_oci(tar, tmp_path / f"{name}.tar", "train:0123", 1_783_764_997)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}
    (manifest,) = json.loads(content["index.json"])["manifests"]
    described = json.loads(content[f"blobs/sha256/{manifest['digest'][7:]}"])
    image = json.loads(content[f"blobs/sha256/{described['config']['digest'][7:]}"])
    assert image["rootfs"]["diff_ids"] == [f"sha256:{files.sha256(tar)}"]  # what podman and docker say that they have
    assert json.loads(content["manifest.json"])[0]["RepoTags"] == ["localhost/pjap_bench/train:0123"]
    for name, held in content.items():
        if name.startswith("blobs/"):
            path = tmp_path / "blob"
            path.write_bytes(held)
            assert name.endswith(files.sha256(path))


def test_the_lock_is_of_what_stands_here():
    """A changed definition or lock of Python packages needs new pins, before anything runs."""
    lock = containers.locked()
    usual = containers.usual()
    assert set(usual) <= set(lock["images"])
    for name in usual:
        assert lock["images"][name]["definition"] == containers.definition(name)
    assert lock["debian"]["release"].startswith("12.")


def test_the_images_have_the_versions_of_the_virtual_environment():
    def versions(path) -> dict:
        lines = (line.split(" ")[0].split("==") for line in path.read_text().splitlines() if line[:1].isalnum() and "==" in line)
        return dict(lines)

    base = versions(config.ROOT / "workflow/environment/base.txt")
    for name in ("analysis", "train"):
        taken = versions(containers.FOLDER / f"{name}.txt")
        assert taken and all(base[package] == version for package, version in taken.items())


def test_every_rule_names_its_image():
    for path in (config.ROOT / "workflow" / "rules").glob("*.smk"):
        rules = path.read_text().split("\nrule ")[1:]
        for rule in rules:
            assert "    shell:" not in rule or "    container:\n        " in rule, f"{path.name}: {rule.split(':')[0]}"
