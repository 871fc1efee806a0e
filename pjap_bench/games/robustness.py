"""The robustness map of PJAP on Twin Peaks: how often it finds the optimum, over the settings that a user must choose.

Three sweeps, each cell of which holds the same random datasets (Gaussian, around the optimum but for `centre`):

- `map`: spread of the data x alpha x epsilon x rule of refreshing x start;
- `centre`: the data's centre moved along the diagonal, with PJAP and without, until the optimum lies outside the data;
- `kernels`: other kernels and distances x alpha.

A run succeeds where its final reward is at least 0.95 R*, as in claim C10. Beyond the paper.
"""

import dataclasses
import itertools
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pjap_bench.errors import BenchError
from pjap_bench.files import write_json, written_beside
from pjap_bench.games import theory
from pjap_bench.games.kernels import DISTANCES, KERNELS
from pjap_bench.games.learning import learn_offline
from pjap_bench.games.polynomial import twin_peaks

# Share of the best reward that counts as success, as in C10.
SUCCESS_SHARE = 0.95

# A cell in which fewer runs than this share succeed is one where PJAP fails.
FAILURE_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Block:
    """The cells that differ only in alpha and epsilon: they are learnt together.

    Attributes:
        sweep: "map", "centre" or "kernels".
        sigma: spread of the data.
        shift: of the data's centre along the diagonal from the optimum, for both agents.
        refresh: the rule, see `learning.learn_offline`; "none" without PJAP.
        rounds: batches picked or refreshed an epoch.
        start: name of the first policy in the settings.
        kernel, distance: names, see `kernels`.
        alphas, epsilons: every pair of them is a cell.
    """

    sweep: str
    sigma: float
    shift: float
    refresh: str
    rounds: int
    start: str
    kernel: str
    distance: str
    alphas: tuple[float, ...]
    epsilons: tuple[float, ...]


def simulate(settings: dict, stamp: dict, output: Path, processes: int = 1) -> None:
    """Runs the three sweeps; neither `processes` nor their order changes a bit of the result.

    Args:
        settings: the configuration's section `robustness`, with the games' `seed` and `twin_peaks`.
        output: gets robustness.csv, a row a cell (the columns of `Block`; alpha, epsilon; runs, successes, the success rate
            with Wilson's 95 % interval; median_reward, the median of final R / R*), and robustness.json ({"finding": text,
            "stamp": stamp}).

    Raises:
        BenchError: settings that cannot be simulated, or files that cannot be written.
    """
    blocks = _blocks(settings)
    jobs = [(settings, block) for block in blocks]
    if processes == 1:
        rows = [_learn(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(processes) as pool:
            rows = list(pool.map(_learn, *zip(*jobs, strict=True), chunksize=1))
    table = pd.DataFrame(list(itertools.chain.from_iterable(rows)))
    output = Path(output)
    with written_beside(output / "robustness.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    write_json(output / "robustness.json", {"finding": finding(table, settings), "stamp": stamp})


def _blocks(settings: dict) -> list[Block]:
    own = settings["map"]
    rules = [tuple(rule.values()) for rule in own["refresh"]]
    alphas, epsilons = tuple(own["alphas"]), tuple(own["epsilons"])
    paper = settings["paper"]
    one = {"alphas": (paper["alpha"],), "epsilons": (paper["epsilon"],)}
    blocks = []
    for sigma, start in itertools.product(own["sigmas"], settings["starts"]):
        for rule, rounds in rules:
            blocks.append(Block("map", sigma, 0.0, rule, rounds, start, "gaussian", "l1", alphas, epsilons))
        blocks.append(Block("map", sigma, 0.0, "none", 1, start, "gaussian", "l1", **one))
    paper_rule = (paper["refresh"], paper["rounds"], paper["start"])
    for sigma, shift in itertools.product(settings["centre"]["sigmas"], settings["centre"]["shifts"]):
        for rule in (paper_rule, ("none", 1, paper["start"])):
            blocks.append(Block("centre", sigma, shift, *rule, "gaussian", "l1", **one))
    chosen = settings["kernels"]
    for sigma, kernel, distance in itertools.product(chosen["sigmas"], KERNELS, DISTANCES):
        blocks.append(Block("kernels", sigma, 0.0, *paper_rule, kernel, distance, tuple(chosen["alphas"]), (paper["epsilon"],)))
    return blocks


def _learn(settings: dict, block: Block) -> list[dict]:
    """All cells of a block at once: [cell * dataset, ...], the same datasets and uniform numbers in every block."""
    if block.start not in settings["starts"]:
        raise BenchError(f"unknown start '{block.start}'", where="robustness", do="name it under robustness.starts")
    if settings["datasets"] < 1 or settings["points"] < 1:
        raise BenchError("no datasets", where="robustness", do="give datasets and points of at least 1")
    game = twin_peaks(**settings["twin_peaks"])
    optimum, best = theory.twin_peaks_optimum(**settings["twin_peaks"])
    of_data, of_sampling = (
        np.random.default_rng(np.random.SeedSequence(settings["seed"], spawn_key=(20, place))) for place in (0, 1)
    )
    noise = of_data.standard_normal((settings["datasets"], settings["points"], 2))
    data = optimum + block.shift + block.sigma * noise
    cells = list(itertools.product(block.alphas, block.epsilons))
    alphas, epsilons = (np.repeat(values, len(data)) for values in np.array(cells, dtype=float).T)
    options = {"alpha": alphas, "epsilon": epsilons, "kernel": block.kernel, "distance": block.distance}
    learnt = learn_offline(
        game,
        np.tile(data, (len(cells), 1, 1)),
        np.array(settings["starts"][block.start], dtype=float),
        learning_rate=settings["learning_rate"],
        epochs=settings["epochs"],
        batch=settings["batch"],
        rounds=block.rounds,
        refresh="sampled" if block.refresh == "none" else block.refresh,
        sampler={"name": "uniform"} if block.refresh == "none" else {"name": "pjap"} | options,
        sampling=of_sampling,
    )
    rewards = game.reward(learnt.policies[:, -1]).reshape(len(cells), len(data)) / best
    described = dataclasses.asdict(block)
    del described["alphas"], described["epsilons"]
    rows = []
    for (alpha, epsilon), of_cell in zip(cells, rewards, strict=True):
        # A run that diverged has no finite reward, and did not succeed.
        successes = int((np.nan_to_num(of_cell, nan=-np.inf) >= SUCCESS_SHARE).sum())
        interval = stats.binomtest(successes, len(of_cell)).proportion_ci(0.95, method="wilson")
        pjap = {"alpha": alpha, "epsilon": epsilon} if block.refresh != "none" else {"alpha": math.nan, "epsilon": math.nan}
        found = {"runs": len(of_cell), "successes": successes, "success_rate": successes / len(of_cell)}
        found |= {"low": interval.low, "high": interval.high, "median_reward": float(np.median(of_cell))}
        rows.append(described | pjap | found)
    return rows


def finding(table: pd.DataFrame, settings: dict) -> str:
    """The sweeps in one paragraph: where PJAP succeeds, and where it fails. Every number is computed from `table`."""
    peaks, paper = settings["twin_peaks"], settings["paper"]
    cells = table[table["sweep"] == "map"]
    without, pjap = cells[cells["refresh"] == "none"], cells[cells["refresh"] != "none"]

    # Three causes of failure that can be told beforehand, asked in this order. The floor of all items weighs
    # 1 % of what the kernel gives (the rule of thumb of the specification):
    floor = pjap["epsilon"] * math.pi * pjap["sigma"] ** 2 * pjap["alpha"] >= 0.01
    # The kernel is so wide that its bias alone costs more than 5 % of R*:
    limit = np.nan_to_num(theory.pjap_limit(pjap["alpha"].to_numpy(), **peaks))
    biased = twin_peaks(**peaks).reward(np.stack([limit, limit], axis=-1)) < SUCCESS_SHARE * theory.twin_peaks_optimum(**peaks)[1]
    wide = ~floor & biased
    # The start from which the fewest runs succeed:
    by_start = {start: _share(rows) for start, rows in pjap[~floor & ~wide].groupby("start", sort=False)}
    hardest = min(by_start, key=by_start.get, default="")
    hard = ~floor & ~wide & (pjap["start"] == hardest)
    sound = pjap[~floor & ~wide & ~hard]
    failing = pjap["success_rate"] < FAILURE_SHARE
    counts = [int((failing & cause).sum()) for cause in (floor, wide, hard, ~floor & ~wide & ~hard)]
    # Rates by rule, from the hard start and from all others.
    by_rule = {
        from_hard: [
            f"{_rule_name(*rule)} {_share(rows):.0%}"
            for rule, rows in pjap[~floor & ~wide & (hard == from_hard)].groupby(["refresh", "rounds"], sort=False)
        ]
        for from_hard in (False, True)
    }

    centre = table[(table["sweep"] == "centre") & (table["refresh"] != "none")]
    outside = centre[centre["shift"].abs() > 3 * centre["sigma"]]
    kernels = table[table["sweep"] == "kernels"]
    # Of each kernel and distance, the alpha that suits it best, on the widest data.
    widest = kernels[kernels["sigma"] == kernels["sigma"].max()]
    best = widest.groupby(["kernel", "distance"], sort=False)["success_rate"].max().unstack()

    def spread(sigma: float) -> str:
        of = [_share(rows[rows["sigma"] == sigma]) for rows in (pjap, without)]
        return f"sigma {sigma:g}: {of[0]:.0%} with PJAP, {of[1]:.0%} without"

    others = "; ".join(
        f"{kernel} {rates.max():.0%} ({rates.idxmax()})"
        + ("" if rates.min() > 0.5 else f", {rates.min():.0%} ({rates.idxmin()})")
        for kernel, rates in best.iterrows()
    )
    sentences = [
        f"Over {len(pjap)} cells of {settings['datasets']} datasets each, PJAP reaches {SUCCESS_SHARE:g} R* in "
        f"{_share(pjap):.0%} of the runs, MADDPG without it in {_share(without):.0%} "
        f"({'; '.join(map(spread, sorted(pjap['sigma'].unique())))}). "
        f"PJAP fails, in more than {1 - FAILURE_SHARE:.0%} of a cell's runs, in {sum(counts)} cells: in {counts[0]} the floor "
        f"epsilon weighs 1 % of the kernel or more (epsilon pi sigma^2 alpha); in {counts[1]} more the kernel is so wide "
        f"that its bias alone, by the closed form, costs over {1 - SUCCESS_SHARE:.0%} of R*; in {counts[2]} more learning starts "
        f"at '{hardest}'; {counts[3]} have none of these causes."
    ]
    if len(sound):
        sentences.append(
            f"Without them {_share(sound):.0%} of the runs succeed (worst cell: {sound['success_rate'].min():.0%}). The rule of "
            f"refreshing matters where the start is far from the data: {'; '.join(by_rule[True])} from '{hardest}', against "
            f"{'; '.join(by_rule[False])} from the others, for the same alphas and epsilons."
        )
    if len(outside):
        sentences.append(
            f"Where the data's centre lies more than 3 sigma from the optimum, so that hardly any data lie around it, "
            f"{_share(outside):.0%} of the runs succeed (alpha {paper['alpha']:g}, epsilon {paper['epsilon']:g})."
        )
    sentences.append(
        f"Other kernels at sigma {kernels['sigma'].max():g}, each with its best alpha and its best (and, where that fails, "
        f"worst) distance: {others}."
    )
    return " ".join(sentences)


def _share(rows: pd.DataFrame) -> float:
    return rows["successes"].sum() / max(rows["runs"].sum(), 1)


def _rule_name(rule: str, rounds: int) -> str:
    return {"sampled": f"sampled, {rounds} round{'s' * (rounds > 1)}", "all": "all"}.get(rule, f"{rule}, {rounds} rounds")
