"""docs/extend.md, 'A figure': a place that was forgotten is named at once (the report's: tests/report)."""

from tests.workflow.test_workflow import SMOKE, copy_tree, snakemake


def test_a_figure_without_its_data_is_one_clear_error(tmp_path):
    copy = copy_tree(tmp_path / "copy")
    registry = copy / "pjap_bench" / "figures" / "__init__.py"
    written = registry.read_text(encoding="utf-8")
    registry.write_text(written + 'FIGURES["mine"] = "pjap_bench.figures.mine"\n', encoding="utf-8")
    done = snakemake(copy, "-n", *SMOKE)
    said = "FIGURE_DATA in workflow/rules/figures.smk: only one of them holds mine"
    assert done.returncode and said in done.stdout + done.stderr
