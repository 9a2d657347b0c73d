"""Fetch tasks of gymnasium-robotics with the goal as the task, hidden from the observation.

pip install --no-deps gymnasium-robotics PettingZoo Jinja2
"""

from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.tasks.distributions import TaskDistribution
from metarl_envs.tasks.splits import box_splits

_NAMES = ("FetchReach", "FetchPush", "FetchSlide", "FetchPickAndPlace")
_VERSION = "v4"
_RANGE_M = 0.15  # half-width of the box of goals, as in the original reach task
_LIFT = 3.0  # pick and place: upper goals reach up to 0.45 m above the table


class Fetch(gymnasium.Env):
    """One of the Fetch tasks (Plappert et al. 2018, arXiv 1802.09464) with a hidden goal.

    Tasks: `{"goal_offset": [x, y, z]}` in m from the gripper's initial position (plus the task's
    own target offset), each within +-0.15 m. For objects on the table the height is the table's;
    for pick and place a positive z lifts the goal by three times as much. `info["is_success"]`
    reports success.

    Args:
        name: "FetchReach", "FetchPush", "FetchSlide" or "FetchPickAndPlace".
        dense: reward -distance instead of -1 away from the goal.
        render_mode: "human", "rgb_array", or None.

    Raises:
        EnvironmentConfigError: if gymnasium-robotics is missing or the name unknown.
    """

    task_space = spaces.Dict({"goal_offset": spaces.Box(-_RANGE_M, _RANGE_M, (3,), np.float64)})

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 25}

    def __init__(
        self, name: str = "FetchReach", dense: bool = True, render_mode: str | None = None
    ) -> None:
        if name not in _NAMES:
            raise EnvironmentConfigError(f"name must be one of {', '.join(_NAMES)}, got {name!r}")
        _import_robotics()
        kind = f"{name}{'Dense' if dense else ''}-{_VERSION}"
        self.render_mode = render_mode
        made = gymnasium.make(kind, disable_env_checker=True, render_mode=render_mode)
        self.env: Any = made.unwrapped
        observed: Any = self.env.observation_space
        self.observation_space = observed["observation"]
        self.action_space = self.env.action_space
        self._offset = np.zeros(3)

    def task_distribution(self, split: str) -> TaskDistribution:
        """Goals uniform in the box; "train" and "test" interleave."""
        bound = np.full(3, _RANGE_M)
        return box_splits({"goal_offset": -bound}, {"goal_offset": bound})[split]

    def set_task(self, task: dict[str, Any]) -> None:
        """Set the goal, in force from the next reset."""
        self._offset = np.asarray(task["goal_offset"], float)

    def _goal(self) -> np.ndarray:
        env = self.env
        goal = env.initial_gripper_xpos + self._offset
        if env.has_object:
            goal = goal + env.target_offset
            goal[2] = env.height_offset
            if env.target_in_the_air:
                goal[2] += _LIFT * max(0.0, self._offset[2])
        return goal

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; the goal is the task's, the object's position is drawn."""
        super().reset(seed=seed)
        self.env.reset(seed=seed)
        self.env.goal = self._goal()
        return self.env._get_obs()["observation"], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs["observation"], float(reward), terminated, truncated, info

    def render(self) -> Any:
        """A frame, in the way of `render_mode`."""
        return self.env.render()

    def close(self) -> None:
        """Close the simulator."""
        self.env.close()


def _import_robotics() -> None:
    try:
        with redirect_stderr(StringIO()):  # a notice about hands, from every process
            import gymnasium_robotics
        from gymnasium_robotics.utils import mujoco_utils
    except ImportError:
        raise EnvironmentConfigError(
            "gymnasium-robotics is not installed: "
            "pip install --no-deps gymnasium-robotics PettingZoo Jinja2"
        ) from None
    gymnasium.register_envs(gymnasium_robotics)
    # Its own versions compare joint types in a way that fails since MuJoCo 4
    for quantity in ("qpos", "qvel"):
        setattr(mujoco_utils, f"get_joint_{quantity}", _getter(quantity))
        setattr(mujoco_utils, f"set_joint_{quantity}", _setter(quantity))


def _getter(quantity: str) -> Any:
    return lambda model, data, name: getattr(data.joint(name), quantity).copy()


def _setter(quantity: str) -> Any:
    def write(model: Any, data: Any, name: str, value: Any) -> None:
        getattr(data.joint(name), quantity)[:] = value

    return write
