"""Three-agent Hopper (MAMuJoCo 3x1), fully observed as in OMIGA's data (Wang et al., 2023); gymnasium's Hopper-v5, bit for bit.

qpos = x, z, pitch, thigh, leg, foot; qvel the same, +6.

Deviation: in OMIGA's data each agent's vector ends with its one-hot id and is standardised by its own mean and standard
deviation over its entries. Here the learner adds the ids itself, and nothing is standardised.
"""

from typing import ClassVar

import numpy as np

from pjap_bench.environments.mujoco import MujocoTask


class ThreeAgentHopper(MujocoTask):
    """One joint per agent: thigh, leg, foot; each sees everything but x. A step is 0.008 s.

    The reward is the forward velocity, plus 1 while healthy, minus 0.001 times the squared norm of the unclipped joint
    action. An episode ends when the hopper is unhealthy (z <= 0.7, |pitch| >= 0.2, or another number of 100 or more), and
    after 1000 steps.
    """

    name = "three_agent_hopper"
    gymnasium_id = "Hopper-v5"
    agents = 3
    observation_size = 11
    action_size = 1
    state_size = 11
    physics_size = 12

    _model_file = "hopper.xml"
    _frame_skip = 4
    _seconds_per_step = 0.008
    _control_cost: ClassVar[float] = 1e-3
    _reset_noise: ClassVar[float] = 5e-3

    def _start_noise(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = self._reset_noise
        positions = random.uniform(-noise, noise, size=self._model.nq)
        return positions, random.uniform(-noise, noise, size=self._model.nv)

    @classmethod
    def _rewards(cls, velocities: np.ndarray, physics: np.ndarray, actions: np.ndarray) -> np.ndarray:
        healthy = cls.upright(physics).astype(np.float64)
        return velocities + healthy - cls._control_cost * np.sum(np.square(actions), axis=1)

    @classmethod
    def _terminates(cls, physics: np.ndarray) -> np.ndarray:
        return ~cls.upright(physics)

    @staticmethod
    def observations(physics: np.ndarray) -> np.ndarray:
        """Each agent's view, the same for all: [..., 12] -> [..., 3, 11]."""
        return np.repeat(ThreeAgentHopper.state(physics)[..., None, :], 3, axis=-2)

    @staticmethod
    def state(physics: np.ndarray) -> np.ndarray:
        """Positions but x, and velocities clipped to [-10, 10]: [..., 12] -> [..., 11]."""
        return np.concatenate([physics[..., 1:6], np.clip(physics[..., 6:], -10.0, 10.0)], axis=-1)

    @staticmethod
    def upright(physics: np.ndarray) -> np.ndarray:
        """gymnasium's healthy rule, outside of which an episode ends; [..., 12] -> [...] bool."""
        height, pitch = physics[..., 1], physics[..., 2]
        bounded = np.all(np.abs(physics[..., 2:]) < 100.0, axis=-1)
        return bounded & (height > 0.7) & (height < np.inf) & (np.abs(pitch) < 0.2)

    @staticmethod
    def fallen(physics: np.ndarray) -> np.ndarray:
        """Never: the episode ends before; [..., 12] -> [...] bool."""
        return np.zeros(physics.shape[:-1], dtype=bool)
