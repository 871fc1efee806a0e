"""Proximal Joint-Action Prioritisation (the paper's section 4): sequences near the current joint policy come more often."""

import torch
from torch import Tensor

from pjap_bench.samplers.priorities import Priorities


def priorities_of(distances: Tensor, settings: dict, ramp: float | Tensor = 1.0) -> Tensor:
    """max(exp(-(steepness d)^2), epsilon) to the power `priority_exponent`, float64 (Eq. 6, alpha = steepness^2).

    Args:
        distances: d of any sequences.
        ramp: share of the steepness that is reached.
    """
    kernel = torch.exp(-(settings["steepness"] * ramp * distances.double()).square())
    return kernel.clamp(settings["epsilon"], 1.0) ** settings["priority_exponent"]


class ProximalJointActionSampler:
    """Stratified proportional sampling with the priorities of `priorities_of`.

    d is a sequence's mean absolute difference between the target policy's and the data's joint action (a third of Eq. 8's,
    which sums over an agent's actions). Priorities start at 1, are stored to the power `priority_exponent` and change
    only when a sequence is refreshed:

    - `refresh: sampled`: the sequences of the batch (the code of the submission);
    - `refresh: proportional`: `refresh_sequences` extra ones, drawn by the priorities themselves (the preprint's code,
      which calls this uniform; sequences of low priority are almost never seen again);
    - `refresh: uniform`: as many extra ones, drawn truly uniformly.

    No importance weights.
    """

    measure = "distance"

    def __init__(self, runs: int, starts: int, settings: dict, device: torch.device):
        self._starts, self._settings = starts, settings
        self._priorities = Priorities(runs, starts, device)

    def sample(self, size: int, draw) -> Tensor:
        """Start indices, [R, size] int64."""
        return self._priorities.sample(draw(size))

    def to_refresh(self, sampled: Tensor, draw) -> Tensor:
        """By the refresh rule: the batch itself, or extra start indices."""
        rule, extra = self._settings["refresh"], self._settings["refresh_sequences"]
        if rule == "sampled":
            return sampled
        return self.sample(extra, draw) if rule == "proportional" else (draw(extra) * self._starts).long()

    def refresh(self, indices: Tensor, measures: Tensor, update: Tensor) -> None:
        """Sets the priorities at `indices` from their distances; the kernel steepens over `on_ramp` updates."""
        on_ramp = self._settings["on_ramp"]
        ramp = (update / on_ramp).clamp_max(1.0) if on_ramp else 1.0
        self._priorities.set(indices, priorities_of(measures, self._settings, ramp))

    def effective_sample_size(self) -> Tensor:
        """(sum p)^2 / (n sum p^2), [R]."""
        return self._priorities.effective_sample_size()

    def state(self) -> dict[str, Tensor]:
        """The priorities."""
        return self._priorities.state()
