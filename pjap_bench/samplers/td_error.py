"""Prioritisation by temporal-difference error (Schaul et al., 2016), on whole sequences: the authors' later comparison."""

import torch
from torch import Tensor

from pjap_bench.samplers.priorities import Priorities


class TdErrorSampler:
    """Stratified proportional sampling with priority clip(td, td_floor, td_ceiling) ** td_exponent.

    td is a sequence's mean of (Q - target)^2 / 2 over its steps and twins, as in the authors' code (og-marl,
    `compute_new_priorities_td`), where it is computed after the update and for extra sequences; here it comes from the
    update itself, for the sequences of the batch. Others keep their last priority, 1 before the first visit. No
    importance weights.
    """

    measure = "td_error"

    def __init__(self, runs: int, starts: int, settings: dict, device: torch.device):
        self._settings = settings
        self._priorities = Priorities(runs, starts, device)

    def sample(self, size: int, draw) -> Tensor:
        """Start indices, [R, size] int64."""
        return self._priorities.sample(draw(size))

    def to_refresh(self, sampled: Tensor, draw) -> Tensor:
        """The batch itself."""
        return sampled

    def refresh(self, indices: Tensor, measures: Tensor, update: Tensor) -> None:
        """Sets the priorities at `indices` from their errors."""
        settings = self._settings
        errors = measures.double().clamp(settings["td_floor"], settings["td_ceiling"])
        self._priorities.set(indices, errors ** settings["td_exponent"])

    def effective_sample_size(self) -> Tensor:
        """(sum p)^2 / (n sum p^2), [R]."""
        return self._priorities.effective_sample_size()

    def state(self) -> dict[str, Tensor]:
        """The priorities."""
        return self._priorities.state()
