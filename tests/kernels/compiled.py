"""Compiles the kernels for an H100 or H200 on a machine without a GPU, from the calls that training makes at the paper's scale,
and with as many inputs and action numbers as kernels take.

Prints a line of JSON for every one that multiplies matrices: what it takes of the chip.
"""

import json

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from pjap_bench import draws, kernels, networks
from pjap_bench.kernels import conservative
from pjap_bench.samplers.priorities import Priorities


class Absent:
    """The driver of a GPU that is not there."""

    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda _: 0)


def compile_only(kernel: JITFunction, grid: tuple) -> object:
    """What stands for `kernel[grid]`: it compiles and does not start."""

    def call(*arguments, **constants):
        found = kernel.warmup(*arguments, grid=grid, **constants)
        ptx = found.asm["ptx"]
        if found.name == "_sample":
            assert "fma.rn.f64" not in ptx, "a product is added before it is rounded: not the draws of plain operations"
        if any(name in ptx for name in ("wgmma.mma_async", "mma.sync")):
            said = {"name": found.name, "shared": found.metadata.shared, "width": constants["WIDTH"]}
            print(json.dumps(said), flush=True)

    return call


def main() -> None:
    driver.set_active(Absent())
    JITFunction.__getitem__ = compile_only
    kernels.DEVICE = "cpu"
    for state, width in ((17, 128), (17, 256), (57, 256)):
        layout = networks.critic_layout(state, 6, width)
        for of_weights in (True, False):
            parameters, actions = torch.zeros(2, layout.size), torch.zeros(2, 100, 31, 6)
            (parameters if of_weights else actions).requires_grad_()
            networks.critic_values(layout, parameters, torch.zeros(2, 100, state), actions).sum().backward()
    for observation, action in ((13, 3), (62, 64)):
        layout = networks.policy_layout(2, observation, action, 64)
        parameters = torch.zeros(2, layout.size)
        inputs = torch.zeros(2, 20, 64, 2, observation), torch.ones(2, 20, 64)
        networks.policy_unroll(layout, parameters, *inputs)
        target = torch.zeros_like(parameters)
        networks.policy_unrolls(layout, parameters.requires_grad_(), target, *inputs)[0].sum().backward()
    actions, uniform, noise = (torch.zeros(2, *shape, 2, 3) for shape in ((20, 64), (1216, 10), (2, 1216, 10)))
    joint, log_density = conservative.joint_actions(actions, actions, uniform, noise, 0.3)
    conservative.losses(torch.zeros(2, 2, *joint.shape[1:3]), log_density, *torch.zeros(2, 2, 1216), 5.0)
    own = draws.make([0, 1], torch.device("cpu"))
    own.normal(1216, 10, 6)
    uniforms = own.uniform(64, dtype=torch.float64)
    for starts in (1_000_000, 100, 3_000_000):
        priorities = Priorities(2, starts, torch.device("cpu"))
        priorities.sample(uniforms)
        for values in (uniforms, uniforms.float()):
            priorities.set(torch.zeros(2, 64, dtype=torch.int64), values)


if __name__ == "__main__":
    main()
