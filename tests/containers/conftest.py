"""A small project with images that are none, and a runtime that only says how it was called."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from pjap_bench import config, containers, files


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with definitions, locks, two 'images' and their lock; `pjap_bench.containers` looks there."""
    root = tmp_path / "a project"
    folder = root / "containers"
    (folder / "images").mkdir(parents=True)
    (folder / "some.txt").write_text("numpy==1\n")
    entry = {"python": ["containers/some.txt"]}
    definitions = {"debian": {"suite": "x"}, "python": {}, "images": {"analysis": entry, "train": entry, "big": entry}}
    (folder / "images.yaml").write_text(yaml.safe_dump(definitions))
    for name, value in (
        ("ROOT", root), ("DEFINITIONS", folder / "images.yaml"), ("LOCK", folder / "images.lock.yaml"),
        ("BUILT", folder / "images"), ("MARKER", root / "etc-marker.json"), ("OWN_APPTAINER", root / "none"),
    ):  # fmt: skip
        monkeypatch.setattr(containers, name, value)
    lock = {"architecture": "x86_64", "builder": {}, "debian": {"packages": {}}, "images": {}}
    for name in ("analysis", "train"):
        content = f"squashfs of {name}"
        path = folder / "images" / "new"
        path.write_text(content)
        digest = files.sha256(path)
        path.rename(folder / "images" / f"{name}-{digest[:12]}.squashfs")
        lock["images"][name] = {
            "definition": containers.definition(name),
            "sha256": digest,
            "root": "0" * 64,
            "bytes": len(content),
        }
    containers.LOCK.write_text(yaml.safe_dump(lock))
    containers.here.cache_clear()
    monkeypatch.delenv(containers.PINNED, raising=False)
    yield root
    containers.here.cache_clear()


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Puts a program on PATH that stands for a runtime: `runtime(name, answer)` makes it, and gives the file of its calls."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for needed in ("env", "cat", "bash"):
        (folder / needed).symlink_to(shutil.which(needed))
    (folder / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str = "apptainer", answer: str = "exit 0") -> Path:
        calls = tmp_path / f"{name}.calls"
        program = folder / name
        program.write_text(f'#!{shutil.which("bash")}\nprintf "%s\\n" "$@" >>"{calls}"; env >>"{calls}.env"\n{answer}\n')
        program.chmod(0o755)
        return calls

    return make


def make_optional(name: str) -> None:
    """Makes an image of the small project one that is built only where it is named."""
    definitions = yaml.safe_load(containers.DEFINITIONS.read_text())
    definitions["images"][name] = definitions["images"][name] | {"optional": True}
    containers.DEFINITIONS.write_text(yaml.safe_dump(definitions))


def marker(name: str) -> str:
    """What an image's marker says."""
    return json.dumps({"name": name, "definition": containers.definition(name)})


def load(name: str):
    """A program in containers/, as a module."""
    spec = importlib.util.spec_from_file_location(name, config.ROOT / "containers" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
