"""Behaviour cloning of the same policy network: the mean square error to the data's joint action, nothing else."""

import torch
from torch import Tensor

from pjap_bench.algorithms.update import State, Updated, mean_distance, rmsprop
from pjap_bench.datasets.sequences import Batch, Played, SequenceData
from pjap_bench.draws import Draws
from pjap_bench.networks import policy_layout, policy_unroll


class BehaviourCloning:
    """Supervised learning of pi(o_i) = a_i for all agents at once."""

    metrics = ("policy_loss",)
    measures = ("distance",)

    def __init__(self, data: SequenceData, settings: dict):
        self._settings = settings
        self.policy = policy_layout(data.agents, data.observation_size, data.action_size, settings["policy_width"])

    def initialise(self, generators: list[torch.Generator]) -> State:
        """One draw per run."""
        policy = torch.stack([self.policy.initialise(generator) for generator in generators])
        return {"policy": policy, "policy_mean_square": torch.zeros_like(policy)}

    def update(self, state: State, batch: Batch, draws: Draws) -> Updated:
        """One step down the error of every run."""
        policy = state["policy"].detach().requires_grad_()
        actions = policy_unroll(self.policy, policy, batch.observations, batch.keep)
        loss = (actions - batch.actions).square().mean(dim=(1, 2, 3, 4))  # [R]
        (gradient,) = torch.autograd.grad(loss.sum(), policy)
        rate = self._settings["cloning_learning_rate"]
        with torch.no_grad():
            stepped, mean_square = rmsprop(policy, gradient, state["policy_mean_square"], rate, self._settings)
            distances = mean_distance(actions, batch.actions)
        new = {"policy": stepped, "policy_mean_square": mean_square}
        return Updated(new, {"policy_loss": loss.detach()}, {"distance": distances})

    @torch.no_grad()
    def distances(self, state: State, played: Played) -> Tensor:
        """Mean |policy - data| per sequence, [R, B]; there is no target policy here, so the online one is measured."""
        actions = policy_unroll(self.policy, state["policy"], played.observations, played.keep)
        return mean_distance(actions, played.actions)
