# A sweep: `--config sweep=NAME` makes its variants the arms of the workflow, and these two rules its end.
rule tabulate_sweep:
    input:
        f"{RESULTS}/scores.csv",
        SUMMARIES,
    output:
        multiext(f"{RESULTS}/", "sweep.csv", "sweep.provenance.json"),
    log:
        f"{RESULTS}/logs/tabulate_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/tabulate_sweep.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=json.dumps(EVALUATED | {"sweep": SETTINGS["sweep"]}),
        label=LABEL,
        results=subpath(output[0], parent=True),
        code=code("statistics.sweep"),
    shell:
        "python -m pjap_bench tabulate-sweep --settings {params.settings:q} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"


rule draw_sweep:
    input:
        multiext(f"{RESULTS}/", "sweep.csv", "sweep.provenance.json"),
        SUMMARIES,
        # of what the sweep was trained on, for `make pin`
        expand(
            "{results}/datasets/{dataset}.{kind}.json",
            results=RESULTS,
            dataset=DESCRIBED,
            kind=["description", "croissant"],
        ),
    output:
        multiext(f"{RESULTS}/sweep", ".png", ".pdf"),
    log:
        f"{RESULTS}/logs/draw_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_sweep.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=json.dumps(EVALUATED),
        label=LABEL,
        results=subpath(output[0], parent=True),
        code=code("figures.sweep"),
    shell:
        "python -m pjap_bench draw-sweep --settings {params.settings:q} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"
