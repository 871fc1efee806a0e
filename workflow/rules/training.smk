# Training: a stack is some arms and seeds on one dataset that train side by side (`jobs.runs_per_stack`), in a folder of its
# own. Progress lines go to the terminal and into the log. Checkpoints are no outputs: Snakemake would delete them with a
# failed job.
RUN_FILES = ["evaluations.csv", "metrics.csv", "policies.safetensors", "run.json", "timing.json"]


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
        mem_mb=4000 + 1000 * SETTINGS["jobs"]["evaluators"],
        runtime=24 * 60,
        gpu=int(SETTINGS["jobs"]["device"] == "cuda"),
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
        checkpoints=f"{RESULTS}/checkpoints/{{dataset}}/{{arms}}/seeds-{{seeds}}",
        folder=subpath(output[0], parent=True),
        device=SETTINGS["jobs"]["device"],
    shell:
        "python -m pjap_bench train --dataset {input.data:q} --seeds {params.seeds} --settings {params.settings:q}"
        " --label {params.label:q} --threads {resources.own_threads} --device {params.device}"
        " --evaluators {resources.evaluators} --stop-after {resources.stop_after}"
        " --checkpoint-every {resources.checkpoint_every} --checkpoints {params.checkpoints:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
