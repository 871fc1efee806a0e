"""docs/datasets.md, 'Add a dataset in four steps' and 'with a rule of its own', done as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pjap_bench import config, files
from pjap_bench.datasets import hdf5
from tests.workflow.test_workflow import copy_tree, planned

SMOKE = ("--config", "scale=smoke")


def blocks(section: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of that section, in order."""
    text = (config.ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    return re.findall(r"```(\w+)\n(.*?)```", text.split(f"\n## {section}\n")[1].split("\n## ")[0], re.DOTALL)


def do(copy: Path, *command: str) -> str:
    """What a command says that must end well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=copy, env=os.environ | {"PATH": path}, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_four_steps(tmp_path):
    copy, found = copy_tree(tmp_path / "copy"), blocks("Add a dataset in four steps")
    assert [language for language, _ in found] == ["python", "yaml", "bash", "bash"]
    (_, data), (_, card), (_, make), (_, train) = found
    do(copy, "python", "-c", data)
    (copy / "datasets" / "toy.yaml").write_text(card, encoding="utf-8")
    said = do(copy, "bash", "-euc", make)
    assert "Random numbers in the form of two-agent HalfCheetah" in said
    dataset = hdf5.read(copy / "results/smoke/datasets/toy.h5")
    assert dataset.lengths.tolist() == [100, 150, 150]
    do(copy, "bash", "-euc", train)
    run = files.read_json(copy / "results/smoke/runs/toy/behaviour_cloning/seeds-0-1/run.json")
    assert run["stamp"]["datasets"] == {"toy": hdf5.read_summary(copy / "results/smoke/datasets/toy.h5")["sha256"]}
    assert "toy" in do(copy, "python", "-m", "pjap_bench", "datasets")


def test_a_dataset_with_a_rule_of_its_own(tmp_path):
    copy, found = copy_tree(tmp_path / "copy"), blocks("A dataset with a rule of its own")
    assert [language for language, _ in found] == ["yaml", "snakemake", "python"]
    for suffix, (_, content) in zip(("yaml", "smk", "py"), found, strict=True):
        (copy / "datasets" / f"odd.{suffix}").write_text(content, encoding="utf-8")
    mixture = files.read_yaml(copy / "datasets" / "odd.yaml") | {"id": "odder", "source": "mixture", "parts": ["odd", "odd"]}
    del mixture["dataset_return"]
    files.write_json(copy / "datasets" / "odder.yaml", mixture)
    wanted = [f"results/smoke/datasets/{name}" for name in ("odder.h5", "odd.description.json")]
    do(copy, "snakemake", "--cores", "2", *wanted, *SMOKE)
    dataset, twice = (hdf5.read(copy / f"results/smoke/datasets/{name}.h5") for name in ("odd", "odder"))
    assert dataset.lengths.tolist() == [100, 150, 150]
    assert (twice.transitions, twice.attributes["seam"]) == (800, [0, 3])
    assert hdf5.read_summary(copy / "results/smoke/datasets/odd.h5")["stamp"]["scale"] == "smoke"


def test_a_file_that_a_rule_of_its_own_makes(tmp_path):
    copy, card = copy_tree(tmp_path / "copy"), dict(blocks("Add a dataset in four steps"))["yaml"]
    (copy / "datasets" / "toy.yaml").write_text(card.replace("datasets/toy.hdf5", "results/toy.hdf5"), encoding="utf-8")
    rule = 'rule make_file:\n    output:\n        "results/toy.hdf5",\n    shell:\n        "touch {output}"\n'
    (copy / "datasets" / "toy.smk").write_text(rule, encoding="utf-8")
    wanted = planned(copy, "--cores", "1", "results/smoke/datasets/toy.h5", *SMOKE)
    assert wanted == {"make_file": 1, "import_dataset": 1}
