"""Images and results in a registry and in an OCI layout, and back again."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml

from pjap_bench import config, containers, files
from pjap_bench.errors import BenchError
from tests.conftest import IMAGES_REQUIRED
from tests.containers.conftest import load, make_optional

publish = load("publish")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Debian's docker-registry on loopback."""
    for program in ("docker-registry", "skopeo"):
        if not shutil.which(program):
            if os.environ.get(IMAGES_REQUIRED):
                pytest.fail(f"needs {program}")
            pytest.skip(f"needs {program}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    folder = tmp_path_factory.mktemp("registry")
    settings = {
        "version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}, "http": {"addr": f"127.0.0.1:{port}"},
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"docker://127.0.0.1:{port}/group", folder / "data"
    finally:
        process.terminate()
        process.wait(10)


def test_what_is_published_comes_back_with_the_same_bytes(project, registry, tmp_path):
    place, _ = registry
    path = project / containers.file_of("train")
    before = path.read_bytes()
    for where in (place, f"oci:{tmp_path}/layout"):
        publish.push_image(where, "train")
        path.unlink()
        publish.pull(where, "train")
        assert path.read_bytes() == before
        assert not list(containers.BUILT.glob(".pulling-*"))


def test_an_optional_image_is_pushed_where_it_is_here_and_got_where_it_is_named(project):
    make_optional("train")
    assert publish.usual("push") == ["analysis", "train"] and publish.usual("pull") == ["analysis"]
    for name in ("analysis", "train"):
        (project / containers.file_of(name)).unlink()
    assert publish.usual("push") == ["analysis"]  # what the workflow needs and is not here is an error


def test_other_bytes_than_the_pinned_ones_are_not_taken(project, registry):
    place, _ = registry
    publish.push_image(place, "train")
    lock = yaml.safe_load(containers.LOCK.read_text())
    digest = lock["images"]["train"]["sha256"]
    lock["images"]["train"]["sha256"] = digest[:12] + "0" * 52  # the same name, other bytes
    containers.LOCK.write_text(yaml.safe_dump(lock))
    path = project / containers.file_of("train")
    path.unlink()
    with pytest.raises(BenchError, match=r"has no 'train' with the pinned bytes.*make images"):
        publish.pull(place, "train")
    assert not path.exists()


def test_a_broken_registry_is_one_clear_error(project, registry):
    place, data = registry
    publish.push_image(place, "train")
    path = project / containers.file_of("train")
    digest = files.sha256(path)
    path.unlink()
    blob = next(data.rglob(f"{digest}/data"))
    blob.write_bytes(b"cut")
    with pytest.raises(BenchError, match=r"skopeo copy failed"):
        publish.pull(place, "train")
    assert not path.exists()
    with pytest.raises(BenchError, match=r"skopeo copy failed.*skopeo login"):
        publish.pull("docker://127.0.0.1:9/group", "train")


def test_a_changed_image_is_not_published(project):
    (project / containers.file_of("train")).write_text("something else")
    with pytest.raises(BenchError, match="is not the pinned image"):
        publish.push_image("oci:/tmp/none", "train")


def test_results_are_published_as_one_archive(registry, tmp_path, capsys):
    place, _ = registry
    folder = tmp_path / "smoke"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "a.json").write_text("{}")
    publish.push_results(place, folder)
    first = capsys.readouterr().out
    os.utime(folder / "runs" / "a.json", (1, 1))
    publish.push_results(place, folder)
    assert capsys.readouterr().out == first and "results@sha256:" in first
    with pytest.raises(BenchError, match="is no folder"):
        publish.push_results(place, tmp_path / "none")


@pytest.mark.parametrize("place", ["", "registry.example.org/x", "docker://", "oci:", "docker://host/$(x)"])
def test_a_place_that_is_none(place):
    command = [sys.executable, "containers/publish.py", "push", place]
    done = subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "What to do: name docker://HOST/PATH or oci:FOLDER" in done.stderr
