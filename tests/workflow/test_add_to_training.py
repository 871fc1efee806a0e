"""docs/training.md, 'Add a sampler' and 'Add an algorithm', done as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pjap_bench import config, files
from tests.workflow.test_workflow import copy_tree


@pytest.mark.parametrize(
    ("heading", "package", "name", "arm"),
    [
        ("Add a sampler", "samplers", "in_order", "in_order"),
        ("Add an algorithm", "algorithms", "absolute_cloning", "absolute"),
    ],
)
def test_one_file_and_a_registry_line(tmp_path, heading, package, name, arm):
    copy = copy_tree(tmp_path / "copy")
    text = (config.ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    source, importing, line, train = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    (copy / "pjap_bench" / package / f"{name}.py").write_text(source, encoding="utf-8")
    registry = copy / "pjap_bench" / package / "__init__.py"
    written = registry.read_text(encoding="utf-8")
    written = written.replace("from pjap_bench.errors", f"{importing}from pjap_bench.errors", 1)
    start = written.index(f"{package.upper()}: dict")
    end = written.index("\n}", start)
    registry.write_text(f"{written[:end]}\n{line.rstrip()}{written[end:]}", encoding="utf-8")

    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(["bash", "-euc", train], cwd=copy, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = files.read_json(copy / f"results/smoke/runs/good/{arm}/seeds-0-1/run.json")
    assert run["arms"][arm]["sampler" if package == "samplers" else "algorithm"] == name

    # the contract tests find it
    contract = {"samplers": "samplers/test_samplers.py", "algorithms": "algorithms/test_contract.py"}[package]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "contract or state_restores or hundred", f"tests/{contract}"]
    os.symlink(config.ROOT / "tests", copy / "tests")
    done = subprocess.run(command, cwd=copy, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = subprocess.run(
        [*command, "--collect-only"], cwd=copy, env=environment, text=True, capture_output=True, check=True
    )
    assert name in collected.stdout
