"""A whole update as one CUDA graph: recorded once, then started with a single call instead of some thousand."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP = 3  # calls before the recording: libraries allocate their work space in the first ones


def captured(
    step: Callable[[], None], tensors: dict[str, Tensor], generators: dict[str, torch.Generator], device: torch.device
) -> Callable[[], None]:
    """`step` as a graph on a GPU, `step` itself elsewhere.

    Args:
        step: changes tensors in place only and never waits for the device.
        tensors, generators: all that a call changes and a later one depends on; put back after the recording.
    """
    if device.type != "cuda":
        return step
    kept = {name: value.clone() for name, value in tensors.items()}
    states = {name: each.get_state() for name, each in generators.items()}
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream(device).wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    for each in generators.values():
        graph.register_generator_state(each)
    with torch.cuda.graph(graph):
        step()
    for name, value in kept.items():
        tensors[name].copy_(value)
    for name, state in states.items():
        generators[name].set_state(state)
    return graph.replay
