"""Two-agent HalfCheetah (MAMuJoCo 2x3), the environment of the paper's section 4.2, on today's MuJoCo.

The physics is gymnasium's HalfCheetah-v5, bit for bit (tests/environments). On top of it MAMuJoCo defines who sees what
and who moves what. Both are index views of the physics vector s = concat(qpos[9], qvel[9]), with
qpos = x, z, pitch, back thigh, back shin, back foot, front thigh, front shin, front foot; so a dataset stores s alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Own joints from foot to thigh (position, velocity each), the other agent's thigh, then x, pitch, z: velocities, positions.
OBSERVATION_INDICES = np.array(
    [
        [5, 14, 4, 13, 3, 12, 6, 9, 11, 10, 0, 2, 1],
        [8, 17, 7, 16, 6, 15, 3, 9, 11, 10, 0, 2, 1],
    ]
)
STATE_INDICES = np.arange(1, 18)  # everything but x


class TwoAgentHalfCheetah:
    """A batch of independent episodes of 1000 steps, stepped in turn (about 25,000 steps a second and core).

    Agent 0 moves the back leg (thigh, shin, foot), agent 1 the front leg; a joint action is both, six numbers in [-1, 1]
    (outside values are clipped by MuJoCo, but cost what they are). One reward is shared.

    An episode never terminates early. At step 1000 the paper's wrapper reports a terminal, not a truncation;
    what the learner makes of it is its own option (`time_limit` in workflow/config/paper.yaml).
    """

    name = "two_agent_halfcheetah"
    agents = 2
    observation_size = 13
    action_size = 3  # per agent
    state_size = 17
    physics_size = 18
    horizon = 1000
    #: positions in an agent's observation of the absolute x, which grows without bound
    unbounded_observations = (10,)

    _frame_skip = 5
    _seconds_per_step = 0.05
    _control_cost = 0.1
    _reset_noise = 0.1

    def __init__(self, episodes: int):
        # Both are imported here, so that whoever only needs sizes and index views needs no MuJoCo.
        import gymnasium.envs.mujoco
        import mujoco

        assets = Path(gymnasium.envs.mujoco.__file__).parent / "assets"
        self._mujoco = mujoco
        # MuJoCo 4 warns, in every process and into a file, that gymnasium's model uses a deprecated attribute.
        warn = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda message: None)
        self._model = mujoco.MjModel.from_xml_path(str(assets / "half_cheetah.xml"))
        mujoco.set_mju_user_warning(warn)
        self._data = [mujoco.MjData(self._model) for _ in range(episodes)]
        mujoco.mj_resetData(self._model, self._data[0])
        self._start_positions = self._data[0].qpos.copy()

    @property
    def episodes(self) -> int:
        """How many episodes run side by side."""
        return len(self._data)

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """Starts every episode anew, episode i from `seeds[i]` alone, as gymnasium's `reset(seed=...)` does.

        Returns:
            physics, [episodes, 18] float64.
        """
        if len(seeds) != self.episodes:
            raise ValueError(f"{len(seeds)} seeds for {self.episodes} episodes")
        for data, seed in zip(self._data, seeds, strict=True):
            random = np.random.default_rng(seed)
            noise = self._reset_noise
            self._mujoco.mj_resetData(self._model, data)
            data.qpos[:] = self._start_positions + random.uniform(-noise, noise, size=self._model.nq)
            data.qvel[:] = noise * random.standard_normal(self._model.nv)
            self._mujoco.mj_forward(self._model, data)
        return self._physics()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Advances every episode by one step (0.05 s).

        Args:
            actions: joint actions, [episodes, 6].

        Returns:
            physics after the step, [episodes, 18] float64, and the shared reward, [episodes] float64:
            the forward velocity minus 0.1 times the squared norm of the unclipped joint action.
        """
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape != (self.episodes, self.agents * self.action_size):
            raise ValueError(f"actions have shape {actions.shape}, not {(self.episodes, self.agents * self.action_size)}")
        rewards = np.empty(self.episodes)
        for episode, (data, action) in enumerate(zip(self._data, actions, strict=True)):
            before = data.qpos[0]
            data.ctrl[:] = action
            self._mujoco.mj_step(self._model, data, nstep=self._frame_skip)
            velocity = (data.qpos[0] - before) / self._seconds_per_step
            rewards[episode] = velocity - self._control_cost * np.sum(np.square(action))
        return self._physics(), rewards

    def _physics(self) -> np.ndarray:
        return np.array([np.concatenate([data.qpos, data.qvel]) for data in self._data])

    @staticmethod
    def observations(physics: np.ndarray) -> np.ndarray:
        """Each agent's view: [..., 18] -> [..., 2, 13]."""
        return physics[..., OBSERVATION_INDICES]

    @staticmethod
    def state(physics: np.ndarray) -> np.ndarray:
        """What the centralised critic sees: [..., 18] -> [..., 17], no absolute x."""
        return physics[..., STATE_INDICES]

    @staticmethod
    def upright(physics: np.ndarray) -> np.ndarray:
        """Whether the body is neither on its back nor on its nose: cos(pitch) > 0.5; [..., 18] -> [...] bool."""
        return np.cos(physics[..., 2]) > 0.5
