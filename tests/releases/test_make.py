"""The make targets: which command they run, and what they say where a setting is missing. Nothing is run."""

import re
import subprocess

import pytest

from pjap_bench import config


def make(*words):
    return subprocess.run(
        ["make", "-n", "--no-print-directory", *words], cwd=config.ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["pin", "NAME=first", "SCALE=smoke"], "pin --results 'results/smoke' --name 'first'"),
        (["pin", "NAME=first", "SCALE=laptop", "SWEEP=what_decides"], "pin --results 'results/laptop/sweeps/what_decides'"),
        (["pin", "NAME=first", "SWEEP="], "pin --results 'results/quick'"),
        (["pin", "NAME=first", "CONFIG=results=mine"], "pin --results 'mine/quick'"),
        (["figures", "FROM=pinned/first"], "redraw --release 'pinned/first'"),
        (["compare", "A=pinned/first", "B=results/quick", "ARGS=--limit 3"], "compare 'pinned/first' 'results/quick' --limit 3"),
        (["cite", "FROM=pinned/first"], "cite --release 'pinned/first'"),
        (["verdict"], "verdict --results 'results/quick'"),
        (["verdict", "FROM=pinned/first"], "verdict --results 'pinned/first'"),
        (["verdict", "CONFIG=\"training={batch: 3}\" 'results=mine'"], "verdict --results 'mine/quick'"),
    ],
)
def test_a_target_runs_its_command(words, command):
    done = make(*words)
    assert done.returncode == 0, done.stderr
    assert f"python -m pjap_bench {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pin"], "make pin needs NAME=...; for example"),
        (["figures"], "make figures needs FROM="),
        (["cite"], "make cite needs FROM="),
        (["compare", "A=results/quick"], "make compare needs B="),
        (["pin", "NAME=first", "SCALE=huge"], "SCALE='huge' is not a scale"),
        (["publish", "TO=oci:there", "SCALE=huge"], "SCALE='huge' is not a scale"),
        (["reproduce", "ARGS=-C 'training={batch: 3}'"], "use CONFIG='key=value ...' instead"),
        (["reproduce", "ARGS=-n --config=scale=smoke"], "use CONFIG='key=value ...' instead"),
        (["sweep", "CONFIG='sweep='"], "use SCALE=, SWEEP=, CONTAINERS= or RUNTIME= instead"),
        (["reproduce", 'CONFIG=results=mine "scale=paper"'], "use SCALE=, SWEEP=, CONTAINERS= or RUNTIME= instead"),
        (["reproduce", "SWEEP=samplers"], "SWEEP='samplers' is for make sweep and make pin"),
        (["verdict", "SWEEP=samplers"], "SWEEP='samplers' is for make sweep and make pin"),
        (["images", "FROM=oci:there", "RUNTIME=podman"], "leave out PIN and RUNTIME, or FROM"),
        (["images", "FROM=oci:there", "PIN=yes"], "leave out PIN and RUNTIME, or FROM"),
        (["images", "PIN=true"], "PIN='true'; use yes, or nothing"),
        (["reproduce", "PROFILE=slrum"], "PROFILE='slrum' is no profile; use one of: default kubernetes slurm"),
        (["pin", "NAME=first", 'CONFIG="results=my folder"'], "without a blank: 'my folder/quick'"),
        (["reproduce", "SCLAE=smoke"], "'SCLAE=smoke' is no setting of make (make help lists them, for example SCALE=smoke)"),
        (["reproduce", "training={batch: 32}"], "Those of the configuration go into CONFIG="),
    ],
)
def test_a_setting_that_is_missing(words, said):
    done = make(*words)
    assert done.returncode != 0 and said in done.stderr


def test_the_name_of_the_folder_is_no_shell_code(tmp_path):
    folder = tmp_path / "a $(touch PWNED) it's"
    folder.mkdir()
    command = ["make", "--no-print-directory", "--file", config.ROOT / "Makefile", "--old-file=setup", "cite", "FROM=none"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert not list(folder.iterdir())


def test_exactly_the_settings_that_help_lists_are_taken():
    text = (config.ROOT / "Makefile").read_text()
    listed = ", ".join(re.findall(r"^#: ([A-Z][A-Z_, ]*?)  ", text, flags=re.MULTILINE)).split(", ")
    assert sorted(re.search(r"^settings := (.*)$", text, flags=re.MULTILINE)[1].split()) == sorted(listed)


def test_an_environment_may_have_variables_of_those_names(monkeypatch):
    monkeypatch.setenv("training", "somewhere")
    assert make("reproduce").returncode == 0


def test_a_file_of_settings_may_come_on_top():
    assert make("reproduce", "ARGS=--configfile mine.yaml").returncode == 0


@pytest.mark.parametrize(
    ("words", "folder"),
    [(["SCALE=smoke"], "results/smoke"), (["CONFIG='results=mine' \"training={batch: 32}\""], "mine/quick")],
)
def test_reproduce_ends_with_the_report(words, folder):
    last = make("reproduce", *words).stdout.splitlines()[-1]
    assert f'"report: {folder}/report.html (in words: make verdict FROM={folder})"' in last


@pytest.mark.parametrize(
    ("words", "profile"),
    [([], "default"), (["PROFILE=slurm"], "slurm"), (["PROFILE=slurm", "CORES=3"], "slurm --cores 3")],
)
@pytest.mark.parametrize("target", ["reproduce", "sweep"])
def test_the_profile_says_how_many_cores(target, words, profile):
    """With --cores Snakemake would cut the threads of a cluster's jobs down to the login node's."""
    assert f"--workflow-profile profiles/{profile} --config" in " ".join(make(target, *words).stdout.split())


def test_what_reproduce_left_is_published(tmp_path):
    (tmp_path / "smoke").mkdir()
    for folder, pushed in ((tmp_path, ["--results", f"{tmp_path}/smoke"]), (tmp_path / "none", [])):
        said = make("publish", "TO=oci:there", "SCALE=smoke", f"CONFIG=results={folder}").stdout
        assert said.split("publish.py ")[1].split() == ["push", "'oci:there'", *pushed]


def test_the_releases_of_the_examples_are_there():
    examples = re.findall(r"pinned/(\w+)", (config.ROOT / "Makefile").read_text())
    assert [name for name in examples if name != "NAME" and not (config.ROOT / "pinned" / name).is_dir()] == []
