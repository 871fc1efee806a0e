"""Algorithms: one file each, an update of stacked runs from one batch. They never see a sampler.

To add one: a file beside this one with a class that has the methods of `Algorithm`, and a line in `ALGORITHMS`.
"""

from typing import Protocol

import torch
from torch import Tensor

from pjap_bench.algorithms.behaviour_cloning import BehaviourCloning
from pjap_bench.algorithms.independent_ddpg_cql import IndependentDdpgCql
from pjap_bench.algorithms.maddpg_cql import MaddpgCql
from pjap_bench.algorithms.update import State, Updated
from pjap_bench.datasets.sequences import Batch, Played, SequenceData
from pjap_bench.draws import Draws
from pjap_bench.errors import BenchError
from pjap_bench.networks import Layout


class Algorithm(Protocol):
    """Learns a joint policy from batches; holds settings only, its state is handed in and out."""

    policy: Layout
    #: names of the scalars that an update gives
    metrics: tuple[str, ...]
    #: what it measures of every sequence of a batch, for samplers: "distance", and "td_error" where there are critics
    measures: tuple[str, ...]

    def __init__(self, data: SequenceData, settings: dict): ...

    def initialise(self, generators: list[torch.Generator]) -> State:
        """The state before the first update; one generator per run. `state["policy"]` is [R, policy.size]."""
        ...

    def update(self, state: State, batch: Batch, draws: Draws) -> Updated:
        """One update of every run; the state before it is left alone, and no value is waited for."""
        ...

    def distances(self, state: State, played: Played) -> Tensor:
        """Mean |policy's action - data action| of each sequence, over its steps, agents and action numbers: [R, B].

        Each sequence on its own: they may come in parts.
        """
        ...


ALGORITHMS: dict[str, type[Algorithm]] = {
    "maddpg_cql": MaddpgCql,
    "independent_ddpg_cql": IndependentDdpgCql,
    "behaviour_cloning": BehaviourCloning,
}


def make(name: str, data: SequenceData, settings: dict) -> Algorithm:
    """The algorithm of that name.

    Raises:
        BenchError: no such algorithm.
    """
    if name not in ALGORITHMS:
        raise BenchError(f"unknown algorithm '{name}'", do=f"use one of: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name](data, settings)
