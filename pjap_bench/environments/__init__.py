"""Environments, batched over episodes. `make(name, episodes)` is the registry."""

from pjap_bench.environments.two_agent_halfcheetah import TwoAgentHalfCheetah
from pjap_bench.errors import BenchError

ENVIRONMENTS = {"two_agent_halfcheetah": TwoAgentHalfCheetah}


def get(name: str) -> type[TwoAgentHalfCheetah]:
    """The environment class of that name (its sizes are class attributes).

    Raises:
        BenchError: no such environment.
    """
    try:
        return ENVIRONMENTS[name]
    except KeyError:
        known = ", ".join(ENVIRONMENTS)
        raise BenchError(f"unknown environment '{name}'", do=f"use one of: {known}") from None
