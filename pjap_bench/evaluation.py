"""Plays learned policies in any environment: undiscounted returns of whole episodes, up to their terminal or time limit."""

import ctypes
import multiprocessing
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pjap_bench import products
from pjap_bench.datasets.sequences import Normaliser
from pjap_bench.environments import MujocoTask
from pjap_bench.errors import BenchError
from pjap_bench.networks import Layout, policy_step, with_agent_id


class Request(NamedTuple):
    """One evaluation: the policies of some runs at some update."""

    update: int
    kind: str  # training | final
    policies: Tensor  # [R, layout.size], on the host
    seeds: list[list[int]]  # of each run's episodes


class Evaluations:
    """Evaluations in their order, played by processes of their own while learning goes on, or at once without any.

    Every run is played alone, so that its returns depend neither on its neighbours nor on the number of processes.
    """

    def __init__(self, environment_class: type[MujocoTask], layout: Layout, normaliser: Normaliser, processes: int):
        self._player = (environment_class, layout, normaliser)
        self._waiting: list[tuple[Request, list[Future | np.ndarray]]] = []
        self._pool = None
        if processes:
            # spawn: a forked copy of a process with threads or a GPU may hang
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)

    def start(self, request: Request) -> None:
        """Asks for an evaluation. A policy that is not finite does not play (MuJoCo would warn into a file at each step): NaN."""
        environment_class, layout, normaliser = self._player
        results = []
        for run, seeds in enumerate(request.seeds):
            task = (environment_class, layout, request.policies[run : run + 1].clone(), normaliser, [seeds])
            if not request.policies[run].isfinite().all():
                results.append(np.full((1, len(seeds)), np.nan))
            else:
                results.append(self._submit(*task) if self._pool else evaluate(*task))
        self._waiting.append((request, results))

    def finished(self, wait: bool = False) -> list[tuple[Request, np.ndarray]]:
        """Those that are done and were not given yet, in order, with their returns [R, episodes].

        Args:
            wait: for all of them.

        Raises:
            BenchError: a process of the evaluation died.
        """
        done = []
        try:
            while self._waiting and (wait or all(not isinstance(each, Future) or each.done() for each in self._waiting[0][1])):
                request, results = self._waiting.pop(0)
                returns = [each.result() if isinstance(each, Future) else each for each in results]
                done.append((request, np.concatenate(returns)))
        except BrokenProcessPool as error:
            raise _DIED from error
        return done

    def pending(self) -> list[Request]:
        """Those that `finished` has not given yet."""
        return [request for request, _ in self._waiting]

    def close(self) -> None:
        """Ends the processes; what they have not finished is lost."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, *task) -> Future:
        try:
            return self._pool.submit(evaluate, *task)
        except BrokenProcessPool as error:
            raise _DIED from error


_DIED = BenchError(
    "a process that plays evaluations died", where="evaluation", do="free memory or lower jobs.evaluators, then run again"
)


def _prepare() -> None:
    """What a process of the pool does first."""
    # Linux: a parent that is killed takes its processes along.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    products.set_up(threads=1)


_PR_SET_PDEATHSIG = 1


@torch.no_grad()
def evaluate(
    environment_class: type[MujocoTask], layout: Layout, policy: Tensor, normaliser: Normaliser, seeds: list[list[int]]
) -> np.ndarray:
    """Returns of the deterministic policies.

    Args:
        policy: stacked parameters, [R, layout.size].
        normaliser: as in training.
        seeds: for each run, the seeds of its episodes' start states; as many for every run.

    Returns:
        [R, episodes] float64.
    """
    runs, episodes = len(seeds), len(seeds[0])
    environment = environment_class(runs * episodes)
    parameters = layout.unflatten(policy.cpu())
    hidden = torch.zeros(runs, episodes * environment.agents, parameters["gru_wh"].shape[1])
    returns = np.zeros(runs * episodes)
    running = np.ones(runs * episodes, dtype=bool)
    physics = environment.reset([seed for run in seeds for seed in run])
    for _ in range(environment.horizon):
        observations = normaliser(torch.as_tensor(environment.observations(physics), dtype=torch.float32))
        inputs = with_agent_id(observations).reshape(runs, episodes * environment.agents, -1)
        actions, hidden = policy_step(parameters, inputs, hidden)
        physics, rewards, ended = environment.step(actions.reshape(runs * episodes, -1).numpy(), running)
        returns += rewards
        running &= ~ended
        if not running.any():
            break
    return returns.reshape(runs, episodes)
