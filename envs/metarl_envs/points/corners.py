"""PointCorners: a point that walks to one of four corners, with or without momentum."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.points.picture import draw_points
from metarl_envs.protocol import Rows, Transition
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import ListTasks, TaskDistribution

_CORNERS = np.array([[2.0, 2.0], [-2.0, 2.0], [-2.0, -2.0], [2.0, -2.0]])
_START_NOISE = 0.2  # half-width of the initial positions, per axis
_QUIET_RADIUS = 0.5  # 1-norm around the origin within which the sparse reward is silent


class PointCorners(TaskVectorEnv):
    """Four corners (+-2, +-2), one of them the goal (ProMP's point_env_2d_corner and _momentum).

    s' = s + a, |a_i| <= 0.2; with `momentum` v' = v + a, |a_i| <= 0.1, s' = s + v', and the
    velocity is observed. With d the distance to the goal: reward "dense" is -d, "dense_squared"
    -d^2, and "sparse" the step's gain in d while the goal is the nearest corner and the 1-norm of
    s' is at least 0.5, else 0: which corner pays has to be found out.

    Tasks: `{"corner": 0..3}`, counter-clockwise from (2, 2). There are four, and the literature
    trains and tests on all of them (`shares_tasks`).

    Args:
        num_envs: number of points.
        reward: "sparse", "dense" or "dense_squared".
        momentum: whether actions are accelerations.
        action_scale: actions are divided by this before they act.
        max_episode_steps: horizon, or None for none.
    """

    task_space = spaces.Dict({"corner": spaces.Discrete(4)})
    nominal_task = {"corner": 0}
    shares_tasks = True
    render_modes = ("rgb_array",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        reward: Literal["sparse", "dense", "dense_squared"] = "sparse",
        momentum: bool = False,
        action_scale: float = 1.0,
        max_episode_steps: int | None = None,
    ) -> None:
        if reward not in ("sparse", "dense", "dense_squared"):
            raise EnvironmentConfigError(
                f"reward must be 'sparse', 'dense' or 'dense_squared', got {reward!r}"
            )
        self._reward, self._momentum = reward, momentum
        limit = np.full(2, 0.1 if momentum else 0.2)
        super().__init__(
            num_envs,
            observation_size=4 if momentum else 2,
            action_low=-limit,
            action_high=limit,
            action_scale=action_scale,
            max_episode_steps=max_episode_steps,
        )
        self.position, self._velocity = np.zeros((2, num_envs, 2))
        self._corner = np.zeros(num_envs, np.int64)

    def _distributions(self) -> Mapping[str, TaskDistribution]:
        corners = ListTasks({"corner": np.arange(4)})
        return {"train": corners, "test": corners}

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self._corner[rows] = tasks["corner"]

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        for row, generator in zip(rows, generators, strict=True):
            self.position[row] = generator.uniform(-_START_NOISE, _START_NOISE, 2)
        self._velocity[rows] = 0.0

    def _observe(self) -> np.ndarray:
        parts = [self.position, self._velocity] if self._momentum else [self.position]
        return np.concatenate(parts, axis=1)

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        everyone = slice(None) if rows is None else rows
        goal = _CORNERS[self._corner]
        before = np.linalg.norm(self.position - goal, axis=1)
        if self._momentum:
            self._velocity[everyone] += control[everyone]
            self.position[everyone] += self._velocity[everyone]
        else:
            self.position[everyone] += control[everyone]
        return Transition(self._observe(), self._rewards(goal, before), None, {})

    def _rewards(self, goal: np.ndarray, before: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(self.position - goal, axis=1)
        if self._reward == "dense":
            return -distance
        if self._reward == "dense_squared":
            return -np.square(distance)
        to_corners = np.linalg.norm(self.position[:, None] - _CORNERS, axis=2)
        pays = to_corners.argmin(axis=1) == self._corner
        pays &= np.abs(self.position).sum(axis=1) >= _QUIET_RADIUS
        return np.where(pays, before - distance, 0.0)

    def draw(self, row: int, render_mode: str) -> np.ndarray:
        """The plane around the origin: the goal in green, the point in blue."""
        return draw_points(_CORNERS[self._corner[row]], self.position[row], side=6.0)
