# Figures 1 to 6, each from its own data alone: Figure N's code is pjap_bench/figures/figureN.py.
FIGURE_DATA = {
    **{name: [f"{RESULTS}/games/{name}.npz"] for name in GAME_FIGURES},
    "figure6": [
        *multiext(f"{RESULTS}/", "statistics.csv", "scores.csv", "curves.csv", "statistics.provenance.json"),
        *SUMMARIES,
    ],
}


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
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        label=LABEL,
        settings=lambda wildcards: json.dumps(EVALUATED if wildcards.figure == "figure6" else {}),
        results=lambda wildcards: RESULTS,
        code=lambda wildcards: code(f"figures.{wildcards.figure}"),
    shell:
        "python -m pjap_bench draw --figure {wildcards.figure} --label {params.label:q} --results {params.results:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"
