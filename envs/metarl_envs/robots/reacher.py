"""ReacherGoal: the two-link arm of Gymnasium's `Reacher-v5`, reaching for a hidden point."""

from typing import Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Goal, Splits
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.distributions import PolarTasks

_REACH = 0.2  # m, the arm's own reach in Reacher-v5's goal law
_JOINT_NOISE = 0.1  # rad
_VELOCITY_NOISE = 0.005  # rad/s


def _goal(radius: float) -> Goal:
    """A point of the disc; `extrapolation` is the ring between it and the arm's reach."""
    circle = (-np.pi, np.pi)
    splits: Splits = {
        "train": PolarTasks("goal", (0.0, radius), circle, part="train"),
        "test": PolarTasks("goal", (0.0, radius), circle, part="held_out"),
    }
    if radius < _REACH:
        splits["extrapolation"] = PolarTasks("goal", (radius + 1e-6, _REACH), circle)
    return Goal("goal", spaces.Box(-_REACH, _REACH, (2,), np.float64), [0.1, -0.1], splits)


class ReacherGoal(MujocoTaskEnv):
    """Bring the fingertip to a hidden point: r = -||fingertip - goal|| - sum(a^2).

    Physics and reward as in `Reacher-v5` (positions as MuJoCo leaves them, one simulator step
    behind the joints). Its observation names the goal; here the four entries that do are
    replaced by the fingertip's position: cos and sin of both joints, joint velocities,
    fingertip xy; 8 numbers. No published meta-RL definition exists for this arm.

    Tasks: `{"goal": [x, y]}` in m. Splits: `train` and `test` interleave by angle over the disc
    of radius `goal_radius` (uniform by area, as in Reacher-v5); `extrapolation` is the ring
    between it and the arm's reach, where there is one.

    Args:
        num_envs: number of simulations.
        goal_radius: m, at most 0.2.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps (0.01 s) per control step.
        action_scale: see `MujocoTaskEnv`.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads`, `variations` of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal_radius: float = _REACH,
        ctrl_cost_weight: float = 1.0,
        frame_skip: int = 2,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if not 0 < goal_radius <= _REACH:
            raise EnvironmentConfigError(f"goal_radius must be in (0, {_REACH}], got {goal_radius}")
        self._goal, self._ctrl_cost_weight = _goal(goal_radius), ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="reacher.xml",
            parts=[self._goal],
            observation_size=8,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        self._fingertip = self.batch.body("fingertip").xpos
        self._target = self.batch.body("target").xpos

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        super()._reset_rows(rows, generators)
        self.qpos[rows, 2:] = self._goal.values[rows]
        self.batch.forward(rows)

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_JOINT_NOISE, _JOINT_NOISE, self.model.nq)
        qvel = generator.uniform(-_VELOCITY_NOISE, _VELOCITY_NOISE, self.model.nv)
        qvel[2:] = 0.0
        return qpos, qvel

    def _robot_observation(self) -> np.ndarray:
        angles = self.qpos[:, :2]
        parts = (np.cos(angles), np.sin(angles), self.qvel[:, :2], self._fingertip[:, :2])
        return np.concatenate(parts, axis=1)

    def _outcome(self, before: Any, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        distance = np.linalg.norm(self._fingertip - self._target, axis=1)
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return -distance - cost, None
