"""One task of a batched environment as a plain `gymnasium.Env`.

For rendering, environment checkers, stable-baselines3 and everything else that steps one
environment at a time. It runs the same definition with one simulation, so that a seed and a
task give the same episode to the bit as in the batch.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks.batches import batch_of_one, take
from metarl_envs.tasks.distributions import TaskDistribution


class SingleTaskEnv(gymnasium.Env, EzPickle):
    """A task environment with one sub-environment.

    Args:
        batch_class: the batched environment.
        task: the task, or None for the nominal one.
        render_mode: one of the batch's `render_modes`, or None.
        **kwargs: arguments of the batched environment.

    Raises:
        TaskError: if the task does not belong to the task space.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 20}

    def __init__(
        self,
        batch_class: type[TaskVectorEnv],
        task: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        EzPickle.__init__(self, batch_class, task, render_mode, **kwargs)
        self._batch_class, self._kwargs = batch_class, kwargs
        self.batch = batch_class(num_envs=1, **kwargs)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self.task_space = self.batch.task_space
        self.render_mode = render_mode
        self.metadata = {
            "render_modes": list(batch_class.render_modes),
            "render_fps": self.batch.render_fps,
        }
        if render_mode is not None and render_mode not in batch_class.render_modes:
            raise EnvironmentConfigError(
                f"render_mode must be one of {', '.join(batch_class.render_modes)}, "
                f"got {render_mode!r}"
            )
        if task is not None:
            self.set_task(task)

    @property
    def task(self) -> dict[str, Any]:
        """The task in force from the next reset on."""
        return {key: values[0] for key, values in self.batch.tasks.items()}

    def set_task(self, task: Mapping[str, Any]) -> None:
        """Change the task, in force from the next reset.

        Raises:
            TaskError: if the task does not belong to the task space.
        """
        self.batch.set_tasks(batch_of_one(task))

    def batch_of(self, num_envs: int, max_episode_steps: int) -> TaskVectorEnv:
        """The same environment and task, `num_envs` times, as one batch."""
        kwargs = {**self._kwargs, "max_episode_steps": max_episode_steps}
        batch = self._batch_class(num_envs=num_envs, **kwargs)
        batch.set_tasks(take(self.batch.tasks, np.zeros(num_envs, np.int64)))
        return batch

    def task_distribution(self, split: str) -> TaskDistribution:
        """The task distribution of a split, see `TaskVectorEnv.task_distribution`."""
        return self.batch.task_distribution(split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        observations, info = self.batch.reset(seed=seed)
        self._render_human()
        return observations[0], _first(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; see `gymnasium.Env.step`."""
        observations, rewards, terminated, truncated, info = self.batch.step(
            np.asarray(action)[None]
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
        return self.batch.draw(0, self.render_mode)

    def close(self) -> None:
        """Free the renderer, if any."""
        self.batch.close()

    def _render_human(self) -> None:
        if self.render_mode == "human":
            self.render()


def _first(info: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[0] for key, values in info.items() if not key.startswith("_")}
