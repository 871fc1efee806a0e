"""Six-agent HalfCheetah (MAMuJoCo 6x1), fully observed as in OMIGA's data (Wang et al., 2023).

Deviation: there, each agent's vector ends with its one-hot id and is standardised by its own mean and standard deviation
over its entries. Here the learner adds the ids itself, and nothing is standardised.
"""

import numpy as np

from pjap_bench.environments.halfcheetah import STATE_INDICES, HalfCheetah

OBSERVATION_INDICES = np.tile(STATE_INDICES, (6, 1))


class SixAgentHalfCheetah(HalfCheetah):
    """One joint per agent: back thigh, back shin, back foot, front thigh, front shin, front foot; each sees all but x."""

    name = "six_agent_halfcheetah"
    agents = 6
    observation_size = 17
    action_size = 1

    @staticmethod
    def observations(physics: np.ndarray) -> np.ndarray:
        """Each agent's view, the same for all: [..., 18] -> [..., 6, 17]."""
        return np.take(physics, OBSERVATION_INDICES, axis=-1)
