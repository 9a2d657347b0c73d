"""PointNavigation: a point in the plane that walks to a hidden goal. Plain NumPy, no engine.

The setting of MAML's first RL experiment (Finn et al. 2017, arXiv 1703.03400, section 5.3.1) and,
with the sparse reward, of PEARL's (Rakelly et al. 2019, arXiv 1903.08254, section 6.3).
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.points.picture import draw_points
from metarl_envs.protocol import TRAINING_REWARD, Rows, Transition
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import TaskDistribution
from metarl_envs.tasks.splits import box_splits, semicircle_splits

_MAX_STEP = 0.1  # length units per control step and axis


class PointNavigation(TaskVectorEnv):
    """Position s' = s + a, |a_i| <= 0.1; reward -||s' - goal||, the goal hidden.

    With `reward="sparse"` the reward is 1 - d within `sparse_radius` of the goal and 0 elsewhere
    (PEARL's sparse point robot). Episodes start at the origin and last to the horizon; with
    `terminate_at_goal` they end within 0.01 of the goal on both axes, as in MAML's own code.

    Tasks: `{"goal": [x, y]}`. Splits for `goals="square"`: `train` and `test` interleave over
    [-goal_range, goal_range]^2, `extrapolation` surrounds it up to twice the range. For
    `goals="semicircle"` the goals lie on the upper half of the circle of radius 2 goal_range;
    `extrapolation` is the lower half.

    Papers differ: goals U[-0.5,0.5]^2 and horizon 100 in MAML; starts U[-1,1]^2, horizon 20 in
    PEARL; actions +-1 scaled by 0.1 in VariBAD (`action_scale=10`).

    Args:
        num_envs: number of points.
        reward: "dense" or "sparse".
        goals: "square" or "semicircle".
        goal_range: half the side of the square of goals; half the circle's radius.
        sparse_radius: distance within which the sparse reward is paid.
        terminate_at_goal: end the episode at the goal.
        reset_noise: initial positions are uniform within +-reset_noise per axis.
        action_scale: actions are divided by this before they move the point.
        max_episode_steps: horizon, or None for none.
    """

    task_space = spaces.Dict({"goal": spaces.Box(-10.0, 10.0, (2,), np.float64)})
    nominal_task = {"goal": [0.3, 0.4]}
    render_modes = ("rgb_array",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        reward: Literal["dense", "sparse"] = "dense",
        goals: Literal["square", "semicircle"] = "square",
        goal_range: float = 0.5,
        sparse_radius: float = 0.2,
        terminate_at_goal: bool = False,
        reset_noise: float = 0.0,
        action_scale: float = 1.0,
        max_episode_steps: int | None = None,
    ) -> None:
        if reward not in ("dense", "sparse"):
            raise EnvironmentConfigError(f"reward must be 'dense' or 'sparse', got {reward!r}")
        if goals not in ("square", "semicircle"):
            raise EnvironmentConfigError(f"goals must be 'square' or 'semicircle', got {goals!r}")
        if not 0 < goal_range <= 5 or not sparse_radius > 0 or reset_noise < 0:
            raise EnvironmentConfigError(
                "goal_range must be in (0, 5], sparse_radius positive and reset_noise not "
                f"negative; got {goal_range}, {sparse_radius} and {reset_noise}"
            )
        self._sparse, self._goals, self._goal_range = reward == "sparse", goals, goal_range
        self._sparse_radius, self._terminate = sparse_radius, terminate_at_goal
        self._reset_noise = reset_noise
        super().__init__(
            num_envs,
            observation_size=2,
            action_low=np.full(2, -_MAX_STEP),
            action_high=np.full(2, _MAX_STEP),
            action_scale=action_scale,
            max_episode_steps=max_episode_steps,
        )
        self.position = np.zeros((num_envs, 2))
        self._goal = self.tasks["goal"].copy()

    def _distributions(self) -> Mapping[str, TaskDistribution]:
        side = self._goal_range
        if self._goals == "semicircle":
            return semicircle_splits("goal", 2 * side)
        outer = {"goal": [-2 * side] * 2}, {"goal": [2 * side] * 2}
        return box_splits({"goal": [-side] * 2}, {"goal": [side] * 2}, outer)

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self._goal[rows] = tasks["goal"]

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        self.position[rows] = 0.0
        if self._reset_noise:
            noise = [generator.uniform(-1.0, 1.0, 2) for generator in generators]
            self.position[rows] = self._reset_noise * np.stack(noise)

    def start_as_seen(self, observations: np.ndarray) -> None:
        """See `protocol.SeenStart`."""
        self.position[:] = observations

    def _observe(self) -> np.ndarray:
        return self.position.copy()

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        everyone = slice(None) if rows is None else rows
        self.position[everyone] += control[everyone]
        offset = self.position - self._goal
        distance = np.linalg.norm(offset, axis=1)
        near = np.asarray(distance <= self._sparse_radius)
        rewards = np.where(near, 1.0 - distance, 0.0) if self._sparse else -distance
        reached = np.asarray((np.abs(offset) < 0.01).all(axis=1))
        terminated = reached if self._terminate else None
        info = {"success": near, TRAINING_REWARD: -distance} if self._sparse else {}
        return Transition(self._observe(), rewards, terminated, info)

    def draw(self, row: int, render_mode: str) -> np.ndarray:
        """The plane around the origin: the goal in green, the point in blue."""
        side = 3.0 * max(self._goal_range, float(np.abs(self._goal[row]).max()))
        return draw_points(self._goal[row], self.position[row], side)


def point_navigation_sparse(num_envs: int = 1, **kwargs: Any) -> PointNavigation:
    """`PointNavigation` with sparse reward and goals on the unit half circle (PEARL's).

    Args:
        num_envs: number of points.
        **kwargs: arguments of `PointNavigation`.
    """
    return PointNavigation(num_envs, **({"reward": "sparse", "goals": "semicircle"} | kwargs))
