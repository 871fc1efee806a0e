"""Networks on a GPU in tf32: Triton kernels whose hidden layers stay on the chip, each equal to a function of `networks`.

`networks` calls them where they fit; a CPU, strict float32 and networks of other widths never come here. Triton comes with
torch's builds for a GPU only, so `critic` and `policy` are imported where they are called. Its interpreter
(TRITON_INTERPRET=1) runs the same kernels on a CPU: that is how they are tested without a GPU.
"""

import torch
from torch import Tensor

DEVICE = "cuda"
_INPUTS = 64  # more would leave no room on the chip, and nor would wider layers


def fit_critic(width: int, inputs: Tensor) -> bool:
    """Whether critics of that width go through `critic`; inputs [..., I]."""
    return width in (16, 32, 64, 128, 256) and _fit(inputs)


def fit_policy(width: int, inputs: Tensor) -> bool:
    """Whether a policy of that width goes through `policy`; inputs [..., I]."""
    return width in (16, 32, 64) and _fit(inputs)


def padded(count: int) -> int:
    """The power of two that a kernel makes of a number of inputs or outputs, at least the 16 that a product needs."""
    return max(16, 1 << (count - 1).bit_length())


def _fit(inputs: Tensor) -> bool:
    chosen = inputs.device.type == DEVICE and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return chosen and inputs.dtype == torch.float32 and inputs.shape[-1] <= _INPUTS
