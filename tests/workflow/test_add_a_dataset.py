"""docs/datasets.md, 'Add a dataset in four steps', done as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pjap_bench import config, files
from pjap_bench.datasets import hdf5
from tests.workflow.test_workflow import copy_tree, planned


def blocks() -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of that section, in order."""
    text = (config.ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    section = text.split("## Add a dataset in four steps")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


def test_the_four_steps(tmp_path):
    copy = copy_tree(tmp_path / "copy")
    assert [language for language, _ in blocks()] == ["python", "yaml", "bash", "bash"]
    (_, data), (_, card), (_, make), (_, train) = blocks()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def do(*command: str) -> str:
        done = subprocess.run(command, cwd=copy, env=os.environ | {"PATH": path}, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    do("python", "-c", data)
    (copy / "datasets" / "toy.yaml").write_text(card, encoding="utf-8")
    said = do("bash", "-euc", make)
    assert "Random numbers in the form of two-agent HalfCheetah" in said
    dataset = hdf5.read(copy / "results/smoke/datasets/toy.h5")
    assert dataset.lengths.tolist() == [100, 150, 150]
    do("bash", "-euc", train)
    run = files.read_json(copy / "results/smoke/runs/toy/behaviour_cloning/seeds-0-1/run.json")
    assert run["stamp"]["datasets"] == {"toy": hdf5.read_summary(copy / "results/smoke/datasets/toy.h5")["sha256"]}
    assert "toy" in do("python", "-m", "pjap_bench", "datasets")


def test_a_dataset_with_a_rule_of_its_own(tmp_path):
    copy = copy_tree(tmp_path / "copy")
    card = (
        "{id: odd, title: Odd, source: rule, environment: two_agent_halfcheetah, description: None., licence: CC0-1.0, "
        "citation: none, random_return: 0, dataset_return: 1}"
    )
    rule = (
        "rule make_odd:\n"
        '    output:\n        multiext(f"{RESULTS}/datasets/odd", ".h5", ".json"),\n'
        '    shell:\n        "touch {output}"\n'
    )
    (copy / "datasets" / "odd.yaml").write_text(card, encoding="utf-8")
    (copy / "datasets" / "odd.smk").write_text(rule, encoding="utf-8")
    assert planned(copy, "--cores", "1", "results/smoke/datasets/odd.h5", "--config", "scale=smoke") == {"make_odd": 1}
