"""Networks on a GPU, several layers in one Triton kernel, which keeps them on the chip; each equal to a function of `networks`.

With the precision `tf32_fused`, `networks` calls them where they fit; networks of other widths never come here. Triton comes with
torch's builds for a GPU only, so `critic` and `policy` are imported where they are called. Its interpreter
(TRITON_INTERPRET=1) runs the same kernels on a CPU: that is how they are tested without a GPU.
"""

import torch
from torch import Tensor

from pjap_bench.errors import BenchError

DEVICE: str | None = None  # on which networks go through kernels; `products.set_up` says so
_INPUTS = 64  # more, or wider layers than those below, would have no room on the chip
_SHARED = 144  # KiB of a block's shared memory: the most that any kernel takes, of up to 64 inputs


def fit_critic(width: int, inputs: Tensor) -> bool:
    """Whether critics of that width go through `critic`; inputs [..., I]."""
    return width in (16, 32, 64, 128, 256) and _fit(inputs)


def fit_policy(width: int, inputs: Tensor) -> bool:
    """Whether a policy of that width goes through `policy`; inputs [..., I]."""
    return width in (16, 32, 64) and _fit(inputs)


def check() -> None:
    """Raises BenchError where kernels cannot be compiled, or the GPU has no room for them."""
    try:
        from triton.runtime import driver

        driver.active.get_current_device()  # compiles a helper of its own
    except Exception as error:  # of many kinds: no Triton, no compiler, what the compiler says
        raise BenchError(
            f"Triton compiles nothing here: {error!r}",
            where="training.precision",
            do="install a C compiler and Python's headers (Debian: gcc, python3-dev), or use training.precision=tf32",
        ) from error
    card = torch.cuda.get_device_properties()
    shared = card.shared_memory_per_block_optin // 1024
    if card.major < 8 or shared < _SHARED:
        raise BenchError(
            f"{card.name} has {shared} KiB for a kernel (compute capability {card.major}.{card.minor}), "
            f"and tf32_fused needs {_SHARED} (8.0 or later)",
            where="training.precision",
            do="use training.precision=tf32, or an A100, H100 or H200",
        )


def padded(count: int) -> int:
    """The power of two that a kernel makes of a number of inputs or outputs, at least the 16 that a product needs."""
    return max(16, 1 << (count - 1).bit_length())


def _fit(inputs: Tensor) -> bool:
    return inputs.device.type == DEVICE and inputs.dtype == torch.float32 and inputs.shape[-1] <= _INPUTS
