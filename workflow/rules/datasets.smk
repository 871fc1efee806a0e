# Datasets: one card in datasets/ is one dataset; its source says by which rule it is made.


rule collect_dataset:
    input:
        policies=lambda wildcards: [policy["file"] for policy in CARDS[wildcards.dataset]["policies"]],
    output:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/collect_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(GENERATED),
    priority: 1  # else it waits for two free cores until the first long training ends
    container:
        ANALYSIS
    threads: SETTINGS["jobs"]["processes"]
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        episodes=lambda wildcards: min(
            CARDS[wildcards.dataset]["episodes_per_policy"], SETTINGS["datasets"]["episodes_at_most"]
        ),
        label=SCALE_LABEL,
        code=code("datasets.collection"),
    shell:
        "python -m pjap_bench collect --dataset {wildcards.dataset} --episodes {params.episodes}"
        " --processes {threads} --label {params.label:q} --output {output.data:q} 2>&1 | tee {log:q}"


rule mix_dataset:
    input:
        data=lambda wildcards: mixed_files(wildcards, "h5"),
        summaries=lambda wildcards: mixed_files(wildcards, "json"),  # beside them
    output:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/mix_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/mix_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(MIXTURES),
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        label=SCALE_LABEL,
        code=code("datasets.collection"),
    shell:
        "python -m pjap_bench mix --dataset {wildcards.dataset} --parts {input.data:q}"
        " --label {params.label:q} --output {output.data:q} 2>&1 | tee {log:q}"


# The datasets of the experiments, and those that they are mixed from.
DESCRIBED = sorted(
    {name for dataset in EXPERIMENTS for name in [dataset, *(part.dataset for part in cards.parts(CARDS[dataset]))]}
)


# Statistics, with the pinned behaviour policies for the distances between them, and the Croissant description.
rule describe_dataset:
    input:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
        policies=lambda wildcards: [
            policy["file"] for card in cards_of(wildcards.dataset) for policy in card.get("policies", [])
        ],
    output:
        description=f"{RESULTS}/datasets/{{dataset}}.description.json",
        croissant=f"{RESULTS}/datasets/{{dataset}}.croissant.json",
    log:
        f"{RESULTS}/logs/describe_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(CARDS),
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        cards=lambda wildcards: json.dumps(cards_of(wildcards.dataset)),
        label=SCALE_LABEL,
        code=code("datasets.description"),
    shell:
        "python -m pjap_bench describe --dataset {input.data:q} --label {params.label:q}"
        " --output {output.description:q} --croissant {output.croissant:q} 2>&1 | tee {log:q}"


# The one rule that needs a network. Archives lie beside the scales: one download serves all of them.
rule fetch_archive:
    output:
        f"{DOWNLOADS}/{{archive}}",
    log:
        f"{DOWNLOADS}/{{archive}}.log",
    wildcard_constraints:
        archive="|".join(re.escape(archive) for archive in ARCHIVES) or "none",
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=500,
        runtime=720,
        # A resource and no parameter: another card of the same file must not fetch gigabytes anew.
        dataset=lambda wildcards: ARCHIVES[wildcards.archive],
    params:
        # Neither code nor urls: a new mirror or a new line of code must not fetch gigabytes anew, either (a change of
        # the shell line below does).
        wanted=lambda wildcards: [CARDS[ARCHIVES[wildcards.archive]].get(key) for key in ("size", "sha256")],
    shell:
        "PJAP_BENCH_NETWORK=1 python -m pjap_bench fetch --dataset {resources.dataset} --output {output:q} 2>&1 | tee {log:q}"


rule convert_vault:
    input:
        lambda wildcards: f"{DOWNLOADS}/{fetch.file_name(CARDS[wildcards.dataset])}",
    output:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/convert_vault/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/convert_vault/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(VAULTS) or "none",
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        label=SCALE_LABEL,
        code=code("datasets.vault"),
    shell:
        "python -m pjap_bench convert-vault --dataset {wildcards.dataset} --archive {input:q}"
        " --label {params.label:q} --output {output.data:q} 2>&1 | tee {log:q}"


rule import_dataset:
    input:
        imported_file,
    output:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/import_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/import_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(IMPORTED) or "none",
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        source=lambda wildcards, input: f"--file {shlex.quote(input[0])}" if input else "",
        label=SCALE_LABEL,
        code=code("datasets.imports"),
    shell:
        "python -m pjap_bench import-dataset --dataset {wildcards.dataset} {params.source}"
        " --label {params.label:q} --output {output.data:q} 2>&1 | tee {log:q}"


# A dataset that fits no source (`source: rule`) brings its own rule beside its card.
for path in sorted(cards.FOLDER.glob("*.smk")):

    include: path


# Off the default path, see the README: others than the pinned ones come of it.
rule behaviour_policies:
    input:
        [
            f"{SETTINGS['results']}/behaviour/{dataset}/{policy['name']}.safetensors"
            for dataset in GENERATED
            for policy in CARDS[dataset]["policies"]
        ],


rule train_behaviour:
    output:
        f"{SETTINGS['results']}/behaviour/{{dataset}}/{{policy}}.safetensors",
    log:
        f"{SETTINGS['results']}/behaviour/{{dataset}}/{{policy}}.log",
    benchmark:
        f"{SETTINGS['results']}/behaviour/{{dataset}}/{{policy}}.tsv"
    wildcard_constraints:
        dataset="|".join(GENERATED),
        policy="[a-z0-9_]+",
    container:
        TRAIN
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=json.dumps(SETTINGS["behaviour"]),
        # What training depends on; a finished entry of the policy must not train it anew.
        card=lambda wildcards: json.dumps(
            [CARDS[wildcards.dataset].get(key) for key in ("environment", "noise", "training")]
            + [
                (policy["level"], policy["seed"])
                for policy in CARDS[wildcards.dataset]["policies"]
                if policy["name"] == wildcards.policy
            ]
        ),
        code=code("behaviour.matd3"),
    shell:
        "python -m pjap_bench train-behaviour --dataset {wildcards.dataset} --policy {wildcards.policy}"
        " --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
