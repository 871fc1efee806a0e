# Statistics over seeds, and from them and the games' estimates the verdict on every claim.
EVALUATED = configuration.evaluated(SETTINGS)
# Of the datasets of the experiments and of those that they are mixed from.
SUMMARIES = [f"{RESULTS}/datasets/{name}.json" for name in DESCRIBED]


STATISTICS = multiext(
    f"{RESULTS}/",
    "statistics.csv",
    "scores.csv",
    "curves.csv",
    "profiles.csv",
    "marl_eval.json",
    "statistics.provenance.json",
)


rule compute_statistics:
    input:
        run_files("run.json"),
        run_files("evaluations.csv"),
        run_files("metrics.csv"),
        SUMMARIES,
    output:
        STATISTICS,
    log:
        f"{RESULTS}/logs/compute_statistics.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_statistics.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=json.dumps(EVALUATED),
        label=LABEL,
        results=subpath(output[0], parent=True),
        code=code("statistics.summary"),
    shell:
        "python -m pjap_bench summarise --settings {params.settings:q} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"


rule judge_claims:
    input:
        claims="workflow/claims.yaml",
        estimates=f"{RESULTS}/games/estimates.json",
        statistics=f"{RESULTS}/statistics.csv",
        datasets=SUMMARIES,
    output:
        f"{RESULTS}/verdict.json",
    log:
        f"{RESULTS}/logs/judge_claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge_claims.tsv"
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
        code=code("statistics.verdict"),
    shell:
        "python -m pjap_bench judge --claims {input.claims:q} --settings {params.settings:q} --label {params.label:q}"
        " --results {params.results:q} 2>&1 | tee {log:q}"
