"""gymnasium's HalfCheetah-v5, bit for bit; the tasks on it differ in who sees and who moves what.

qpos = x, z, pitch, back thigh, back shin, back foot, front thigh, front shin, front foot; qvel the same, +9.
"""

from typing import ClassVar

import numpy as np

from pjap_bench.environments.mujoco import MujocoTask

STATE_INDICES = np.arange(1, 18)  # everything but x


class HalfCheetah(MujocoTask):
    """The cheetah of six joints; a step is 0.05 s, about 25,000 steps a second and core.

    The reward is the forward velocity minus 0.1 times the squared norm of the unclipped joint action.
    An episode never terminates early: it ends after 1000 steps.
    """

    gymnasium_id = "HalfCheetah-v5"
    state_size = 17
    physics_size = 18

    _model_file = "half_cheetah.xml"
    _frame_skip = 5
    _seconds_per_step = 0.05
    _control_cost: ClassVar[float] = 0.1
    _reset_noise: ClassVar[float] = 0.1

    def _start_noise(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = self._reset_noise
        positions = random.uniform(-noise, noise, size=self._model.nq)
        return positions, noise * random.standard_normal(self._model.nv)

    @classmethod
    def _rewards(cls, velocities: np.ndarray, physics: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return velocities - cls._control_cost * np.sum(np.square(actions), axis=1)

    @staticmethod
    def _terminates(physics: np.ndarray) -> np.ndarray:
        return np.zeros(physics.shape[:-1], dtype=bool)

    @staticmethod
    def state(physics: np.ndarray) -> np.ndarray:
        """What the centralised critic sees: [..., 18] -> [..., 17], no absolute x."""
        return np.take(physics, STATE_INDICES, axis=-1)

    @staticmethod
    def upright(physics: np.ndarray) -> np.ndarray:
        """Whether the body is neither on its back nor on its nose: cos(pitch) > 0.5; [..., 18] -> [...] bool."""
        return np.cos(physics[..., 2]) > 0.5

    @staticmethod
    def fallen(physics: np.ndarray) -> np.ndarray:
        """Whether the body lies on its back (cos(pitch) < 0), where it can slide along for reward; [..., 18] -> [...] bool."""
        return np.cos(physics[..., 2]) < 0
