"""Trained behaviour policies: decentralised actors of any sizes, read from safetensors and played in float64.

A matrix product may round differently with another number of rows, and the physics is chaotic. So a policy is always
evaluated in float64 in blocks of `BLOCK` rows and its actions are rounded to float32 before they move anything:
the number of episodes played side by side, or of processes, then does not change a single bit of the data.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from pjap_bench import files
from pjap_bench.errors import BenchError

BLOCK = 16


class BehaviourPolicy:
    """The deterministic joint policy of one trained system, [episodes, agents, observation] -> [episodes, agents * action].

    Each agent has a perceptron of its own: relu between its layers, tanh after the last one.
    """

    def __init__(self, weights: list[np.ndarray], biases: list[np.ndarray], masked: tuple[int, ...], metadata: dict[str, str]):
        # per layer: weights [agents, in, out], biases [agents, out] (kept as [agents, 1, out])
        self._weights = [weight.astype(np.float64) for weight in weights]
        self._biases = [bias.astype(np.float64)[:, None, :] for bias in biases]
        self._masked = np.array(masked, dtype=int)
        self.metadata = metadata

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Joint actions in [-1, 1], float64, of any number of episodes."""
        episodes = len(observations)
        padded = np.zeros((-(-episodes // BLOCK) * BLOCK, *observations.shape[1:]))
        padded[:episodes] = observations
        padded[..., self._masked] = 0.0
        blocks = [self._block(padded[start : start + BLOCK]) for start in range(0, len(padded), BLOCK)]
        return np.concatenate(blocks)[:episodes]

    def _block(self, observations: np.ndarray) -> np.ndarray:
        hidden = np.ascontiguousarray(observations.transpose(1, 0, 2))  # agent first: one product per agent
        for layer, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            hidden = hidden @ weight + bias
            hidden = np.maximum(hidden, 0.0) if layer < len(self._weights) - 1 else np.tanh(hidden)
        return hidden.transpose(1, 0, 2).reshape(BLOCK, -1)


def load(
    path: str | Path, *, sha256: str | None, agents: int, observation: int, action: int, masked: tuple[int, ...]
) -> BehaviourPolicy:
    """Reads a behaviour policy and checks it against its card.

    Args:
        sha256: the hash that the card pins; None only where the file was made a moment ago.
        agents, observation, action: the environment's sizes.
        masked: positions of an observation that the policy never sees.

    Raises:
        BenchError: missing, truncated, another hash, weights of another shape or that are not finite.
    """
    found = files.sha256(path)
    if sha256 is not None and found != sha256:
        raise BenchError(
            f"sha256 is {found}, but the dataset's card pins {sha256}",
            where=path,
            do="restore the file from the repository, or pin the new hash in the card if the policy was retrained on purpose",
        )
    try:
        tensors = safetensors.numpy.load_file(path)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, TypeError) as error:  # numpy has no bfloat16
        raise BenchError(
            f"not a readable safetensors file ({error})", where=path, do="restore the file from the repository"
        ) from error
    layers = range(len(tensors) // 2)
    hidden = [size for layer in layers[:-1] if f"bias_{layer}" in tensors for size in tensors[f"bias_{layer}"].shape[-1:]]
    sizes = [observation, *hidden, action]
    expected = {f"weight_{layer}": (agents, *pair) for layer, pair in enumerate(itertools.pairwise(sizes))}
    expected |= {f"bias_{layer}": (agents, size) for layer, size in enumerate(sizes[1:])}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != expected:
        raise BenchError(
            f"tensors {shapes} do not fit {agents} agents with {observation} observations and {action} actions each",
            where=path,
            do="use a policy trained in this environment",
        )
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise BenchError(f"{broken[0]} holds numbers that are not finite", where=path, do="train the policy anew")
    return BehaviourPolicy([tensors[f"weight_{i}"] for i in layers], [tensors[f"bias_{i}"] for i in layers], masked, metadata)


def save(path: str | Path, weights: list[np.ndarray], biases: list[np.ndarray], metadata: dict[str, str]) -> None:
    """Writes the actors' weights [agents, in, out] and biases [agents, out], float32, with how they were made."""
    tensors = {f"weight_{i}": np.ascontiguousarray(weight, dtype=np.float32) for i, weight in enumerate(weights)}
    tensors |= {f"bias_{i}": np.ascontiguousarray(bias, dtype=np.float32) for i, bias in enumerate(biases)}
    with files.written_beside(path) as temporary:
        temporary.write_bytes(_sorted(safetensors.numpy.save(tensors, metadata=metadata)))


def _sorted(saved: bytes) -> bytes:
    """The same file with its metadata in the order of their names: safetensors' own order is another at every call."""
    start = 8 + int.from_bytes(saved[:8], "little")
    header = json.loads(saved[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return saved[:8] + text.ljust(start - 8) + saved[start:]
