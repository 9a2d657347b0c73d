"""One task of a batched environment as a plain `gymnasium.Env`.

For rendering, environment checkers, stable-baselines3 and everything else that steps one
environment at a time. It runs the same definition with one simulation, so that a seed and a
task give the same episode to the bit as in the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import batch_of_one, take
from metarl_envs.tasks.distributions import TaskDistribution


class SingleTaskEnv(gymnasium.Env, EzPickle):
    """A task environment with one sub-environment.

    Args:
        make: makes the batched environment.
        task: the task, or None for the nominal one.
        render_mode: one of the batch's `render_modes`, or None.
        **kwargs: arguments of `make`.

    Raises:
        TaskError: if the task does not belong to the task space.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 20}

    def __init__(
        self,
        make: Callable[..., TaskEnv],
        task: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        EzPickle.__init__(self, make, task, render_mode, **kwargs)
        self._make, self._kwargs = make, kwargs
        self.vector_env = make(num_envs=1, **kwargs)
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space
        self.task_space = self.vector_env.task_space
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": list(self.vector_env.render_modes),
            "render_fps": self.vector_env.render_fps,
        }
        if render_mode is not None and render_mode not in self.vector_env.render_modes:
            if not self.vector_env.render_modes:
                raise EnvironmentConfigError(
                    "this environment cannot be drawn: its metadata names no render_modes"
                )
            raise EnvironmentConfigError(
                f"render_mode must be one of {', '.join(self.vector_env.render_modes)}, "
                f"got {render_mode!r}"
            )
        if task is not None:
            self.set_task(task)

    @property
    def task(self) -> dict[str, Any]:
        """The task in force from the next reset on."""
        return {key: values[0] for key, values in self.vector_env.tasks.items()}

    def set_task(self, task: Mapping[str, Any]) -> None:
        """Change the task, in force from the next reset.

        Raises:
            TaskError: if the task does not belong to the task space.
        """
        self.vector_env.set_tasks(batch_of_one(task))

    def vector_of(self, num_envs: int, max_episode_steps: int) -> TaskEnv:
        """The same environment and task, `num_envs` times, as one batch."""
        kwargs = {**self._kwargs, "max_episode_steps": max_episode_steps}
        vector_env = self._make(num_envs=num_envs, **kwargs)
        vector_env.set_tasks(take(self.vector_env.tasks, np.zeros(num_envs, np.int64)))
        return vector_env

    def task_distribution(self, split: str) -> TaskDistribution:
        """The task distribution of a split, see `TaskVectorEnv.task_distribution`."""
        return self.vector_env.task_distribution(split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        observations, info = self.vector_env.reset(seed=seed)
        self._render_human()
        return observations[0], _first(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; see `gymnasium.Env.step`."""
        observations, rewards, terminated, truncated, info = self.vector_env.step(
            np.reshape(action, (1, -1))  # an index of a Discrete space has no axis
        )
        self._render_human()
        return (
            observations[0],
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _first(info),
        )

    def render(self) -> Any:
        """A frame, uint8, shape (height, width, 3), with `render_mode="rgb_array"`."""
        if self.render_mode is None:
            raise EnvironmentConfigError("give render_mode='rgb_array' to gymnasium.make to render")
        return self.vector_env.draw(0, self.render_mode)

    def close(self) -> None:
        """Free the renderer, if any."""
        self.vector_env.close()

    def _render_human(self) -> None:
        if self.render_mode == "human":
            self.render()


def _first(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[0] for key, values in info.items() if not key.startswith("_")}
