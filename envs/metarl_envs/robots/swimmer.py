"""Swimmer tasks: the three-link swimmer of Gymnasium's `Swimmer-v5` at a hidden velocity."""

from typing import Any

import numpy as np

from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.1  # m, rad and their rates


class Swimmer(MujocoTaskEnv):
    """The robot: r = goal - 0.0001 sum(a^2), by default for swimming along x.

    Physics, observation and initial states as in `Swimmer-v5`, to the bit: 4 simulator steps of
    0.01 s. Quantities: position, forward_velocity.

    Args:
        num_envs: number of simulations.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        **kwargs: `goal`, `variations`, `action_scale` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        ctrl_cost_weight: float = 1e-4,
        frame_skip: int = 4,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight = ctrl_cost_weight
        super().__init__(
            num_envs, xml_file="swimmer.xml", observation_size=8, frame_skip=frame_skip, **kwargs
        )

    @property
    def position(self) -> np.ndarray:
        return self.qpos[:, :2]

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self.goal.reward(self) - cost, None


def swimmer_vel(
    num_envs: int = 1, *, velocity_range: tuple[float, float] = (0.1, 0.2), **kwargs: Any
) -> Swimmer:
    """Swim at a hidden velocity: r = -|v - v*| - 0.0001 sum(a^2), v = dx/dt.

    Range and control cost as in ProMP's swimmer_rand_vel, whose reward has the opposite sign (it
    pays for missing the target); do not compare with its numbers.

    Tasks: `{"target_velocity": v*}` in m/s; `extrapolation` is the range above, half as wide.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `Swimmer`.
    """
    return Swimmer(num_envs, goal=TargetVelocity(velocity_range), **kwargs)
