# Every command here does the set-up first, once. `make help` lists the commands and the settings.

scales := smoke quick laptop paper

#: SCALE        smoke, quick, laptop or paper (default: quick)
SCALE ?= quick
#: SWEEP        for `make sweep`: a file in workflow/sweeps (default: what_decides); for `make pin`: pins that sweep
SWEEP ?=
#: CONTAINERS   auto (the default: where RUNTIME is found), on (an error without) or off
CONTAINERS ?= auto
#: RUNTIME      what runs the containers: apptainer (the default), podman or docker
RUNTIME ?= apptainer
#: IMAGES       for `make images` and `make publish`: names in containers/images.yaml (default: all that the workflow needs)
IMAGES ?=
#: PIN          for `make images`: yes writes containers/images.lock.yaml anew instead of comparing with it
PIN ?=
#: TO           for `make publish`: docker://HOST/PATH or oci:FOLDER
TO ?=
#: FROM         for `make images`: where they were published, instead of building them; for `make figures`, `make cite` and
#:              `make verdict`: a release, for instance pinned/NAME
FROM ?=
#: NAME         for `make pin`: the name of the release
NAME ?=
#: A, B         for `make compare`: two releases or folders of results
A ?=
B ?=
#: PROFILE      how jobs are run: a folder in profiles/ (default: this machine)
PROFILE ?= default
#: CORES        a number, or all (default: what the profile says, on this machine all)
CORES ?=
#: CONFIG       settings on top of the scale's: CONFIG='key=value "key={name: value}" ...'
CONFIG ?=
#: ARGS         further arguments of snakemake, marimo, pytest or compare: ARGS=-n, ARGS='--headless --port 2718', ARGS='-k sampler'
ARGS ?=
#: TORCH        the build of torch in .venv: cpu (the default) or cuda
#: TORCH_INDEX  where torch's CPU build comes from when pip's find-links lack it (default: PyTorch's own index)
#: PYTHON       the Python 3.11 that .venv is made with (default: python3)
#: UV           the uv that makes the locks (default: uv)

contained = containers=$(CONTAINERS) runtime=$(RUNTIME)
in_venv = PATH='$(subst ','\'',$(CURDIR))/.venv/bin':"$$PATH"

# Those settings in CONFIG, as the shell will read them, and where reproduce leaves its results.
configured = $(shell printf '%s\n' $(CONFIG) | grep -E '^($(1))=')
folder = $(or $(patsubst results=%,%,$(call configured,results)),results)/$(SCALE)

# A stranger's PYTHONPATH must not put other packages before the locked ones.
unexport PYTHONPATH PYTHONHOME

# Make would take any other name and tell nobody: a slip, or a key of the configuration.
settings := SCALE SWEEP CONTAINERS RUNTIME IMAGES PIN TO FROM NAME A B PROFILE CORES CONFIG ARGS TORCH TORCH_INDEX PYTHON UV
typed = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(settings) SHELL MAKEFLAGS,$(typed)),$(error '$(name)=$($(name))' is no setting of make \
  (make help lists them, for example SCALE=smoke). Those of the configuration go into CONFIG='"training={batch: 32}"'; \
  a variable of the environment goes before make))

ifneq ($(filter reproduce sweep verdict pin publish,$(MAKECMDGOALS)),)
  ifneq ($(words $(SCALE)) $(filter $(SCALE),$(scales)),1 $(SCALE))
    $(error SCALE='$(SCALE)' is not a scale; use one of: $(scales). For example: make reproduce SCALE=smoke)
  endif
  $(if $(wildcard profiles/$(PROFILE)/config*.yaml),,$(error PROFILE='$(PROFILE)' is no profile; use one of: \
    $(notdir $(wildcard profiles/*))))
  $(if $(word 2,$(folder)),$(error CONFIG: results= names one folder, and without a blank: '$(folder)'))
  $(if $(filter -C% --config%,$(filter-out --configfile%,$(ARGS))),$(error ARGS: of two --config only the last would count; \
    use CONFIG='key=value ...' instead))
  $(if $(call configured,scale|sweep|containers|runtime),$(error CONFIG: what make has a setting for would be said twice; \
    use SCALE=, SWEEP=, CONTAINERS= or RUNTIME= instead))
endif
ifneq ($(words $(CONTAINERS)) $(filter $(CONTAINERS),auto on off),1 $(CONTAINERS))
  $(error CONTAINERS='$(CONTAINERS)'; use auto (the default), on or off)
endif
ifneq ($(words $(RUNTIME)) $(filter $(RUNTIME),apptainer podman docker),1 $(RUNTIME))
  $(error RUNTIME='$(RUNTIME)'; use apptainer (the default), podman or docker)
endif
ifneq ($(filter-out yes,$(PIN)),)
  $(error PIN='$(PIN)'; use yes, or nothing)
endif
ifneq ($(filter-out cpu cuda,$(TORCH)),)
  $(error TORCH='$(TORCH)' is not a build of torch; use TORCH=cpu (the default) or TORCH=cuda)
endif

$(if $(SWEEP),$(if $(filter reproduce verdict,$(MAKECMDGOALS)),$(error SWEEP='$(SWEEP)' is for make sweep and make pin)))
needs = $(if $($(2)),,$(if $(filter $(1),$(MAKECMDGOALS)),$(error make $(1) needs $(2)=...; for example: $(3))))
$(call needs,pin,NAME,make pin NAME=first SCALE=quick)
$(call needs,figures,FROM,make figures FROM=pinned/laptop)
$(call needs,cite,FROM,make cite FROM=pinned/laptop)
$(call needs,compare,A,make compare A=pinned/laptop B=results/quick)
$(call needs,compare,B,make compare A=pinned/laptop B=results/quick)

$(if $(and $(filter images,$(MAKECMDGOALS)),$(FROM),$(PIN)$(filter-out apptainer,$(RUNTIME))),$(error make images FROM=... gets \
  the pinned images as apptainer runs them; leave out PIN and RUNTIME, or FROM))

.DEFAULT_GOAL := help
.PHONY: help setup reproduce sweep verdict pin figures compare cite notebook benchmark images publish apptainer doctor
.PHONY: verify-reproducible test test-slurm test-kubernetes docs lint lock clean

help: ## list the commands and the settings
	@awk 'BEGIN { FS = ":.*## "; print "make COMMAND [SETTING=VALUE ...]\n\nCommands:" } \
		/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 } \
		/^#: / { settings = settings "  " substr($$0, 4) "\n" } \
		END { printf "\nSettings:\n%s", settings }' $(firstword $(MAKEFILE_LIST))

reproduce: setup ## the paper from start to end at SCALE, into results/SCALE/
	@$(in_venv) python containers/build.py --if-needed $(CONTAINERS) --runtime $(RUNTIME)
	@$(in_venv) snakemake $(ARGS) --workflow-profile profiles/$(PROFILE) $(if $(CORES),--cores $(CORES)) --config scale=$(SCALE) $(contained) $(CONFIG)
	@[ ! -f '$(folder)/report.html' ] || echo "report: $(folder)/report.html (in words: make verdict FROM=$(folder))"

sweep: setup ## the variants of workflow/sweeps/SWEEP.yaml at SCALE, into results/SCALE/sweeps/SWEEP/
	@$(in_venv) python containers/build.py --if-needed $(CONTAINERS) --runtime $(RUNTIME)
	@$(in_venv) snakemake $(ARGS) --workflow-profile profiles/$(PROFILE) $(if $(CORES),--cores $(CORES)) --config scale=$(SCALE) sweep=$(or $(SWEEP),what_decides) $(contained) $(CONFIG)

verdict: setup ## print the verdict on every claim, of results/SCALE or of the release FROM; exits 0 whatever the verdict
	@$(in_venv) python -m pjap_bench verdict --results '$(or $(FROM),$(folder))'

pin: setup ## pin the finished results/SCALE, or with SWEEP= that sweep of them, as the release pinned/NAME
	@$(in_venv) python -m pjap_bench pin --results '$(folder)$(if $(SWEEP),/sweeps/$(SWEEP))' --name '$(NAME)'

figures: setup ## every figure and the verdict anew from the release FROM, without training, into results/redrawn/NAME
	@$(in_venv) python -m pjap_bench redraw --release '$(FROM)'

compare: setup ## which claims, intervals and curves changed from A to B
	@$(in_venv) python -m pjap_bench compare '$(A)' '$(B)' $(ARGS)

cite: setup ## how to cite the release FROM
	@$(in_venv) python -m pjap_bench cite --release '$(FROM)'

notebook: setup ## the interactive notebook on the games, in a browser; its code is in the menu at the top right
	@$(in_venv) python -m marimo run pjap_bench/notebook/games.py --include-code $(ARGS)

benchmark: setup ## measure what things cost on this machine, into results/benchmark.csv
	@$(in_venv) python -m pjap_bench benchmark --output results/benchmark.csv

images: setup ## build the pinned images and compare them with containers/images.lock.yaml, or get them with FROM=
	@$(in_venv) python containers/$(if $(FROM),publish.py pull $(FROM) $(if $(IMAGES),--images $(IMAGES)),build.py $(IMAGES) $(if $(filter yes,$(PIN)),--pin) $(if $(filter apptainer,$(RUNTIME)),,--oci))

publish: setup ## push the images, and results/SCALE where it is there, to the registry or OCI layout that TO names
	@$(in_venv) python containers/publish.py push '$(TO)' $(if $(IMAGES),--images $(IMAGES)) $(addprefix --results ,$(wildcard $(folder)))

apptainer: ## an apptainer of this project's own, on a Debian 12 (as root)
	@containers/get_apptainer.sh

doctor: setup ## what this machine has for the workflow, what will be used, what is missing and how to get it
	@$(in_venv) python -m pjap_bench doctor --containers $(CONTAINERS) --runtime $(RUNTIME)

verify-reproducible: setup ## run the scale smoke twice in the images and once outside, and compare the hash of every output
	@$(in_venv) python containers/verify_reproducible.py --runtime $(RUNTIME)

test: setup ## the tests
	@$(in_venv) python -m pytest $(ARGS)

test-slurm: setup ## bring up Slurm on this machine, run the scale smoke on it inside the images, take it down (root)
	@$(in_venv) tests/slurm/run.sh

test-kubernetes: setup ## run the scale smoke as pods of a stand-in of Kubernetes, which are podman containers
	@$(in_venv) tests/kubernetes/run.sh

docs: ## build the documentation site into site/, with a virtual environment of its own; a warning is an error
	@workflow/environment/set_up_docs.sh
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

lint: setup ## check code and workflow: ruff, ruff format, snakefmt
	@$(in_venv) ruff check .
	@$(in_venv) ruff format --check .
	@$(in_venv) snakefmt --check Snakefile workflow

setup: ## make .venv from the locks, once
	@workflow/environment/set_up.sh $(TORCH)

lock: ## make the locks anew from workflow/environment/*.in
	@workflow/environment/lock.sh

clean: ## remove .venv, the documentation site and caches; results/ stays
	rm -rf .venv .venv-docs site .pytest_cache .ruff_cache .hypothesis
	find pjap_bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
