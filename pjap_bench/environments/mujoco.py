"""What the MuJoCo tasks share: many episodes stepped in turn, bit for bit as gymnasium steps one (tests/environments).

gymnasium defines the physics and the reward, MAMuJoCo (Peng et al., 2021) who sees what and who moves what. What agents
see is a function of the physics vector s = concat(qpos, qvel) alone, so a dataset stores s and derives the rest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np


class MujocoTask:
    """A batch of independent episodes of one cooperative task; one reward is shared by the agents.

    A joint action is the agents' actions one after the other, numbers in [-1, 1] in the order of the model's actuators
    (outside values are clipped by MuJoCo, but cost what they are). An episode ends by a terminal of its own, which `step`
    reports, or after `horizon` steps, which the caller counts.
    """

    name: ClassVar[str]
    gymnasium_id: ClassVar[str]  # of gymnasium's task that it is
    agents: ClassVar[int]
    observation_size: ClassVar[int]
    action_size: ClassVar[int]  # per agent
    state_size: ClassVar[int]
    physics_size: ClassVar[int]
    horizon: ClassVar[int] = 1000
    #: positions in an agent's observation of values that grow without bound
    unbounded_observations: ClassVar[tuple[int, ...]] = ()

    _model_file: ClassVar[str]
    _frame_skip: ClassVar[int]
    _seconds_per_step: ClassVar[float]

    def __init__(self, episodes: int):
        # Both are imported here, so that whoever only needs sizes and views needs no MuJoCo.
        import gymnasium.envs.mujoco
        import mujoco

        assets = Path(gymnasium.envs.mujoco.__file__).parent / "assets"
        self._mujoco = mujoco
        # MuJoCo 4 warns, in every process and into a file, that gymnasium's model uses a deprecated attribute.
        warn = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda message: None)
        self._model = mujoco.MjModel.from_xml_path(str(assets / self._model_file))
        mujoco.set_mju_user_warning(warn)
        self._data = [mujoco.MjData(self._model) for _ in range(episodes)]
        self._start_positions = self._model.qpos0.copy()

    @property
    def episodes(self) -> int:
        """How many episodes run side by side."""
        return len(self._data)

    def reset(self, seeds: Sequence[int], which: Sequence[int] | None = None) -> np.ndarray:
        """Starts episodes anew, each from its own seed alone, as gymnasium's `reset(seed=...)` does.

        Args:
            seeds: one for each episode that starts.
            which: the indices of these episodes; None for all.

        Returns:
            physics of all episodes, [episodes, physics] float64.

        Raises:
            ValueError: another number of seeds than of episodes.
        """
        which = range(self.episodes) if which is None else which
        if len(seeds) != len(which):
            raise ValueError(f"{len(seeds)} seeds for {len(which)} episodes")
        for episode, seed in zip(which, seeds, strict=True):
            data = self._data[episode]
            positions, velocities = self._start_noise(np.random.default_rng(seed))
            self._mujoco.mj_resetData(self._model, data)
            data.qpos[:] = self._start_positions + positions
            data.qvel[:] = velocities
            self._mujoco.mj_forward(self._model, data)
        return self._physics()

    def step(self, actions: np.ndarray, running: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advances the running episodes by one step; the others stay as they are, with a reward of 0.

        Args:
            actions: joint actions, [episodes, agents * action].
            running: [episodes] bool; None for all.

        Returns:
            physics after the step [episodes, physics] float64, the shared reward [episodes] float64, and whether this step
            was the terminal one [episodes] bool.

        Raises:
            ValueError: arrays of another shape.
        """
        actions = np.ascontiguousarray(actions, dtype=np.float64)
        if actions.shape != (self.episodes, self.agents * self.action_size):
            raise ValueError(f"actions have shape {actions.shape}, not {(self.episodes, self.agents * self.action_size)}")
        running = np.ones(self.episodes, dtype=bool) if running is None else np.asarray(running, dtype=bool)
        if running.shape != (self.episodes,):
            raise ValueError(f"running has shape {running.shape}, not {(self.episodes,)}")
        before = np.array([data.qpos[0] for data in self._data])
        for episode in np.flatnonzero(running):
            data = self._data[episode]
            data.ctrl[:] = actions[episode]
            self._mujoco.mj_step(self._model, data, nstep=self._frame_skip)
        physics = self._physics()
        velocities = (physics[:, 0] - before) / self._seconds_per_step
        rewards = np.where(running, self._rewards(velocities, physics, actions), 0.0)
        return physics, rewards, running & self._terminates(physics)

    def _physics(self) -> np.ndarray:
        return np.array([np.concatenate([data.qpos, data.qvel]) for data in self._data])

    def _start_noise(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What a new episode adds to the start positions, and its velocities: [nq], [nv]."""
        raise NotImplementedError

    @staticmethod
    def _rewards(velocities: np.ndarray, physics: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """[episodes] from the forward velocities [episodes], the physics after the step and the unclipped actions."""
        raise NotImplementedError

    @staticmethod
    def _terminates(physics: np.ndarray) -> np.ndarray:
        """Whether an episode ends in these states; [..., physics] -> [...] bool."""
        raise NotImplementedError

    @staticmethod
    def observations(physics: np.ndarray) -> np.ndarray:
        """Each agent's view: [..., physics] -> [..., agents, observation]."""
        raise NotImplementedError

    @staticmethod
    def state(physics: np.ndarray) -> np.ndarray:
        """What the centralised critic sees: [..., physics] -> [..., state]."""
        raise NotImplementedError

    @staticmethod
    def upright(physics: np.ndarray) -> np.ndarray:
        """Whether a behaviour policy is as it should be in these states; [..., physics] -> [...] bool."""
        raise NotImplementedError

    @staticmethod
    def fallen(physics: np.ndarray) -> np.ndarray:
        """Whether training charges for these states, which the task itself pays for; [..., physics] -> [...] bool."""
        raise NotImplementedError
