"""Two-agent HalfCheetah (MAMuJoCo 2x3), the environment of the paper's section 4.2, on today's MuJoCo."""

import numpy as np

from pjap_bench.environments.halfcheetah import HalfCheetah

# Own joints from foot to thigh (position, velocity each), the other agent's thigh, then x, pitch, z: velocities, positions.
OBSERVATION_INDICES = np.array(
    [
        [5, 14, 4, 13, 3, 12, 6, 9, 11, 10, 0, 2, 1],
        [8, 17, 7, 16, 6, 15, 3, 9, 11, 10, 0, 2, 1],
    ]
)


class TwoAgentHalfCheetah(HalfCheetah):
    """Agent 0 moves the back leg (thigh, shin, foot), agent 1 the front leg; each sees its leg and the body.

    At step 1000 the paper's wrapper reports a terminal, not a truncation; what the learner makes of it is its own option
    (`time_limit` in workflow/config/paper.yaml). Here it is the time limit that it is.
    """

    name = "two_agent_halfcheetah"
    agents = 2
    observation_size = 13
    action_size = 3
    #: the absolute x
    unbounded_observations = (10,)

    @staticmethod
    def observations(physics: np.ndarray) -> np.ndarray:
        """Each agent's view: [..., 18] -> [..., 2, 13]."""
        return np.take(physics, OBSERVATION_INDICES, axis=-1)
