# What the rules share: the checked configuration, digests of sources, names of jobs.
# --config and --configfile come on top of the scale's settings, and are checked like them.
containers.check_folder()
SCALE = config.get("scale", "quick")
SETTINGS = configuration.load(SCALE, {key: value for key, value in config.items() if key not in ("scale", "sweep")})
RESULTS = f"{SETTINGS['results']}/{SCALE}"
SWEEP = config.get("sweep")  # a file in workflow/sweeps; its results lie in a folder of their own
if SWEEP:
    SETTINGS = configuration.swept(SETTINGS, SWEEP)
    RESULTS = f"{RESULTS}/sweeps/{SWEEP}"
CARDS = {name: cards.load(name) for name in cards.names()}
SCALE_LABEL = json.dumps({"scale": SCALE})
LABEL = json.dumps(
    {"scale": SCALE, "regime": SETTINGS["regime"]}
)  # not for training: a reworded sentence must not retrain


def outside_of_the_project():
    """The folders beyond the project's that steps read or write, links followed: the results, and the files that cards name."""
    files = [Path(card["file"]) for card in CARDS.values() if "file" in card]
    files += [
        fetch.local_path(url) for card in CARDS.values() for url in card.get("urls", []) if url.startswith("file:")
    ]
    folders = {Path(SETTINGS["results"]).resolve(), *(file.resolve().parent for file in files if file.exists())} - {
        Path("/")
    }
    return sorted(str(folder) for folder in folders if not folder.is_relative_to(Path.cwd()))


def code(module):
    """Snakemake does not see what a command imports: a digest as parameter makes a changed source rerun its stage."""
    return provenance.source_digest(f"pjap_bench.{module}")


# Containers: images by name, empty for none, and why.
NEEDED = ["analysis", "train-cuda" if SETTINGS["jobs"]["device"] == "cuda" else "train"]
RUNTIME = SETTINGS["runtime"]
IMAGES, WHERE = containers.choose(containers.decided(SETTINGS["containers"], workflow.is_main_process), RUNTIME, NEEDED)
ANALYSIS, TRAIN = (IMAGES.get(name) for name in NEEDED)  # None: outside
containers.hand_down(IMAGES, RUNTIME, outside_of_the_project(), gpu=SETTINGS["jobs"]["device"] == "cuda")

# A prefix replaces Snakemake's own, so bash's strict mode is said again: without pipefail a failure in front of `tee` would go
# unseen. Inside an image every step looks whether it is in one; outside commands find the python that runs Snakemake, also
# where nobody activated its environment.
if IMAGES:
    shell.prefix(f"set -euo pipefail; export {containers.PINNED}=1; ")
else:
    # Snakemake formats a prefix.
    programs = shlex.quote(str(Path(sys.executable).parent)).replace("{", "{{").replace("}", "}}")
    shell.prefix(f'set -euo pipefail; export PATH={programs}:"$PATH"; ')


onstart:
    print(f"containers: {WHERE}", file=sys.stderr)
    if IMAGES and "APPTAINER" not in {method.name for method in workflow.deployment_settings.deployment_method}:
        # Snakemake would run every rule outside, and say nothing.
        raise BenchError(
            "Snakemake was not told to use the images",
            where="containers",
            do="add --software-deployment-method apptainer, or set containers=off",
        )
    Path(SETTINGS["results"]).mkdir(parents=True, exist_ok=True)  # before a job has it bound
    for name in IMAGES:
        containers.verify(name, RUNTIME)


EXPERIMENTS = SETTINGS["experiments"]


STACKS = {dataset: configuration.stacks(SETTINGS, dataset) for dataset in EXPERIMENTS}


def run_files(name):
    """That file of every stack of the scale."""
    return [f"{RESULTS}/runs/{dataset}/{stack.name}/{name}" for dataset in EXPERIMENTS for stack in STACKS[dataset]]


def arms_settings(wildcards):
    """By arm, all that its results depend on."""
    return {arm: configuration.training_settings(SETTINGS, wildcards.dataset, arm) for arm in wildcards.arms.split("+")}


def seeds_of(wildcards):
    first, last = map(int, wildcards.seeds.split("-"))
    return list(range(first, last + 1))


def any_of(names):
    """For wildcard constraints."""
    return "|".join(map(re.escape, sorted(set(names)))) or "none"


GENERATED = [name for name, card in CARDS.items() if card["source"] == "generated"]
MIXTURES = [name for name, card in CARDS.items() if card["source"] == "mixture"]
VAULTS = [name for name, card in CARDS.items() if card["source"] == "og_marl_vault"]
IMPORTED = [name for name, card in CARDS.items() if card["source"] in ("hdf5", "minari")]
DOWNLOADS = f"{SETTINGS['results']}/downloads"
ARCHIVES = fetch.downloads(CARDS)


def mixed_files(wildcards, kind):
    """The file of that kind of each dataset that a mixture takes of, once."""
    names = dict.fromkeys(part.dataset for part in cards.parts(CARDS[wildcards.dataset]))
    return expand("{results}/datasets/{part}.{kind}", results=RESULTS, part=names, kind=kind)


def cards_of(dataset):
    """The card of a dataset and those of its parts."""
    return [CARDS[name] for name in dict.fromkeys([dataset, *(part.dataset for part in cards.parts(CARDS[dataset]))])]


def imported_file(wildcards):
    """The file that a card names, or its download; a Minari dataset lies in Minari's own folder."""
    card = CARDS[wildcards.dataset]
    if "urls" in card:
        return f"{DOWNLOADS}/{fetch.file_name(card)}"
    return card.get("file", [])
