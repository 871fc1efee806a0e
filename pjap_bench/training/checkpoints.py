"""Checkpoints of a stack: safetensors with JSON inside, everything that its future depends on; pickles nothing.

The JSON is a tensor of bytes: it holds all tables, and a header takes 100 MB at most.
"""

import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pjap_bench import files
from pjap_bench.errors import BenchError
from pjap_bench.training.stack import Stack

_ADVICE = "delete it to start this stack anew"


def save(path: Path, identity: str, stack: Stack, more: dict[str, Tensor], progress: dict) -> None:
    """Writes the stack, further tensors and plain data.

    Args:
        identity: of all that the numbers depend on; `load` takes no other.
        progress: JSON.
    """
    tensors = {f"stack.{name}": value for name, value in stack.tensors().items()}
    tensors |= {f"random.{name}": each.get_state() for name, each in stack.generators().items()}
    tensors |= {f"more.{name}": value for name, value in more.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    tensors["progress"] = torch.from_numpy(np.frombuffer(json.dumps(progress).encode(), np.uint8).copy())
    with files.written_beside(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata={"identity": identity}))


def load(path: Path, identity: str, stack: Stack) -> tuple[dict[str, Tensor], dict]:
    """Puts the stack back as `save` found it; returns the further tensors and the plain data.

    Raises:
        BenchError: truncated, not a checkpoint, or of another configuration, dataset or code.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
        progress = json.loads(tensors["progress"].numpy().tobytes()) if "progress" in tensors else None
    except (SafetensorError, OSError, ValueError) as error:
        raise BenchError(f"not a readable checkpoint ({error})", where=path, do=_ADVICE) from error
    if not isinstance(progress, dict) or metadata.get("identity") != identity:
        raise BenchError(
            "the checkpoint belongs to another configuration, dataset or version of the code", where=path, do=_ADVICE
        )
    live = {f"stack.{name}": value for name, value in stack.tensors().items()}
    states = {f"random.{name}": each for name, each in stack.generators().items()}
    alike = all(_form(tensors[name]) == _form(live[name]) for name in live.keys() & tensors.keys())
    if not (alike and tensors.keys() >= live.keys() | states.keys()):
        raise BenchError("the checkpoint has not the tensors of this stack", where=path, do=_ADVICE)
    for name, value in live.items():
        value.copy_(tensors[name])
    stack.updates = int(tensors["stack.updates"])
    for name, each in states.items():
        each.set_state(tensors[name])
    more = {name.removeprefix("more."): value.clone() for name, value in tensors.items() if name.startswith("more.")}
    return more, progress


def _form(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.dtype
