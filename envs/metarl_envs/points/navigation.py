"""PointNavigation: a point in the plane that walks to a hidden goal. Plain NumPy, no engine.

The setting of MAML's first RL experiment (Finn et al. 2017, arXiv 1703.03400, section 5.3.1) and,
with the sparse reward, of PEARL's (Rakelly et al. 2019, arXiv 1903.08254, section 6.3).
"""

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.task_env import Rows, TaskVectorEnv, Transition
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import PolarTasks, TaskDistribution, UniformTasks

_MAX_STEP = 0.1  # length units per control step and axis
_PIXELS = 256


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
        self._position = np.zeros((num_envs, 2))
        self._goal = self.tasks["goal"].copy()

    def _distributions(self) -> dict[str, TaskDistribution]:
        if self._goals == "semicircle":
            radius = (2 * self._goal_range, 2 * self._goal_range)
            return {
                "train": PolarTasks("goal", radius, (0.0, np.pi), part="train"),
                "test": PolarTasks("goal", radius, (0.0, np.pi), part="held_out"),
                "extrapolation": PolarTasks("goal", radius, (np.pi + 1e-6, 2 * np.pi - 1e-6)),
            }
        low, high = {"goal": [-self._goal_range] * 2}, {"goal": [self._goal_range] * 2}
        outer = [{"goal": [2 * sign * self._goal_range] * 2} for sign in (-1, 1)]
        return {
            "train": UniformTasks(low, high, part="train"),
            "test": UniformTasks(low, high, part="held_out"),
            "extrapolation": UniformTasks(*outer, excluding=UniformTasks(low, high)),
        }

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self._goal[rows] = tasks["goal"]

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        self._position[rows] = 0.0
        if self._reset_noise:
            noise = [generator.uniform(-1.0, 1.0, 2) for generator in generators]
            self._position[rows] = self._reset_noise * np.stack(noise)

    def _observe(self) -> np.ndarray:
        return self._position.copy()

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        everyone = slice(None) if rows is None else rows
        self._position[everyone] += control[everyone]
        offset = self._position - self._goal
        distance = np.linalg.norm(offset, axis=1)
        near = np.asarray(distance <= self._sparse_radius)
        rewards = np.where(near, 1.0 - distance, 0.0) if self._sparse else -distance
        reached = np.asarray((np.abs(offset) < 0.01).all(axis=1))
        terminated = reached if self._terminate else None
        info = {"success": near} if self._sparse else {}
        return Transition(self._observe(), rewards, terminated, info)

    def draw(self, row: int, render_mode: str) -> np.ndarray:
        """The plane around the origin: the goal in green, the point in blue."""
        side = 3.0 * max(self._goal_range, float(np.abs(self._goal[row]).max()))
        return draw_points(self._goal[row], self._position[row], side)


class PointNavigationSparse(PointNavigation):
    """`PointNavigation` with sparse reward and goals on the unit half circle (PEARL's)."""

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, **({"reward": "sparse", "goals": "semicircle"} | kwargs))


def draw_points(goal: np.ndarray, position: np.ndarray, side: float) -> np.ndarray:
    """A picture of a square of the plane around the origin, uint8, (256, 256, 3)."""
    axis = (np.arange(_PIXELS) + 0.5) / _PIXELS * side - side / 2
    frame = np.full((_PIXELS, _PIXELS, 3), 255, np.uint8)
    for centre, color in ((goal, (40, 160, 60)), (position, (30, 60, 200))):
        x, y = axis[None, :] - centre[0], -axis[:, None] - centre[1]
        frame[x**2 + y**2 < (side / 40) ** 2] = color
    return frame
