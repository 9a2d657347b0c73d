"""SwimmerVel: the three-link swimmer of Gymnasium's `Swimmer-v5` at a hidden velocity."""

from typing import Any

import numpy as np

from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.1  # m, rad and their rates


class SwimmerVel(MujocoTaskEnv):
    """Swim at a hidden velocity: r = -|v - v*| - 0.0001 sum(a^2), v = dx/dt.

    Range and control cost as in ProMP's swimmer_rand_vel, whose reward has the opposite sign (it
    pays for missing the target); do not compare with its numbers. Physics, observation and
    initial states as in `Swimmer-v5`, to the bit: 4 simulator steps of 0.01 s.

    Tasks: `{"target_velocity": v*}` in m/s; `extrapolation` is the range above, half as wide.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        action_scale: see `MujocoTaskEnv`.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads`, `variations` of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        velocity_range: tuple[float, float] = (0.1, 0.2),
        ctrl_cost_weight: float = 1e-4,
        frame_skip: int = 4,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._goal, self._ctrl_cost_weight = TargetVelocity(velocity_range), ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="swimmer.xml",
            parts=[self._goal],
            observation_size=8,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)

    def _outcome(
        self, before: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        velocity = (self.qpos[:, 0] - before) / self.dt
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self._goal.reward(velocity) - cost, None
