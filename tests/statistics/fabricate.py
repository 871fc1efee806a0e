"""Writes a small made-up results folder with known numbers, for tests only."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pjap_bench.files import sha256, write_json

SETTINGS = {
    "arms": {
        "maddpg_cql": {"label": "MADDPG+CQL", "algorithm": "maddpg_cql", "sampler": "uniform"},
        "maddpg_cql_pjap": {"label": "MADDPG+CQL+PJAP", "algorithm": "maddpg_cql", "sampler": "pjap"},
        "behaviour_cloning": {"label": "Behaviour cloning", "algorithm": "behaviour_cloning", "sampler": "uniform"},
    },
    "experiments": {
        "good": {
            "arms": ["maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning"],
            "seeds": [0, 1, 2, 3, 4],
            "updates": 1000,
        },
        "good_medium": {
            "arms": ["maddpg_cql", "maddpg_cql_pjap", "behaviour_cloning"],
            "seeds": [0, 1],
            "updates": 500,
        },
    },
    "statistics": {
        "bootstrap_seed": 0,
        "repetitions": 2000,
        "repetitions_improvement": 200,
        "repetitions_curves": 300,
        "profile_points": 11,
        "confidence": 0.95,
    },
}
STAMP = {
    "pjap_bench": "0.1.0",
    "scale": "quick",
    "regime": "Test data <made up>, not the paper's regime.",
    "seeds": [0, 1, 2, 3, 4],
    "code": "0123456789ab",
    "image": "uncontained",
    "datasets": {"good": "a" * 64, "good_medium": "b" * 64},
    "python": "3.11.7",
    "processor": "none",
    "packages": {"numpy": "2.4.6"},
}
FINAL = {"maddpg_cql": 6000.0, "maddpg_cql_pjap": 6500.0, "behaviour_cloning": 7000.0}
SAMPLED = {"maddpg_cql": 0.17, "maddpg_cql_pjap": 0.16, "behaviour_cloning": 0.165}
UNIFORM = {"maddpg_cql": 0.17, "maddpg_cql_pjap": 0.172, "behaviour_cloning": 0.165}
SELECTED = {"maddpg_cql": 0.161, "maddpg_cql_pjap": 0.162, "behaviour_cloning": 0.16}


def final_return(arm: str, seed: int) -> float:
    """The made-up final return: the arm's, moved by the seed."""
    return FINAL[arm] + 100.0 * seed + (20.0 * (seed % 2) if arm == "maddpg_cql_pjap" else 0.0)


def fabricate(results: Path) -> Path:
    """Fills `results` with datasets, runs and games' estimates and returns it."""
    for dataset in SETTINGS["experiments"]:
        summary = {
            "stamp": STAMP,
            "name": dataset,
            "origin": "generated",
            "sha256": STAMP["datasets"][dataset],
            "transitions": 4000,
            "episodes": 4,
            "return": {"mean": 6600.0, "sd": 1000.0, "min": 300.0, "max": 8000.0},
            "reference": {"random_return": -200.0, "dataset_return": 6600.0},
            "noise_floor": 0.125,
            "policies": [{"name": "good_0", "episodes": 4, "mean_return": 6600.0}],
        }
        write_json(results / "datasets" / f"{dataset}.json", summary)
    for dataset, experiment in SETTINGS["experiments"].items():
        for arm in experiment["arms"]:
            write_job(results, dataset, arm, experiment["seeds"], experiment["updates"])
    write_json(
        results / "games" / "estimates.json",
        {
            "C1": {
                "change of R": {"value": -0.1, "low": -0.1, "high": -0.1, "n": 1},
                "true change of R": {"value": 0.2, "low": 0.2, "high": 0.2, "n": 1},
            }
        },
    )
    captions = {f"figure{number}{kind}": f"Made-up caption {number}{kind}." for number in range(1, 6) for kind in ("", "_seeds")}
    write_json(results / "games" / "captions.json", captions)
    erratum = {
        "number": 1,
        "where": "Section 0",
        "paper": "“1 < 0”",
        "holds": "0 < 1.",
        "shown": [{"what": "0 & 1", "value": 0.12345}],
    }
    write_json(results / "games" / "errata.json", [erratum])
    write_json(results / "games" / "robustness.json", {"finding": "PJAP fails on the moon.", "stamp": STAMP})
    write_json(results / "games" / "provenance.json", STAMP)
    return results


def write_job(results: Path, dataset: str, arm: str, seeds: list[int], updates: int) -> Path:
    """A stack of one arm, also of a sweep's (ARM__VARIANT): evaluations at five updates and at the end, metrics at twenty."""
    folder = results / "runs" / dataset / arm / f"seeds-{seeds[0]}-{seeds[-1]}"
    kind = arm.partition("__")[0]
    folder.mkdir(parents=True, exist_ok=True)
    evaluations, metrics = [], []
    for seed in seeds:
        noise = np.random.default_rng([seed, len(arm), len(dataset)])
        for update in np.linspace(0, updates, 6).astype(int):
            for episode in range(2):
                level = -200.0 + (final_return(kind, seed) + 200.0) * (update / updates) ** 0.5
                sign = 1.0 if episode else -1.0
                evaluations.append((dataset, arm, seed, update, "training", episode, level + sign * 50.0))
        for episode in range(4):
            value = final_return(kind, seed) + (-1.0) ** episode * 30.0
            evaluations.append((dataset, arm, seed, updates, "final", episode, value))
        for update in np.linspace(0, updates, 21).astype(int)[1:]:
            decay = 0.3 * np.exp(-8.0 * update / updates)
            jitter = 0.001 * noise.standard_normal()
            metrics += [
                (dataset, arm, seed, update, "policy_loss", -update),
                (dataset, arm, seed, update, "distance_sampled", SAMPLED[kind] + decay + jitter),
                (dataset, arm, seed, update, "distance_uniform", UNIFORM[kind] + decay + jitter),
                (dataset, arm, seed, update, "distance_selected", SELECTED[kind] + decay + jitter),
                (dataset, arm, seed, update, "share:good_0", 1.0),
                (dataset, arm, seed, update, "effective_sample_size", 0.9 if kind == "maddpg_cql_pjap" else 1.0),
            ]
    columns = ["dataset", "arm", "seed", "update", "kind", "episode", "return"]
    pd.DataFrame(evaluations, columns=columns).to_csv(folder / "evaluations.csv", index=False)
    columns = ["dataset", "arm", "seed", "update", "metric", "value"]
    pd.DataFrame(metrics, columns=columns).to_csv(folder / "metrics.csv", index=False)
    chosen = SETTINGS["arms"][kind]
    run = {
        "stamp": STAMP,
        "dataset": dataset,
        "arms": {arm: {"batch": 16, "algorithm": chosen["algorithm"], "sampler": chosen["sampler"], "updates": updates}},
        "seeds": seeds,
        "updates": updates,
        "environments": [{"from": 0, "environment": {"processor": "none", "device": "cpu"}}],
    }
    write_json(folder / "run.json", run)
    timing = {"seconds": 12.5, "updates_per_second": 80.0, "runs": len(seeds), "peak_memory_bytes": 2**29}
    timing |= {"processor_joules": 43210.0 if kind == "maddpg_cql" else None}
    write_json(folder / "timing.json", timing)
    seal(folder)
    return folder


def seal(folder: Path, **changes) -> None:
    """Writes the tables' hashes (and `changes`) into run.json, as a trainer that wrote these tables would have."""
    run = json.loads((folder / "run.json").read_text()) | changes
    run["files"] = {name: sha256(folder / name) for name in ("evaluations.csv", "metrics.csv")}
    write_json(folder / "run.json", run)


def write_claims(path: Path, *claims: dict) -> Path:
    """A file of claims with the given ones, every other key filled in."""
    usual = {"where": "Fig. 6", "statement": "A made-up claim", "smallest_scale": "smoke"}
    limits = dict.fromkeys(("smoke", "quick", "laptop", "paper"), "May claim nothing.")
    book = {"minimum_seeds": 5, "limits": limits, "claims": [usual | claim for claim in claims]}
    path.write_text(yaml.safe_dump(book))
    return path
