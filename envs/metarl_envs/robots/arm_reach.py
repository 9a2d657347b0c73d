"""ArmReach: the seven-joint arm of Gymnasium's `Pusher-v5`, reaching for a hidden 3-D point."""

from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Goal, Splits
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.distributions import UniformTasks

_VELOCITY_NOISE = 0.005  # rad/s
_CENTRE = np.array([0.5, -0.2, 0.0])  # m, of the box of targets, within reach of the arm
_HALF_SIZE = np.array([0.2, 0.3, 0.2])  # m
_SUCCESS_M = 0.05


class ArmReach(MujocoTaskEnv):
    """Bring the tip of the arm to a hidden point: r = -||tip - goal|| - 0.1 sum(a^2).

    The arm, its actuators and joint limits as in `Pusher-v5` (5 simulator steps of 0.01 s), without
    table top, object and goal. The observation is joint angles, joint velocities and the tip's
    position: 17 numbers. `info["success"]`: the tip is within 5 cm. Ours: no paper defines it.

    Tasks: `{"goal": [x, y, z]}` in m. `train` and `test` interleave over a box in front of the
    arm, 0.4 x 0.6 x 0.4 m; `extrapolation` is a shell around it, `goal_margin` thick. With
    `variations={"link_mass": {}}` the masses of the arm's links vary as well.

    Args:
        num_envs: number of simulations.
        goal_margin: m.
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        action_scale: see `MujocoTaskEnv`; 0.5 maps [-1, 1] to the actuators' +-2.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads`, `variations` of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal_margin: float = 0.1,
        ctrl_cost_weight: float = 0.1,
        frame_skip: int = 5,
        action_scale: float = 0.5,
        **kwargs: Any,
    ) -> None:
        if not 0 < goal_margin <= 0.5:
            raise EnvironmentConfigError(f"goal_margin must be in (0, 0.5], got {goal_margin}")
        self._goal, self._ctrl_cost_weight = _goal(goal_margin), ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="pusher_v5.xml",
            parts=[self._goal],
            observation_size=17,
            frame_skip=frame_skip,
            action_scale=action_scale,
            **kwargs,
        )
        self._tip = self.batch.body("tips_arm").xpos

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        for name in ("object", "goal"):
            spec.delete(spec.body(name))
        spec.delete(spec.geom("table"))

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        velocity = generator.uniform(-_VELOCITY_NOISE, _VELOCITY_NOISE, self.model.nv)
        return self.model.qpos0, velocity

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos, self.qvel, self._tip], axis=1)

    def _outcome(self, before: Any, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return -self._distance() - cost, None

    def _info(self) -> dict[str, np.ndarray]:
        return {"success": self._distance() < _SUCCESS_M}

    def _distance(self) -> np.ndarray:
        return np.linalg.norm(self._tip - self._goal.values, axis=1)


def _goal(margin: float) -> Goal:
    low, high = {"goal": _CENTRE - _HALF_SIZE}, {"goal": _CENTRE + _HALF_SIZE}
    outer = {"goal": low["goal"] - margin}, {"goal": high["goal"] + margin}
    splits: Splits = {
        "train": UniformTasks(low, high, part="train"),
        "test": UniformTasks(low, high, part="held_out"),
        "extrapolation": UniformTasks(*outer, excluding=UniformTasks(low, high)),
    }
    return Goal("goal", spaces.Box(-2.0, 2.0, (3,), np.float64), _CENTRE.tolist(), splits)
