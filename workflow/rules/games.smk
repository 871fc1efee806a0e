# Figures 1 to 5, claims and errata: simulation of the polynomial games (sections 2.3, 3 and 4.1).
GAMES = [*(f"figure{number}" for number in range(1, 6)), "random_datasets"]


rule simulate_games:
    output:
        expand("{results}/games/{experiment}.npz", results=RESULTS, experiment=GAMES),
        multiext(f"{RESULTS}/games/", "estimates.json", "captions.json", "errata.json", "provenance.json"),
    log:
        f"{RESULTS}/logs/simulate_games.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate_games.tsv"
    container:
        ANALYSIS
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=json.dumps(SETTINGS["games"]),
        label=SCALE_LABEL,
        code=code("games.experiments"),
        folder=subpath(output[0], parent=True),
    shell:
        "python -m pjap_bench simulate-games --settings {params.settings:q} --label {params.label:q}"
        " --output {params.folder:q} 2>&1 | tee {log:q}"
