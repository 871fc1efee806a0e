PAPER = configuration.load("paper")


# One self-contained page: verdicts, figures, provenance, timings.
rule write_report:
    input:
        f"{RESULTS}/verdict.json",
        multiext(f"{RESULTS}/", "statistics.csv", "statistics.provenance.json"),
        multiext(f"{RESULTS}/games/", "captions.json", "errata.json", "provenance.json"),
        expand("{results}/figures/{figure}.{kind}", results=RESULTS, figure=FIGURE_DATA, kind=["png", "pdf"]),
        expand("{results}/figures/dataset_{dataset}.{kind}", results=RESULTS, dataset=DESCRIBED, kind=["png", "pdf"]),
        expand(
            "{results}/datasets/{dataset}.{kind}.json",
            results=RESULTS,
            dataset=DESCRIBED,
            kind=["description", "croissant"],
        ),
        rules.map_robustness.output,
        rules.draw_claims.output,
        rules.export_notebook.output,
        SUMMARIES,
        run_files("run.json"),
        run_files("timing.json"),
    output:
        report(f"{RESULTS}/report.html", category="Report"),
    log:
        f"{RESULTS}/logs/write_report.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_report.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=json.dumps(EVALUATED),
        # what the list of deviations reads of paper.yaml
        paper=json.dumps({key: PAPER[key] for key in ("arms", "experiments", "presets", "training")}),
        label=LABEL,
        results=subpath(output[0], parent=True),
        code=code("report"),
    shell:
        "python -m pjap_bench report --settings {params.settings:q} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"


# The complete configuration beside the results, for `make pin`. No input of the report, which says what it shows of it.
rule write_configuration:
    output:
        f"{RESULTS}/configuration.json",
    log:
        f"{RESULTS}/logs/write_configuration.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_configuration.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        settings=json.dumps(configuration.recorded(SETTINGS)),
    shell:
        "python -m pjap_bench write-configuration --settings {params.settings:q} --output {output:q} 2>&1 | tee {log:q}"
