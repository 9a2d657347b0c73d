"""Reacher tasks: the two-link arm of Gymnasium's `Reacher-v5`, reaching for a hidden point."""

from typing import Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Goal, Reach
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.splits import disc_splits

_REACH = 0.2  # m, the arm's own reach in Reacher-v5's goal law
_JOINT_NOISE = 0.1  # rad
_VELOCITY_NOISE = 0.005  # rad/s
_SUCCESS_DISTANCE = 0.05  # m


def _goal(radius: float, success_distance: float = _SUCCESS_DISTANCE) -> Reach:
    """A point of the disc; `extrapolation` is the ring between it and the arm's reach."""
    if not 0 < radius <= _REACH:
        raise EnvironmentConfigError(f"goal_radius must be in (0, {_REACH}], got {radius}")
    space = spaces.Box(-_REACH, _REACH, (2,), np.float64)
    return Reach(space, [0.1, -0.1], disc_splits("goal", radius, _REACH), success_distance)


class Reacher(MujocoTaskEnv):
    """The arm: r = goal - sum(a^2), by default for a point within reach.

    Physics and initial states as in `Reacher-v5` (positions as MuJoCo leaves them, one simulator
    step behind the joints). Its observation names the goal; here the four entries that do are
    replaced by the fingertip's position: cos and sin of both joints, joint velocities,
    fingertip xy; 8 numbers. Quantities: tip.

    Args:
        num_envs: number of simulations.
        goal: what is rewarded.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps (0.01 s) per control step.
        **kwargs: `variations`, `action_scale` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal: Goal | None = None,
        ctrl_cost_weight: float = 1.0,
        frame_skip: int = 2,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight = ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="reacher.xml",
            observation_size=8,
            frame_skip=frame_skip,
            goal=goal or _goal(_REACH),
            **kwargs,
        )
        self._fingertip = self.simulations.body_positions("fingertip")

    @property
    def tip(self) -> np.ndarray:
        return self._fingertip

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_JOINT_NOISE, _JOINT_NOISE, self.model.nq)
        qvel = generator.uniform(-_VELOCITY_NOISE, _VELOCITY_NOISE, self.model.nv)
        qvel[2:] = 0.0
        if isinstance(self.goal, Reach):  # the model's marker stands at the goal
            qpos[2:] = self.goal.values[row]
        return qpos, qvel

    def _robot_observation(self) -> np.ndarray:
        angles = self.qpos[:, :2]
        parts = (np.cos(angles), np.sin(angles), self.qvel[:, :2], self._fingertip[:, :2])
        return np.concatenate(parts, axis=1)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self.goal.reward(self) - cost, None


def reacher_goal(
    num_envs: int = 1,
    *,
    goal_radius: float = _REACH,
    success_distance: float = _SUCCESS_DISTANCE,
    **kwargs: Any,
) -> Reacher:
    """Bring the fingertip to a hidden point: r = -||fingertip - goal|| - sum(a^2).

    Reward as in `Reacher-v5`. No published meta-RL definition exists for this arm.

    Tasks: `{"goal": [x, y]}` in m. Splits: `train` and `test` interleave by angle over the disc
    of radius `goal_radius` (uniform by area, as in Reacher-v5); `extrapolation` is the ring
    between it and the arm's reach, where there is one. `info["is_success"]`: the fingertip is
    near the point; an episode succeeds if it is so in the last step.

    Args:
        num_envs: number of simulations.
        goal_radius: m, at most 0.2.
        success_distance: m, what counts as near.
        **kwargs: arguments of `Reacher`.
    """
    return Reacher(num_envs, goal=_goal(goal_radius, success_distance), **kwargs)
