"""What an experiment gives, and its random numbers."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """The result of one experiment's `run`.

    Attributes:
        arrays: for the npz file of its name.
        estimates: {claim: {estimate: {"value", "low", "high", "n"}}}, see `estimates`.
        captions: {figure: text}.
    """

    arrays: dict[str, np.ndarray]
    estimates: dict[str, dict[str, dict]] = dataclasses.field(default_factory=dict)
    captions: dict[str, str] = dataclasses.field(default_factory=dict)


def stream(settings: dict, *key: int) -> np.random.Generator:
    """Random numbers of their own for each key, which begins with the figure's number: a change of one leaves the others."""
    return np.random.default_rng(np.random.SeedSequence(settings["seed"], spawn_key=key))
