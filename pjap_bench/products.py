"""How torch multiplies matrices on a CPU: MKL for the policy's small ones in a batch, oneDNN for all larger ones, in parts."""

import contextlib
import ctypes
from collections.abc import Iterator

import torch

from pjap_bench import kernels

_ONEDNN = "bf16"  # what lets torch hand single-precision products to oneDNN: about twice MKL's speed on AMD processors
_MKL = "ieee"
_large = _MKL
_PART = 2**21  # numbers of a layer: 2**20 to 2**22 were within 6 % of each other on an Intel Xeon
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def set_up(threads: int, precision: str = "float32") -> None:
    """Sets the number of threads, keeps freed memory, and finds out whether oneDNN's products are exact enough here.

    Args:
        precision: of products on a GPU: "float32" (strict), "tf32" (10 bits of mantissa) or "tf32_fused" (the same in `kernels`,
            where they fit, which draw other random numbers); a CPU knows only the first.
    """
    global _large
    torch.set_num_threads(threads)
    _keep_freed_memory()
    torch.backends.cuda.matmul.fp32_precision = "ieee" if precision == "float32" else "tf32"
    kernels.DEVICE = "cuda" if precision == "tf32_fused" else None
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    torch.backends.mkldnn.matmul.fp32_precision = _ONEDNN
    error = (left @ right - left.double() @ right.double()).abs().max()
    torch.backends.mkldnn.matmul.fp32_precision = _MKL
    # Processors with AMX round to bfloat16 under the same setting: an error of 0.1 instead of 0.00003.
    _large = _ONEDNN if error < 1e-3 else _MKL


def parts(count: int, numbers: int, device: torch.device) -> list[slice]:
    """Cuts `count` things that make so many `numbers` in a layer each into parts that fit a processor's cache; on a GPU into one.

    A layer of all things at once would go through the memory for every operation.
    """
    size = max(1, _PART // numbers) if device.type == "cpu" else count
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _keep_freed_memory() -> None:
    """Tells glibc to keep what is freed: mapping large tensors anew for every update costs as much as the update itself."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


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
