"""What a GPU does in one Triton kernel instead of many: `critic` and `policy` keep their layers on the chip, each equal to a
function of `networks`, `conservative` is the critics' loss, `rmsprop` the optimiser's step, `counted` draws the random numbers
of all runs and `proportional` sequences by their priorities.

With the precision `tf32_fused` the functions that they replace call them where they fit; networks of other widths never come
here. Triton comes with torch's builds for a GPU only, so they are imported where they are called. Its interpreter
(TRITON_INTERPRET=1) runs the same kernels on a CPU: that is how they are tested without a GPU.
"""

import torch
from torch import Tensor

from pjap_bench.errors import BenchError

DEVICE: str | None = None  # on which kernels are taken; `products.set_up` says so
_MOST = 64  # inputs, or action numbers of a policy: of more, or of wider layers than those below, the chip has no room
_SHARED = 152  # KiB of a block's shared memory: the most that any kernel takes, of up to 64 inputs and action numbers


def fit(inputs: Tensor) -> bool:
    """Whether these go through kernels at all."""
    return inputs.device.type == DEVICE and inputs.dtype == torch.float32


def fit_critic(first: Tensor, states: Tensor) -> bool:
    """Whether critics with these first weights [R, twins, I - 1, W] go through `critic`: the bias is one input more."""
    return first.shape[3] in (16, 32, 64, 128, 256) and first.shape[2] < _MOST and _fit(first, states)


def fit_policy(embed: Tensor, out: Tensor, observations: Tensor) -> bool:
    """Whether a policy with these first weights [R, I, W] and last ones [R, W, A] goes through `policy`."""
    return embed.shape[2] in (16, 32, 64) and out.shape[2] <= _MOST and _fit(embed, observations)


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


def by_run(values: Tensor) -> Tensor:
    """Values that are contiguous but for the run axis: some steps of all are no copy."""
    return values if values[0].is_contiguous() else values.contiguous()


def _fit(weights: Tensor, inputs: Tensor) -> bool:
    """By the weights [..., I, W] of a first layer, and what goes into it, of which kernels give no gradient."""
    return fit(weights) and weights.shape[-2] <= _MOST and not inputs.requires_grad
