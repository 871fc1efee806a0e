"""The make targets: which command they run, and what they say where a setting is missing. Nothing is run."""

import subprocess

import pytest

from pjap_bench import config


def make(*words):
    return subprocess.run(["make", "-n", *words], cwd=config.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["pin", "NAME=first", "SCALE=smoke"], "pin --results 'results/smoke' --name 'first'"),
        (["pin", "NAME=first", "SCALE=laptop", "SWEEP=what_decides"], "pin --results 'results/laptop/sweeps/what_decides'"),
        (["pin", "NAME=first", "SWEEP="], "pin --results 'results/quick'"),
        (["figures", "FROM=pinned/first"], "redraw --release 'pinned/first'"),
        (["compare", "A=pinned/first", "B=results/quick", "ARGS=--limit 3"], "compare 'pinned/first' 'results/quick' --limit 3"),
        (["cite", "FROM=pinned/first"], "cite --release 'pinned/first'"),
        (["verdict"], "verdict --results 'results/quick'"),
        (["verdict", "FROM=pinned/first"], "verdict --results 'pinned/first'"),
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
    ],
)
def test_a_setting_that_is_missing(words, said):
    done = make(*words)
    assert done.returncode != 0 and said in done.stderr
