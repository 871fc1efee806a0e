# Each figure from its own data alone; the code of figure NAME is pjap_bench/figures/NAME.py. Figure N and its companion over
# seeds share their data.
FIGURE_DATA = {
    **{
        f"figure{number}{kind}": [f"{RESULTS}/games/figure{number}.npz"]
        for number in range(1, 6)
        for kind in ("", "_seeds")
    },
    **{name: [f"{RESULTS}/games/robustness.csv"] for name in ("robustness", "robustness_beyond")},
    "figure6": [*STATISTICS, *SUMMARIES],
    "comparisons": [*STATISTICS, *SUMMARIES],
}
if unlisted := FIGURE_DATA.keys() ^ figures.FIGURES.keys():
    raise BenchError(
        f"only one of them holds {', '.join(sorted(unlisted))}",
        where="FIGURES in pjap_bench/figures/__init__.py and FIGURE_DATA in workflow/rules/figures.smk",
        do="add it to the other one",
    )


rule draw_figure:
    input:
        lambda wildcards: FIGURE_DATA[wildcards.figure],
    output:
        png=report(f"{RESULTS}/figures/{{figure}}.png", category="Figures", labels={"figure": "{figure}"}),
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/draw_figure/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_figure/{{figure}}.tsv"
    wildcard_constraints:
        figure="|".join(FIGURE_DATA),
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        label=LABEL,
        settings=lambda wildcards: json.dumps(EVALUATED if wildcards.figure in figures.OF_STATISTICS else {}),
        results=subpath(output.png, ancestor=2),
        code=lambda wildcards: code(f"figures.{wildcards.figure}"),
    shell:
        "python -m pjap_bench draw --figure {wildcards.figure} --label {params.label:q} --results {params.results:q}"
        " --settings {params.settings:q} 2>&1 | tee {log:q}"


# A dataset at a glance.
rule draw_dataset:
    input:
        f"{RESULTS}/datasets/{{dataset}}.description.json",
    output:
        png=report(f"{RESULTS}/figures/dataset_{{dataset}}.png", category="Datasets", labels={"dataset": "{dataset}"}),
        pdf=f"{RESULTS}/figures/dataset_{{dataset}}.pdf",
    log:
        f"{RESULTS}/logs/draw_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(CARDS),
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        label=SCALE_LABEL,
        results=subpath(output.png, ancestor=2),
        code=code("figures.dataset"),
    shell:
        "python -m pjap_bench draw-dataset --dataset {wildcards.dataset} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"


# The small figures of the claims, next to their verdicts in the report.
rule draw_claims:
    input:
        expand("{results}/games/{experiment}.npz", results=RESULTS, experiment=GAMES),
    output:
        expand("{results}/figures/claims/{claim}.png", results=RESULTS, claim=figures.CLAIMS),
    log:
        f"{RESULTS}/logs/draw_claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_claims.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        label=LABEL,
        results=subpath(output[0], ancestor=3),
        code=code("figures.claims"),
    shell:
        "python -m pjap_bench draw-claims --label {params.label:q} --results {params.results:q} 2>&1 | tee {log:q}"
