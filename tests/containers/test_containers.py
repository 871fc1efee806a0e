"""Which images are chosen, what is checked before a workflow starts, what a step finds, how a runtime is called."""

import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pjap_bench import config, containers, doctor
from pjap_bench.errors import BenchError
from tests.containers.conftest import make_optional, marker

NAMES = ["analysis", "train"]


# --- which images -------------------------------------------------------------------------------------------------------


def test_images_are_chosen_where_they_and_a_runtime_are_there(project, runtime):
    runtime()
    for mode in ("auto", "on", True):  # YAML reads on as true
        chosen, words = containers.choose(mode, "apptainer", NAMES)
        assert [name for name, path in chosen.items() if (project / path).exists()] == NAMES
        assert not any(os.path.isabs(path) for path in chosen.values())
        assert "inside" in words


@pytest.mark.parametrize("mode", ["off", False])
def test_off_is_off_and_says_so(project, runtime, mode):
    runtime()
    chosen, words = containers.choose(mode, "apptainer", NAMES)
    assert chosen == {} and "uncontained" in words


def test_without_a_runtime_auto_goes_on_aloud_and_on_fails(project, runtime):
    chosen, words = containers.choose("auto", "apptainer", NAMES)
    assert chosen == {} and "there is no apptainer" in words and "make apptainer" in words and "uncontained" in words
    with pytest.raises(BenchError, match=r"there is no apptainer.*What to do: make apptainer"):
        containers.choose("on", "apptainer", NAMES)
    runtime("podman")
    assert "or runtime=podman (make: RUNTIME=podman), which is here)" in containers.choose("auto", "apptainer", NAMES)[1]


def test_without_an_image_auto_goes_on_aloud_and_on_fails(project, runtime):
    runtime()
    (project / containers.file_of("train")).unlink()
    chosen, words = containers.choose("auto", "apptainer", NAMES)
    assert chosen == {} and "train" in words and "make images" in words
    with pytest.raises(BenchError, match=r"not on this machine: train.*What to do: make images"):
        containers.choose("on", "apptainer", NAMES)


def test_an_optional_image_that_is_missing_is_named_to_the_build(project, runtime):
    runtime()
    make_optional("train")
    (project / containers.file_of("train")).unlink()
    assert "(make images IMAGES=train)" in containers.choose("auto", "apptainer", NAMES)[1]
    assert containers.to_build("podman", NAMES) == "make images IMAGES='analysis train' RUNTIME=podman"


def test_an_image_that_was_never_pinned(project, runtime):
    runtime()
    with pytest.raises(BenchError, match="not on this machine: big"):
        containers.choose("on", "apptainer", ["analysis", "big"])


def test_the_adapter_is_no_runtime(project, monkeypatch):
    monkeypatch.setenv("PATH", str(containers.ADAPTER.parent))
    assert containers.find_runtime("apptainer") is None


# --- what is checked ------------------------------------------------------------------------------------------------------


def runs_the_image(name: str) -> str:
    return f"echo '{marker(name)}'"


def test_a_good_image_passes(project, runtime):
    runtime(answer=runs_the_image("train"))
    containers.verify("train", "apptainer")


def test_a_tampered_image(project, runtime):
    runtime(answer=runs_the_image("train"))
    with open(project / containers.file_of("train"), "a") as file:
        file.write("!")
    with pytest.raises(BenchError, match=r"not the pinned .* changed or is cut off.*delete it and build it anew"):
        containers.verify("train", "apptainer")


def test_a_lock_without_the_image(project, runtime):
    runtime()
    (project / containers.file_of("train")).unlink()
    with pytest.raises(BenchError, match=r"pinned and not here.*make images"):
        containers.verify("train", "apptainer")


def test_a_lock_of_other_requirements(project, runtime):
    runtime()
    (project / "containers" / "some.txt").write_text("numpy==2\n")
    with pytest.raises(BenchError, match=r"pinned from other locks.*PIN=yes"):
        containers.verify("train", "apptainer")


def test_an_image_for_another_architecture(project, runtime):
    runtime()
    lock = yaml.safe_load(containers.LOCK.read_text())
    containers.LOCK.write_text(yaml.safe_dump(lock | {"architecture": "aarch64"}))
    with pytest.raises(BenchError, match=r"for aarch64, this machine is x86_64.*containers=off"):
        containers.verify("train", "apptainer")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("echo 'FATAL: no user namespaces' >&2; exit 255", "FATAL: no user namespaces"),
        ("echo 'unknown flag: --cleanenv' >&2; exit 1", "unknown flag"),
        ("exit 0", "ran something else"),
    ],
)
def test_a_runtime_that_is_broken_or_too_old(project, runtime, answer, message):
    runtime(answer=answer)
    with pytest.raises(BenchError, match=rf"{message}.*make doctor"):
        containers.verify("train", "apptainer")


@pytest.mark.parametrize("content", ["", "[1]", "images: 3", "{"])
def test_a_broken_lock(project, content):
    containers.LOCK.write_text(content)
    with pytest.raises(BenchError, match=r"images\.lock\.yaml"):
        containers.file_of("train")


@pytest.mark.parametrize("name", ["apptainer", "podman"])
def test_only_the_step_that_imports_sees_minaris_folder(runtime, monkeypatch, tmp_path, name):
    calls, folder = runtime(name), tmp_path / ".minari" / "datasets"
    monkeypatch.setenv("PJAP_BENCH_RUNTIME", f"{name}:{containers.find_runtime(name)}")
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    importing, bound = "python -m pjap_bench import-dataset", str(folder) if name == "apptainer" else f"{folder}:{folder}"
    for there, given, environment, seen in (
        (False, importing, {"HOME": str(tmp_path)}, (False, True)),  # whose error names it
        (True, importing, {"HOME": str(tmp_path)}, (True, True)),
        (True, importing, {"MINARI_DATASETS_PATH": str(folder)}, (True, True)),
        (True, "python -m pjap_bench mix", {"HOME": str(tmp_path)}, (False, False)),
    ):
        if there:
            folder.mkdir(parents=True, exist_ok=True)
        call(given, **environment)
        said = calls.read_text().splitlines()
        assert (bound in said, f"MINARI_DATASETS_PATH={folder}" in said) == seen
        calls.unlink()


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_podman_and_docker_are_given_the_archive_and_asked_what_they_have(project, runtime, name):
    with pytest.raises(BenchError, match=rf"make images RUNTIME={name}"):
        containers.verify("train", name)
    containers_archive = project / containers.oci_file_of("train")
    containers_archive.write_text("an archive")
    loaded = project / "loaded"
    answer = f"""
case "$1" in
load) : >"{loaded}" ;;
image) [[ -e "{loaded}" ]] || exit 1; echo '["sha256:{"0" * 64}"]' ;;
run) echo '{marker("train")}' ;;
esac"""
    calls = runtime(name, answer)
    containers.verify("train", name)
    assert str(containers_archive) in calls.read_text()
    runtime(name, answer.replace("0" * 64, "1" * 64))
    with pytest.raises(BenchError, match="not the pinned 0000"):
        containers.verify("train", name)


# --- what a step finds ----------------------------------------------------------------------------------------------------


def test_a_step_outside_of_any_image(project):
    assert containers.here() is None


def test_a_step_in_its_image(project):
    containers.MARKER.write_text(marker("train"))
    digest = yaml.safe_load(containers.LOCK.read_text())["images"]["train"]["sha256"]
    assert containers.here() == f"train@sha256:{digest}"


def test_a_step_outside_of_the_image_that_it_belongs_into(project, monkeypatch):
    monkeypatch.setenv(containers.PINNED, "1")
    with pytest.raises(BenchError, match=r"runs outside of any.*make doctor"):
        containers.here()


def test_a_step_in_an_image_of_another_version(project):
    containers.MARKER.write_text('{"name": "train", "definition": "0"}')
    with pytest.raises(BenchError, match="does not name"):
        containers.here()


# --- how a runtime is called ----------------------------------------------------------------------------------------------


def call(command: str = "true", home: str = "/a folder/with ü", **environment: str) -> subprocess.CompletedProcess:
    whole = [containers.ADAPTER, "--quiet", "--silent", "exec", "--home", home, "--bind", "/x", "images/train-0123.squashfs"]
    return subprocess.run(
        [*whole, "bash", "-c", command], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_apptainer_is_called_closed_to_the_machine(runtime, monkeypatch):
    calls = runtime()
    program = containers.find_runtime("apptainer")
    monkeypatch.setenv("PJAP_BENCH_RUNTIME", f"apptainer:{program}")
    assert call(OMP_NUM_THREADS="3", SECRET="s").returncode == 0
    said = calls.read_text().splitlines()
    pairs = list(itertools.pairwise(said))
    assert "--cleanenv" in said and "--nv" not in said
    assert {("--network", "none"), ("--bind", "/a folder/with ü"), ("--bind", "/x"), ("--env", "OMP_NUM_THREADS=3")} <= set(pairs)
    assert said[-4:] == ["images/train-0123.squashfs", "bash", "-c", "true"]
    assert not any("SECRET" in word for word in said)
    calls.unlink()
    call("PJAP_BENCH_NETWORK=1 fetch", PJAP_BENCH_BIND="/y:/z", PJAP_BENCH_GPU="1")
    said = calls.read_text().splitlines()
    assert "--network" not in said and "--nv" in said and {"/y", "/z"} <= set(said)


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_podman_and_docker_are_called_alike(runtime, monkeypatch, name):
    calls = runtime(name)
    monkeypatch.setenv("PJAP_BENCH_RUNTIME", f"{name}:{containers.find_runtime(name)}")
    assert call().returncode == 0
    said = calls.read_text().splitlines()
    assert {"run", "--rm", "--read-only", "none", "/a folder/with ü:/a folder/with ü"} <= set(said)
    assert said[-4:] == ["localhost/pjap_bench/train:0123", "bash", "-c", "true"]


def test_the_adapter_alone_says_what_it_lacks(monkeypatch):
    monkeypatch.delenv("PJAP_BENCH_RUNTIME", raising=False)
    done = call()
    assert done.returncode == 1 and "PJAP_BENCH_RUNTIME is not set" in done.stderr


# --- the real ones --------------------------------------------------------------------------------------------------------


def inside(image: str, command: str, folder: Path = config.ROOT, **environment: str) -> subprocess.CompletedProcess:
    environment = os.environ | containers.environment_of("apptainer") | environment
    whole = [containers.ADAPTER, "exec", "--home", str(folder), str(config.ROOT / containers.file_of(image)), "bash", "-c"]
    return subprocess.run([*whole, command], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("image", NAMES)
def test_an_image_is_what_it_was_pinned_as(image):
    containers.verify(image, "apptainer")
    done = inside(image, "python -c 'from pjap_bench import provenance; print(provenance.image())'", PJAP_BENCH_PINNED="1")
    assert done.stdout.strip().startswith(f"{image}@sha256:"), done.stderr


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("train", "training behaviour.matd3"),
        (
            "analysis",
            "games.experiments games.robustness datasets.collection datasets.fetch datasets.vault datasets.imports"
            " datasets.exports datasets.description statistics.summary statistics.verdict statistics.sweep figures.figure6"
            " figures.sweep figures.dataset figures.claims report notebook.export",
        ),
    ],
)
def test_an_image_has_what_its_steps_need(image, modules):
    done = inside(image, f"python -c 'import {', '.join(f'pjap_bench.{name}' for name in modules.split())}'")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("real")
def test_inside_there_is_no_network_no_home_and_no_other_environment():
    look = "import os, socket; print(sorted(os.environ)); socket.create_connection(('127.0.0.1', PORT), timeout=5)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = inside("analysis", f'python -c "{look.replace("PORT", str(port))}"', SECRET="s", OMP_NUM_THREADS="1")
        assert done.returncode and "refused" in done.stderr
        assert "SECRET" not in done.stdout and "OMP_NUM_THREADS" in done.stdout
        done = inside("analysis", f'PJAP_BENCH_NETWORK=1 python -c "{look.replace("PORT", str(port))}"')
        assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("real")
def test_a_folder_with_spaces_and_other_letters(tmp_path):
    folder = tmp_path / "été à la plage"
    folder.mkdir()
    done = inside("analysis", "echo written > here.txt; pwd", folder)
    assert done.stdout.strip() == str(folder) and (folder / "here.txt").read_text() == "written\n"


@pytest.mark.usefixtures("real")
def test_without_a_home(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | containers.environment_of("apptainer")
    whole = [containers.ADAPTER, "exec", "--home", str(tmp_path), str(config.ROOT / containers.file_of("analysis"))]
    done = subprocess.run([*whole, "bash", "-c", "echo $HOME"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "/tmp\n", done.stderr


@pytest.mark.usefixtures("real")
def test_a_read_only_image(tmp_path):
    done = inside("analysis", "touch /usr/here", tmp_path)
    assert done.returncode and "Read-only" in done.stderr


# --- doctor ---------------------------------------------------------------------------------------------------------------


def test_doctor_says_what_is_missing_and_how_to_get_it(project, runtime):
    said = doctor.words(doctor.examine("auto", "apptainer"))
    assert "MISSING  runtime" in said and "make apptainer" in said and "uncontained" in said
    runtime(answer=runs_the_image("analysis"))
    (project / containers.file_of("train")).unlink()
    said = doctor.words(doctor.examine("auto", "apptainer", cuda=False))
    assert "analysis@sha256:" in said and "here, unchanged, and runs" in said
    assert "MISSING  image" in said and "make images" in said


def test_doctor_believes_no_driver_that_fails_and_no_torch_without_cuda(project, runtime, monkeypatch):
    runtime("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert "MISSING  GPU        none" in doctor.words(doctor.examine("off", "apptainer", cuda=True))
    runtime("nvidia-smi", "echo 'GPU 0: H100 (UUID: GPU-1)'")
    for version, missing in (("2.13.0+cpu", True), ("2.13.0", False)):
        monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name, version=version: version)
        said = doctor.words(doctor.examine("off", "apptainer", cuda=True))
        assert "ok       GPU        GPU 0: H100" in said and ("make setup TORCH=cuda" in said) == missing


@pytest.mark.parametrize(("may", "said"), [(True, "images can be built here"), (False, "only root may unpack an image here")])
def test_doctor_says_whether_images_can_be_built(runtime, monkeypatch, may, said):
    for program in containers.BUILDERS:
        runtime(program)
    monkeypatch.setattr(containers, "may_unpack", lambda: may)
    assert doctor._building()[0].words == said


def test_doctor_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "pjap_bench", "doctor", "--containers", "off"],
        cwd=config.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "machine" in done.stdout and "uncontained" in done.stdout
