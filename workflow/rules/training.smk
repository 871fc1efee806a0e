# Training: a job is some seeds of one arm on one dataset (`jobs.runs_per_job`), in a folder of its own.
# Progress lines go to the terminal and into the log. Checkpoints are no outputs: Snakemake would delete them with a failed job.
rule train:
    input:
        data=f"{RESULTS}/datasets/{{dataset}}.h5",
        summary=f"{RESULTS}/datasets/{{dataset}}.json",
    output:
        multiext(
            f"{RESULTS}/runs/{{dataset}}/{{arm}}/seeds-{{seeds}}/",
            "evaluations.csv",
            "metrics.csv",
            "policy.safetensors",
            "run.json",
            "timing.json",
        ),
    log:
        f"{RESULTS}/logs/train/{{dataset}}/{{arm}}/seeds-{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{dataset}}/{{arm}}/seeds-{{seeds}}.tsv"
    wildcard_constraints:
        dataset="|".join(EXPERIMENTS),
        arm="|".join(SETTINGS["arms"]),
        seeds=r"\d+-\d+",
    threads: SETTINGS["jobs"]["threads"]
    resources:
        mem_mb=4000,
        runtime=24 * 60,
    params:
        seeds=seeds_of,
        settings=lambda wildcards: json.dumps(
            configuration.training_settings(SETTINGS, wildcards.dataset, wildcards.arm)
        ),
        label=SCALE_LABEL,
        code=code("training"),
        checkpoints=f"{RESULTS}/checkpoints/{{dataset}}/{{arm}}/seeds-{{seeds}}",
        every=SETTINGS["jobs"]["checkpoint_every"],
        folder=subpath(output[0], parent=True),
    shell:
        "python -m pjap_bench train --dataset {input.data:q} --arm {wildcards.arm} --seeds {params.seeds}"
        " --settings {params.settings:q} --label {params.label:q} --threads {threads}"
        " --checkpoints {params.checkpoints:q} --checkpoint-every {params.every}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
