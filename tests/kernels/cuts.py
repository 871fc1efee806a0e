"""Times the kernels in several cuts on a GPU, at the sizes of Figure 6: python -m tests.kernels.cuts

What is fastest goes into `_FORWARD`, `_BACKWARD`, `_SECOND` and `_ROWS` of `critic.py` and `policy.py`. A line is the median of
the milliseconds of a forward pass and its gradient; `own` is the cut that the module has, and `separate` what they replace.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import torch

from pjap_bench import kernels, networks, products
from pjap_bench.kernels import critic, policy

ROWS, COLUMNS, WARPS, STAGES = (32, 64, 128), (32, 64), (4, 8), (2, 3)


def milliseconds(run: Callable[[], object], device: torch.device, repetitions: int) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    found = []
    for _ in range(repetitions + 2):  # the first ones compile
        began = now()
        run()
        found.append(1000 * (now() - began))
    return statistics.median(found[2:])


def report(name: str, run: Callable[[], object], device: torch.device, repetitions: int) -> None:
    try:
        print(f"{milliseconds(run, device, repetitions):8.3f} ms  {name}", flush=True)
    except Exception as error:  # a cut for which there is no room
        print(f"          -  {name}: {str(error).splitlines()[0][:100]}", flush=True)


def main(device: torch.device, runs: int = 40, points: int = 1216, sequences: int = 64, repetitions: int = 20) -> None:
    """On a CPU, with TRITON_INTERPRET=1 and small numbers, it only shows that it works."""
    products.set_up(1, "tf32")
    for width in (128, 256):
        layout = networks.critic_layout(17, 6, width)
        parameters = torch.randn(runs, layout.size, device=device).mul_(0.1).requires_grad_()
        seen = torch.randn(runs, points, 17, device=device), torch.rand(runs, points, 31, 6, device=device)

        def critics(layout=layout, parameters=parameters, seen=seen) -> None:
            torch.autograd.grad(networks.critic_values(layout, parameters, *seen).sum(), parameters)

        time_cuts(f"critics of {width}", critic, ("_FORWARD", "_BACKWARD", "_SECOND"), width > 128, critics, device, repetitions)
    layout = networks.policy_layout(2, 13, 3, 64)
    parameters = torch.randn(runs, layout.size, device=device).mul_(0.1).requires_grad_()
    inputs = torch.randn(runs, 20, sequences, 2, 13, device=device), torch.ones(runs, 20, sequences, device=device)

    def policies() -> None:
        torch.autograd.grad(networks.policy_unroll(layout, parameters, *inputs).sum(), parameters)

    time_cuts("policies", policy, ("_FORWARD", "_BACKWARD"), None, policies, device, repetitions)


def time_cuts(what: str, module, names: tuple[str, ...], wide: bool | None, run: Callable, device, repetitions: int) -> None:
    kernels.DEVICE = None
    report(f"{what}: separate", run, device, repetitions)
    kernels.DEVICE = device.type
    report(f"{what}: own", run, device, repetitions)
    for name in names:
        before = getattr(module, name)
        tried = (
            itertools.product(ROWS, WARPS)
            if wide is None
            else itertools.starmap(critic._Cut, itertools.product(ROWS, COLUMNS, WARPS, STAGES))
        )
        for cut in tried:
            setattr(module, name, cut if wide is None else (before[0], cut) if wide else (cut, before[1]))
            report(f"{what}: {name} = {tuple(cut)}", run, device, repetitions)
        setattr(module, name, before)


if __name__ == "__main__":
    main(torch.device("cuda"))
