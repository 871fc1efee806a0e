"""The runs in the format of marl-eval (Gorsane et al. 2022), so that its tables and plots can be made of them.

environment -> task -> algorithm -> run -> steps and `absolute_metrics`, each a list of returns per episode. What stands under
`absolute_metrics` is the final policy's evaluation, never the best checkpoint's, which that tool's own convention would take.
"""

from typing import Any

from pjap_bench.statistics.results import Runs


def export(runs: Runs) -> dict[str, Any]:
    """All evaluations; a task is a dataset, a step is the number of updates."""
    exported: dict[str, Any] = {}
    keys = ["dataset", "arm", "seed"]
    for (dataset, arm, seed), table in runs.evaluations.groupby(keys, sort=False):
        environment = runs.datasets[dataset].get("environment", "unknown")
        tasks = exported.setdefault(environment, {}).setdefault(dataset, {})
        run = tasks.setdefault(arm, {}).setdefault(f"seed_{seed}", {})
        training = table[table["kind"] == "training"]
        for number, (update, episodes) in enumerate(training.groupby("update", sort=True)):
            run[f"step_{number}"] = {"step_count": int(update), "return": _returns(episodes)}
        run["absolute_metrics"] = {"return": _returns(table[table["kind"] == "final"])}
    return exported


def _returns(table) -> list[float]:
    return [float(value) for value in table.sort_values("episode")["return"]]
