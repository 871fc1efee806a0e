"""Imports go one way, analysis needs no torch, digests follow the imports."""

import subprocess
import sys

import pytest

from pjap_bench import provenance

# From the ground up: a module imports from inside its own part, or from parts in rows above it.
ROWS = [
    ["errors", "stacks"],
    ["files", "kernels"],
    ["containers"],
    ["config", "provenance", "products", "draws"],
    ["games", "environments"],
    ["datasets.cards"],
    ["datasets.hdf5", "behaviour", "networks", "samplers"],
    ["datasets"],
    ["algorithms"],
    ["evaluation"],
    ["training"],
    ["statistics", "figures"],
    ["report", "notebook"],
    ["releases"],
    ["benchmarks", "doctor"],
    ["__main__"],
]
WITHOUT_TORCH = [
    "games.experiments",
    "games.robustness",
    "datasets.collection",
    "datasets.fetch",
    "datasets.vault",
    "statistics.summary",
    "statistics.verdict",
]
WITHOUT_TORCH += ["releases.pinning", "releases.redrawing", "report", "notebook.games", "notebook.export"]
WITHOUT_TORCH += ["figures.figure1_seeds", "figures.claims"] + [f"figures.figure{number}" for number in range(1, 7)]


def modules() -> list[str]:
    files = [path.relative_to(provenance.PACKAGE).with_suffix("") for path in provenance.PACKAGE.rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in files if str(path) != "__init__")


def part_of(module: str) -> tuple[int, str]:
    """The row of a module and the entry that claims it (the longest that fits)."""
    fits = [
        (len(entry), row, entry) for row, entries in enumerate(ROWS) for entry in entries if f"{module}.".startswith(f"{entry}.")
    ]
    assert fits, f"{module} has no row: add it to ROWS"
    _, row, entry = max(fits)
    return row, entry


@pytest.mark.parametrize("module", modules())
def test_imports_go_one_way(module):
    row, part = part_of(module)
    for name in provenance.direct_imports(f"pjap_bench.{module}"):
        imported = name.removeprefix("pjap_bench").removeprefix(".")
        if not imported:
            continue
        other_row, other = part_of(imported)
        assert other_row < row or other == part, f"{module} imports {imported}"


def test_samplers_and_algorithms_do_not_know_each_other():
    for name, other in (("samplers", "algorithms"), ("algorithms", "samplers")):
        for module in provenance.imports_of(f"pjap_bench.{name}"):
            assert not module.startswith(f"pjap_bench.{other}")


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_no_torch(module):
    code = f"import sys, pjap_bench.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=provenance.PACKAGE.parent).returncode == 0


def test_a_digest_covers_what_a_stage_imports_and_nothing_else():
    training = provenance.imports_of("pjap_bench.training")
    assert {"pjap_bench.samplers.pjap", "pjap_bench.networks", "pjap_bench.algorithms.maddpg_cql", "pjap_bench.files"} <= training
    others = ("pjap_bench.figures", "pjap_bench.statistics", "pjap_bench.games", "pjap_bench.config", "pjap_bench.provenance")
    assert not any(name.startswith(others) for name in training)
    figure = provenance.imports_of("pjap_bench.figures.figure3")
    assert "pjap_bench.figures.figure4" not in figure
    assert "pjap_bench.training" not in figure
    digests = {name: provenance.source_digest(f"pjap_bench.{name}") for name in ("training", "report", "figures.figure3")}
    assert len(set(digests.values())) == 3
