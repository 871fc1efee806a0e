"""What things cost, measured: `make benchmark`. Each other module here has a `measure(settings)` that gives rows of the table.

Times on shared machines are noisy: the rows of one table were measured in one run, and medians of repetitions count.
"""

from pjap_bench.benchmarks import datasets, games, notebook


def measure(settings: dict) -> list[dict]:
    """All rows (see `table.timed`), by the whole configuration `settings`."""
    return [*games.measure(settings), *notebook.measure(settings), *datasets.measure(settings)]
