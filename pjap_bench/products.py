"""How torch multiplies matrices on a CPU: MKL for the small products of the policy, oneDNN for the critics' large ones."""

import contextlib
from collections.abc import Iterator

import torch

_ONEDNN = "bf16"  # what lets torch hand single-precision products to oneDNN: about twice MKL's speed on AMD processors
_MKL = "ieee"
_large = _MKL


def set_up(threads: int) -> None:
    """Sets the number of threads and finds out whether oneDNN's products are exact enough on this processor."""
    global _large
    torch.set_num_threads(threads)
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    torch.backends.mkldnn.matmul.fp32_precision = _ONEDNN
    error = (left @ right - left.double() @ right.double()).abs().max()
    torch.backends.mkldnn.matmul.fp32_precision = _MKL
    # Processors with AMX round to bfloat16 under the same setting: an error of 0.1 instead of 0.00003.
    _large = _ONEDNN if error < 1e-3 else _MKL


@contextlib.contextmanager
def large() -> Iterator[None]:
    """Products inside have hundreds of rows or more."""
    if _large == _MKL:
        yield
        return
    torch.backends.mkldnn.matmul.fp32_precision = _large
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = _MKL
