# Training: a stack is some arms and seeds on one dataset that train side by side (`jobs.runs_per_stack`), in a folder of its
# own. Progress lines go to the terminal and into the log. Checkpoints are no outputs: Snakemake would delete them with a
# failed job.
RUN_FILES = ["evaluations.csv", "metrics.csv", "policies.safetensors", "run.json", "timing.json"]

# Asked for where there is one: Kubernetes' executor takes gpu=0 for a GPU, too, and needs its maker.
GPU = {"gpu": 1, "gpu_manufacturer": "nvidia"} if SETTINGS["jobs"]["device"] == "cuda" else {}

# A pod of Kubernetes keeps checkpoints on the volume with the project's folder, all else goes with it.
STORAGE = workflow.storage_settings
VOLUME = STORAGE.default_storage_prefix if STORAGE.default_storage_provider == "fs" else None
KEPT = Path(VOLUME or "", RESULTS, "checkpoints")


rule train:
    input:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    output:
        multiext(f"{RESULTS}/runs/{{dataset}}/{{arms}}/seeds-{{seeds}}/", *RUN_FILES),
    log:
        f"{RESULTS}/logs/train/{{dataset}}/{{arms}}/seeds-{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{dataset}}/{{arms}}/seeds-{{seeds}}.tsv"
    wildcard_constraints:
        dataset=any_of(EXPERIMENTS),
        arms=any_of("+".join(stack.arms) for stacks in STACKS.values() for stack in stacks),
        seeds=r"\d+-\d+",
    container:
        TRAIN
    threads: SETTINGS["jobs"]["threads"] + SETTINGS["jobs"]["evaluators"]
    resources:
        **GPU,
        mem_mb=4000 + 1000 * SETTINGS["jobs"]["evaluators"],
        runtime=24 * 60,
        # Resources and no parameters: what a result does not depend on must not rerun it.
        own_threads=lambda wildcards, threads: max(1, threads - SETTINGS["jobs"]["evaluators"]),
        checkpoint_every=SETTINGS["jobs"]["checkpoint_every"],
        evaluators=SETTINGS["jobs"]["evaluators"],
        stop_after=SETTINGS["jobs"]["stop_after"],
    params:
        seeds=seeds_of,
        settings=lambda wildcards: json.dumps(arms_settings(wildcards)),
        label=SCALE_LABEL,
        code=code("training"),
        checkpoints=f"{KEPT}/{{dataset}}/{{arms}}/seeds-{{seeds}}",
        folder=subpath(output[0], parent=True),
        device=SETTINGS["jobs"]["device"],
    shell:
        "python -m pjap_bench train --dataset {input.data:q} --seeds {params.seeds} --settings {params.settings:q}"
        " --label {params.label:q} --threads {resources.own_threads} --device {params.device}"
        " --evaluators {resources.evaluators} --stop-after {resources.stop_after}"
        " --checkpoint-every {resources.checkpoint_every} --checkpoints {params.checkpoints:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
