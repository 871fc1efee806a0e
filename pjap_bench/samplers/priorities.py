"""Priorities of sequences, and stratified proportional sampling by them: a cumulative sum and a search, no tree."""

import torch
from torch import Tensor

from pjap_bench import kernels

_BLOCK = 128  # a draw looks at one block and the sums of all; of 1,000,000 sequences 1024 took nine times as long


class Priorities:
    """Priorities of all sequences of R runs, 1 at the start.

    Sampling searches first among the sums of blocks of sequences, then inside one block. Priorities are kept in single
    precision (a checkpoint holds them all) and summed in double. Where kernels are taken, `kernels.proportional` does both.
    """

    def __init__(self, runs: int, starts: int, device: torch.device):
        self._starts = starts
        blocks = -(-starts // _BLOCK)
        self._flat = torch.zeros(runs, blocks * _BLOCK, device=device)  # zero beyond the last start: never drawn
        self._flat[:, :starts] = 1.0
        self._blocks = self._flat.view(runs, blocks, _BLOCK)
        self._sums = self._blocks.sum(dim=2, dtype=torch.float64)  # [R, blocks]
        self._cumulative = self._of_blocks()  # kept, since more than one draw may come before the next change
        self._run = torch.arange(runs, device=device)[:, None]

    @property
    def values(self) -> Tensor:
        """The priorities, [R, starts] float32; a view."""
        return self._flat[:, : self._starts]

    def sample(self, uniforms: Tensor) -> Tensor:
        """One draw from each of B equal shares of a run's total priority: uniforms [R, B] -> start indices [R, B]."""
        if uniforms.device.type == kernels.DEVICE:
            from pjap_bench.kernels import proportional

            return proportional.sample(uniforms, self._blocks, self._sums, self._cumulative)
        size, cumulative = uniforms.shape[1], self._cumulative
        shares = torch.arange(size, dtype=torch.float64, device=uniforms.device)
        wanted = (shares + uniforms) / size * cumulative[:, -1:]  # [R, B]
        # Rounding can point past the end of all or before the start of a block: draws go to the last block of positive
        # priority, and inside a block to its first or last such sequence.
        last = (cumulative < cumulative[:, -1:]).sum(dim=1, keepdim=True)
        block = torch.minimum(torch.searchsorted(cumulative, wanted, right=True), last)
        inside = _sums_at_positive(self._blocks[self._run, block].double())  # [R, B, _BLOCK]
        rest = (wanted - (cumulative.gather(1, block) - self._sums.gather(1, block))).clamp_min(0.0)
        reached = (inside > rest[..., None]) | (inside == inside.amax(dim=2, keepdim=True))
        return block * _BLOCK + reached.byte().argmax(dim=2)  # the first one

    def set(self, indices: Tensor, values: Tensor) -> None:
        """Sets the priorities at `indices` [R, n]; a run with a value that is not finite keeps all of its own."""
        if indices.device.type == kernels.DEVICE:
            from pjap_bench.kernels import proportional

            proportional.change(indices, values, self._blocks, self._sums, self._cumulative)
            return
        values = values.to(self._flat.dtype)
        sound = values.isfinite().all(dim=1, keepdim=True)
        values = torch.where(sound, values, self._flat.gather(1, indices))
        # Of a sequence that is there twice the smaller value: which write comes last is not defined on every device.
        self._flat.scatter_reduce_(1, indices, values, "amin", include_self=False)
        touched = indices // _BLOCK
        # summed anew: no drift
        self._sums.scatter_(1, touched, self._blocks[self._run, touched].sum(dim=2, dtype=torch.float64))
        self._cumulative.copy_(self._of_blocks())

    def effective_sample_size(self) -> Tensor:
        """(sum p)^2 / (n sum p^2), [R]."""
        squares = torch.stack([run.double().square().sum() for run in self._flat])  # one by one: no second copy of all
        return self._sums.sum(dim=1).square() / (self._starts * squares)

    def state(self) -> dict[str, Tensor]:
        """The live tensors."""
        return {"priorities": self._flat, "block_sums": self._sums, "cumulative": self._cumulative}

    def _of_blocks(self) -> Tensor:
        """Cumulative sums of the blocks, [R, blocks]: never below the one before, and equal to it at a block without priority."""
        # With a row too many: a GPU adds up a single one in another order each time.
        return _sums_at_positive(torch.cat([self._sums, self._sums[:1]]))[:-1].cummax(dim=1).values


def _sums_at_positive(values: Tensor) -> Tensor:
    """Sums along the last axis, 0 at a zero; in the order in which a GPU adds they may fall by a rounding."""
    return torch.where(values > 0, values.cumsum(dim=-1), 0.0)
