# Every command here does the set-up first, once. `make help` lists the commands and the settings.

scales := smoke quick laptop paper

#: SCALE        smoke, quick, laptop or paper (default: quick)
SCALE ?= quick
#: SWEEP        for `make sweep`: a file in workflow/sweeps (default: what_decides)
SWEEP ?= what_decides
#: CORES        a number, or all (the default)
CORES ?= all
#: CONFIG       settings on top of the scale's: CONFIG='key=value ...'
CONFIG ?=
#: ARGS         further arguments of snakemake, marimo or pytest: ARGS=-n, ARGS='--headless --port 2718', ARGS='-k sampler'
ARGS ?=
#: TORCH        the build of torch in .venv: cpu (the default) or cuda
#: TORCH_INDEX  where torch's CPU build comes from when pip's find-links lack it (default: PyTorch's own index)
#: PYTHON       the Python 3.11 that .venv is made with (default: python3)
#: UV           the uv that makes the locks (default: uv)

in_venv = PATH="$(CURDIR)/.venv/bin:$$PATH"

# A stranger's PYTHONPATH must not put other packages before the locked ones.
unexport PYTHONPATH PYTHONHOME

ifneq ($(filter reproduce sweep,$(MAKECMDGOALS)),)
  ifneq ($(words $(SCALE)) $(filter $(SCALE),$(scales)),1 $(SCALE))
    $(error SCALE='$(SCALE)' is not a scale; use one of: $(scales). For example: make reproduce SCALE=smoke)
  endif
  ifneq ($(filter --config,$(ARGS)),)
    $(error ARGS: a second --config would replace the first and with it the scale; use CONFIG='key=value ...' instead)
  endif
endif
ifneq ($(filter-out cpu cuda,$(TORCH)),)
  $(error TORCH='$(TORCH)' is not a build of torch; use TORCH=cpu (the default) or TORCH=cuda)
endif

.DEFAULT_GOAL := help
.PHONY: help setup reproduce sweep notebook benchmark test lint lock clean

help: ## list the commands and the settings
	@awk 'BEGIN { FS = ":.*## "; print "make COMMAND [SETTING=VALUE ...]\n\nCommands:" } \
		/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 } \
		/^#: / { settings = settings "  " substr($$0, 4) "\n" } \
		END { printf "\nSettings:\n%s", settings }' $(firstword $(MAKEFILE_LIST))

reproduce: setup ## the paper from start to end at SCALE, into results/SCALE/
	@$(in_venv) snakemake $(ARGS) --profile workflow/profiles/local --cores $(CORES) --config scale=$(SCALE) $(CONFIG)

sweep: setup ## the variants of workflow/sweeps/SWEEP.yaml at SCALE, into results/SCALE/sweeps/SWEEP/
	@$(in_venv) snakemake $(ARGS) --profile workflow/profiles/local --cores $(CORES) --config scale=$(SCALE) sweep=$(SWEEP) $(CONFIG)

notebook: setup ## the interactive notebook on the games, in a browser; its code is in the menu at the top right
	@$(in_venv) python -m marimo run pjap_bench/notebook/games.py --include-code $(ARGS)

benchmark: setup ## measure what things cost on this machine, into results/benchmark.csv
	@$(in_venv) python -m pjap_bench benchmark --output results/benchmark.csv

test: setup ## the tests
	@$(in_venv) python -m pytest $(ARGS)

lint: setup ## check code and workflow: ruff, ruff format, snakefmt
	@$(in_venv) ruff check .
	@$(in_venv) ruff format --check .
	@$(in_venv) snakefmt --check Snakefile workflow

setup: ## make .venv from the locks, once
	@workflow/environment/set_up.sh $(TORCH)

lock: ## make the locks anew from workflow/environment/*.in
	@workflow/environment/lock.sh

clean: ## remove .venv and caches; results/ stays
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
	find pjap_bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
