"""Arm tasks: the seven-joint arm of Gymnasium's `Pusher-v5`, reaching for a hidden 3-D point."""

from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Goal, Reach
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.splits import box_splits

_VELOCITY_NOISE = 0.005  # rad/s
_CENTRE = np.array([0.5, -0.2, 0.0])  # m, of the box of targets, within reach of the arm
_HALF_SIZE = np.array([0.2, 0.3, 0.2])  # m
_SUCCESS_DISTANCE = 0.05  # m


def _goal(margin: float, success_distance: float = _SUCCESS_DISTANCE) -> Reach:
    if not 0 < margin <= 0.5:
        raise EnvironmentConfigError(f"goal_margin must be in (0, 0.5], got {margin}")
    low, high = _CENTRE - _HALF_SIZE, _CENTRE + _HALF_SIZE
    outer = {"goal": low - margin}, {"goal": high + margin}
    space = spaces.Box(-2.0, 2.0, (3,), np.float64)
    splits = box_splits({"goal": low}, {"goal": high}, outer)
    return Reach(space, _CENTRE.tolist(), splits, success_distance)


class Arm(MujocoTaskEnv):
    """The arm: r = goal - 0.1 sum(a^2), by default for a point in front of it.

    Arm, actuators and joint limits as in `Pusher-v5` (5 simulator steps of 0.01 s), without table
    top, object and goal. The observation is joint angles, joint velocities and the tip's position:
    17 numbers. Quantities: tip.

    Args:
        num_envs: number of simulations.
        goal: what is rewarded.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        action_scale: see `MujocoTaskEnv`; 0.5 maps [-1, 1] to the actuators' +-2.
        **kwargs: `variations` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal: Goal | None = None,
        ctrl_cost_weight: float = 0.1,
        frame_skip: int = 5,
        action_scale: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight = ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="pusher_v5.xml",
            observation_size=17,
            frame_skip=frame_skip,
            action_scale=action_scale,
            goal=goal or _goal(0.1),
            **kwargs,
        )
        self._tip = self.simulations.body_positions("tips_arm")

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        for name in ("object", "goal"):
            spec.delete(spec.body(name))
        spec.delete(spec.geom("table"))

    @property
    def tip(self) -> np.ndarray:
        return self._tip

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        velocity = generator.uniform(-_VELOCITY_NOISE, _VELOCITY_NOISE, self.model.nv)
        return self.model.qpos0, velocity

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos, self.qvel, self._tip], axis=1)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self.goal.reward(self) - cost, None


def arm_reach(
    num_envs: int = 1,
    *,
    goal_margin: float = 0.1,
    success_distance: float = _SUCCESS_DISTANCE,
    **kwargs: Any,
) -> Arm:
    """Bring the tip of the arm to a hidden point: r = -||tip - goal|| - 0.1 sum(a^2).

    Ours: no paper defines it. Tasks: `{"goal": [x, y, z]}` in m. `train` and `test` interleave over
    a box in front of the arm, 0.4 x 0.6 x 0.4 m; `extrapolation` is a shell around it,
    `goal_margin` thick. `info["is_success"]`: the tip is near the point; an episode succeeds if
    it is so in the last step.

    Args:
        num_envs: number of simulations.
        goal_margin: m.
        success_distance: m, what counts as near.
        **kwargs: arguments of `Arm`.
    """
    return Arm(num_envs, goal=_goal(goal_margin, success_distance), **kwargs)
