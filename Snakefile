# The whole paper: games -> datasets -> training -> statistics -> figures -> report.
# `snakemake --cores 2 --config scale=smoke|quick|laptop|paper`; every setting is in workflow/config/paper.yaml.
# With `sweep=NAME` too: workflow/sweeps/NAME.yaml instead of the paper.
import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, workflow.basedir)

from pjap_bench import config as configuration
from pjap_bench import containers, figures, provenance
from pjap_bench.datasets import cards, fetch
from pjap_bench.errors import BenchError


include: "workflow/rules/common.smk"
include: "workflow/rules/games.smk"
include: "workflow/rules/robustness.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/notebook.smk"
include: "workflow/rules/report.smk"


if SWEEP:

    include: "workflow/rules/sweep.smk"


# All files that are promised, and not the last ones alone: of a lost file that nobody asks for, Snakemake takes no notice.
# Datasets are not: made anew they would be newer than the runs, which would all be trained again.
LAST = rules.draw_sweep if SWEEP else rules.write_report


rule all:
    default_target: True
    input:
        LAST.input,
        LAST.output,
        rules.write_configuration.output,
        [] if SWEEP else rules.simulate_games.output,
        rules.compute_statistics.output,
        [run_files(name) for name in RUN_FILES],
