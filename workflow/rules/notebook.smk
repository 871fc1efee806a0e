# The notebook on the games as it is rendered, as one static page beside the report.
rule export_notebook:
    output:
        report(f"{RESULTS}/notebook.html", category="Report"),
    log:
        f"{RESULTS}/logs/export_notebook.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_notebook.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=json.dumps(
            {name: SETTINGS["games"][name] for name in ("twin_peaks", *(f"figure{number}" for number in range(1, 6)))}
        ),
        label=SCALE_LABEL,
        code=code("notebook.export"),
    shell:
        "python -m pjap_bench export-notebook --settings {params.settings:q} --label {params.label:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
