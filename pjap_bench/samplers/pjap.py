"""Proximal Joint-Action Prioritisation (the paper's section 4): sequences near the current joint policy come more often."""

import numpy as np

_BLOCK = 1024  # about the square root of the paper's 1,000,000 sequences


class ProximalJointActionSampler:
    """Stratified proportional sampling with priority max(exp(-(steepness d)^2), epsilon) (Eq. 6, alpha = steepness^2).

    d is a sequence's mean absolute difference between the target policy's and the data's joint action (a third of Eq. 8's,
    which sums over an agent's actions). Priorities start at 1, are stored to the power `priority_exponent` and change
    only when a sequence is refreshed:

    - `refresh: sampled`: the sequences of the batch (the code of the submission);
    - `refresh: proportional`: `refresh_sequences` extra ones, drawn by the priorities themselves (the preprint's code,
      which calls this uniform; sequences of low priority are almost never seen again);
    - `refresh: uniform`: as many extra ones, drawn truly uniformly.

    No importance weights. Sampling is a cumulative sum and a search, first over blocks of sequences, then inside one.
    """

    def __init__(self, starts: int, settings: dict):
        self._starts = starts
        self._settings = settings
        self._priorities = np.zeros((-(-starts // _BLOCK), _BLOCK))  # zero beyond the last start: never drawn
        self._priorities.reshape(-1)[:starts] = 1.0
        self._block_sums = self._priorities.sum(axis=1)

    @property
    def priorities(self) -> np.ndarray:
        """The stored priorities, [starts] float64."""
        return self._priorities.reshape(-1)[: self._starts]

    def sample(self, size: int, random: np.random.Generator) -> np.ndarray:
        """Start indices, [size] int64: one draw from each of `size` equal shares of the total priority."""
        cumulative = np.cumsum(self._block_sums)
        wanted = (np.arange(size) + random.random(size)) / size * cumulative[-1]
        block = np.minimum(np.searchsorted(cumulative, wanted, side="right"), len(cumulative) - 1)
        inside = np.cumsum(self._priorities[block], axis=1)  # [size, _BLOCK]
        rest = wanted - (cumulative[block] - self._block_sums[block])
        offset = (inside <= rest[:, None]).sum(axis=1)
        # Rounding can point past the end of a block: step back to its last sequence of positive priority.
        offset = np.minimum(offset, (inside < inside[:, -1:]).sum(axis=1))
        return block * _BLOCK + offset

    def to_refresh(self, sampled: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """By the refresh rule: the batch itself, or extra start indices."""
        rule, extra = self._settings["refresh"], self._settings["refresh_sequences"]
        if rule == "sampled":
            return sampled
        return self.sample(extra, random) if rule == "proportional" else random.integers(self._starts, size=extra)

    def refresh(self, indices: np.ndarray, distances: np.ndarray, update: int) -> None:
        """Sets the priorities at `indices` from their distances; the kernel steepens over `on_ramp` updates."""
        ramp = self._settings["on_ramp"]
        steepness = self._settings["steepness"] * (min(1.0, update / ramp) if ramp else 1.0)
        priority = np.clip(np.exp(-np.square(steepness * distances)), self._settings["epsilon"], 1.0)
        self._priorities.reshape(-1)[indices] = priority ** self._settings["priority_exponent"]
        touched = np.unique(indices // _BLOCK)
        self._block_sums[touched] = self._priorities[touched].sum(axis=1)  # summed anew: no drift

    def effective_sample_size(self) -> float:
        """(sum p)^2 / (n sum p^2)."""
        return float(self._block_sums.sum() ** 2 / (self._starts * np.square(self._priorities).sum()))

    def state(self) -> dict[str, np.ndarray]:
        """The priorities."""
        return {"priorities": self.priorities}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Takes the priorities back."""
        self._priorities.reshape(-1)[: self._starts] = state["priorities"]
        self._block_sums = self._priorities.sum(axis=1)
