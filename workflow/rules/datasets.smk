# Datasets: one card in datasets/ is one dataset; generated ones are collected, mixtures are concatenated.
CARDS = {name: cards.load(name) for name in cards.names()}
GENERATED = [name for name, card in CARDS.items() if card["source"] == "generated"]
for dataset in {part for name in EXPERIMENTS for part in CARDS[name].get("parts", [name])}:
    if dataset not in SETTINGS["datasets"]["episodes_per_policy"]:
        raise BenchError(f"key 'datasets.episodes_per_policy.{dataset}' is missing", where="configuration", do="add it")
MIXTURES = [name for name, card in CARDS.items() if card["source"] == "mixture"]


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
    threads: SETTINGS["jobs"]["processes"]
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        episodes=lambda wildcards: SETTINGS["datasets"]["episodes_per_policy"][wildcards.dataset],
        label=SCALE_LABEL,
        code=code("datasets.collection"),
    shell:
        "python -m pjap_bench collect --dataset {wildcards.dataset} --episodes {params.episodes}"
        " --processes {threads} --label {params.label:q} --output {output.data:q} > {log:q} 2>&1"


rule mix_dataset:
    input:
        lambda wildcards: expand(
            "{results}/datasets/{part}.h5", results=RESULTS, part=CARDS[wildcards.dataset]["parts"]
        ),
    output:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/mix_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/mix_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(MIXTURES),
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        card=lambda wildcards: json.dumps(CARDS[wildcards.dataset]),
        label=SCALE_LABEL,
        code=code("datasets.collection"),
    shell:
        "python -m pjap_bench mix --dataset {wildcards.dataset} --parts {input:q}"
        " --label {params.label:q} --output {output.data:q} > {log:q} 2>&1"


# Off the default path: `snakemake --cores 2 behaviour_policies` trains them anew, about two core-hours.
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
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=json.dumps(SETTINGS["behaviour"]),
        card=lambda wildcards: json.dumps(
            [policy for policy in CARDS[wildcards.dataset]["policies"] if policy["name"] == wildcards.policy]
        ),
        code=code("behaviour.matd3"),
    shell:
        "python -m pjap_bench train-behaviour --dataset {wildcards.dataset} --policy {wildcards.policy}"
        " --settings {params.settings:q} --output {output:q} > {log:q} 2>&1"
