"""The documentation: links lead somewhere, the site knows every page, and examples do what they say. `make docs` builds it."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pjap_bench import config, files, provenance
from pjap_bench.figures import style
from pjap_bench.games.experiments import figure1
from pjap_bench.statistics import verdict
from tests.workflow.test_workflow import copy_tree, snakemake

DOCS = config.ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Three backticks or more, up to as many.
FENCED = re.compile(r"^(```+)[^\n]*\n.*?^\1$", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """The page without code."""
    return re.sub(r"`[^`\n]+`", "", FENCED.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and forges make them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def in_nav(entries) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    return [page for entry in (entries.values() if isinstance(entries, dict) else entries) for page in in_nav(entry)]


def section(heading: str, page: str = "extend.md") -> str:
    return (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def example(heading: str, language: str, place: int = 0, page: str = "extend.md") -> str:
    return re.findall(rf"```{language}\n(.*?)```", section(heading, page), re.DOTALL)[place]


def test_every_page_is_in_the_navigation_once():
    listed = in_nav(files.read_yaml(config.ROOT / "mkdocs.yml")["nav"])
    # But for those of dataset cards, to which a table leads.
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES if page.parent.name != "datasets")


@pytest.mark.parametrize("page", [config.ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(config.ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file() and target.is_relative_to(config.ROOT), f"{link}: no such file (the site takes no folders)"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_the_interface_is_of_modules_that_exist():
    shown = [name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]
    assert len(shown) == len(set(shown))
    for name in shown:
        assert name in provenance.imports_of(name) and provenance.source_digest(name)
    left_out = {"__main__", "benchmarks", "notebook", "behaviour", "datasets", "games", "statistics"}
    parts = {path.stem for path in provenance.PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {name.split(".")[1] for name in shown} >= parts - {"__init__"} - left_out


def test_the_example_of_a_figure(tmp_path):
    arrays = figure1.run(config.load("smoke")["games"]).arrays
    (tmp_path / "games").mkdir()
    np.savez(tmp_path / "games" / "figure1.npz", **arrays)
    namespace: dict = {}
    exec(example("A figure", "python"), namespace)
    figure = namespace["draw"](tmp_path, {"scale": "smoke"})
    assert len(figure.axes[0].lines[0].get_xdata()) == len(arrays["seed_policies"])
    assert all(path.stat().st_size > 1000 for path in style.save(figure, tmp_path / "figure1_pairs", {}))


def test_the_example_of_an_environment(tmp_path):
    copy = tmp_path / "copy"
    for name in ("pjap_bench", "tests/environments"):
        shutil.copytree(config.ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pjap_bench" / "environments" / "two_agent_walker.py").write_text(example("An environment", "python"))
    registry = copy / "pjap_bench" / "environments" / "__init__.py"
    text = "from pjap_bench.environments.two_agent_walker import TwoAgentWalker\n" + registry.read_text()
    registry.write_text(text.replace("for task in (", "for task in (TwoAgentWalker, "))
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/environments", "-k", "two_agent_walker")
    (random,) = re.findall(r'^python -c "(.*)"$', section("An environment"), re.MULTILINE)
    said = [
        subprocess.run([sys.executable, *words], cwd=copy, capture_output=True, text=True, check=True).stdout
        for words in (tests, ("-c", random))
    ]
    assert "7 passed" in said[0], said[0]  # every contract, bits with weak and strong actions
    assert 0.0 < float(said[1]) < 3.0  # a random walker falls


def test_the_examples_of_claims(tmp_path):
    text = (config.ROOT / "workflow" / "claims.yaml").read_text(encoding="utf-8")
    path = tmp_path / "claims.yaml"
    path.write_text(text.rstrip("\n") + "\n" + example("A claim", "yaml") + example("A claim", "yaml", 1), encoding="utf-8")
    claims = verdict.read_claims(path)
    assert [claim["id"] for claim in claims["claims"][-2:]] == ["C16-good", "C17"]
    (part,) = claims["claims"][-1]["parts"]
    assert part["estimate"] in figure1.run(config.load("smoke")["games"]).estimates["C1"]


def test_the_comparison_with_a_pinned_result(tmp_path, monkeypatch, capsys):
    runs = [{"dataset": "good", "seed": seed, "quantity": "final_return", "normalisation": "raw"} for seed in range(3)]
    for folder, arm, values in (("pinned/laptop", "maddpg_cql", (1, 2, 3)), ("mine/laptop", "mine", (2, 4, 6))):
        (tmp_path / folder).mkdir(parents=True)
        table = pd.DataFrame([run | {"arm": arm, "value": value} for run, value in zip(runs, values, strict=True)])
        pd.concat([table, table.assign(normalisation="reference")]).to_csv(tmp_path / folder / "scores.csv", index=False)
    monkeypatch.chdir(tmp_path)
    exec(example("Compare your algorithm with a pinned result", "python", page="results.md"), {})
    assert capsys.readouterr().out == "good: 2 [-0, 4], 3 seeds\n"


def test_settings_on_the_command_line_are_quoted_for_the_shell():
    """Make hands CONFIG to the shell as it is: what holds a blank needs quotes of its own."""
    pages = {page: page.read_text(encoding="utf-8") for page in [config.ROOT / "README.md", *PAGES]}
    found = [(page.name, each) for page, text in pages.items() for each in re.findall(r"CONFIG='([^']*)'", text)]
    assert len(found) >= 5
    for page, given in found:
        overrides = {}
        for word in shlex.split(given):
            name, equals, value = word.partition("=")
            assert equals and re.fullmatch(r"\w+", name), f"{page}: '{word}' is no name=value"
            overrides[name] = yaml.safe_load(value)
        arms = {"mine": config.load("laptop")["arms"]["maddpg_cql"]}
        config.load("laptop", overrides | {"arms": arms})


def test_the_locks_agree():
    folder = config.ROOT / "workflow" / "environment"
    pinned = [
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (folder / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("docs.txt", "base.txt")
    ]
    both = pinned[0].keys() & pinned[1].keys()
    assert "jinja2" in both and {name: pinned[0][name] for name in both} == {name: pinned[1][name] for name in both}


def test_the_snakemake_workflow_catalogue_finds_what_it_looks_for(tmp_path):
    usage = files.read_yaml(config.ROOT / ".snakemake-workflow-catalog.yml")["usage"]
    assert usage["software-stack-deployment"]["apptainer"] and usage["report"]
    copy = copy_tree(tmp_path / "copy")
    flags = usage["mandatory-flags"]["flags"].split()
    plans = []
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        done = snakemake(copy, "--snakefile", snakefile, "-n", "--quiet", "rules", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        plans.append(dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)))
    assert plans[0].pop("all") == plans[1].pop("paper") == "1"
    assert plans[0] == plans[1]
    readme = (config.ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme and "workflow" in readme
