"""Environments, batched over episodes. `get(name)` is the registry: one more class here is one more environment."""

from pjap_bench.environments.mujoco import MujocoTask
from pjap_bench.environments.six_agent_halfcheetah import SixAgentHalfCheetah
from pjap_bench.environments.three_agent_hopper import ThreeAgentHopper
from pjap_bench.environments.two_agent_halfcheetah import TwoAgentHalfCheetah
from pjap_bench.errors import BenchError

ENVIRONMENTS = {task.name: task for task in (TwoAgentHalfCheetah, SixAgentHalfCheetah, ThreeAgentHopper)}


def get(name: str) -> type[MujocoTask]:
    """The environment class of that name (its sizes are class attributes).

    Raises:
        BenchError: no such environment.
    """
    try:
        return ENVIRONMENTS[name]
    except KeyError:
        known = ", ".join(ENVIRONMENTS)
        raise BenchError(f"unknown environment '{name}'", do=f"use one of: {known}") from None
