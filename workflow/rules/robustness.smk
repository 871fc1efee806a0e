# The robustness map of PJAP on Twin Peaks (beyond the paper): a table, its finding, two figures.
rule map_robustness:
    output:
        multiext(f"{RESULTS}/games/robustness", ".csv", ".json"),
    log:
        f"{RESULTS}/logs/map_robustness.log",
    benchmark:
        f"{RESULTS}/benchmarks/map_robustness.tsv"
    container:
        ANALYSIS
    threads: SETTINGS["jobs"]["processes"]
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=json.dumps(SETTINGS["robustness"] | {key: SETTINGS["games"][key] for key in ("seed", "twin_peaks")}),
        label=SCALE_LABEL,
        code=code("games.robustness"),
        folder=subpath(output[0], parent=True),
    shell:
        "python -m pjap_bench map-robustness --settings {params.settings:q} --label {params.label:q}"
        " --processes {threads} --output {params.folder:q} 2>&1 | tee {log:q}"
