"""The task in the observation: what a policy could do if it were told."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from metarl_envs.mirror import Mirror, beside, mirror_of
from metarl_envs.protocol import TaskEnv, changes_in_episodes
from metarl_envs.tasks.batches import Tasks, task_size
from metarl_envs.tasks.distributions import TaskDistribution


class ObservedTask:
    """A `TaskEnv` that appends every sub-environment's task to its observation.

    Tasks are flattened in the order of their keys; everything else stays as it is.

    Args:
        env: a batched task environment.

    Attributes:
        env: the same.
    """

    def __init__(self, env: TaskEnv) -> None:
        self.env = env
        self.num_envs, self.task_space = env.num_envs, env.task_space
        self.single_action_space, self.shares_tasks = env.single_action_space, env.shares_tasks
        self.render_modes, self.render_fps = env.render_modes, env.render_fps
        self.step_s = env.step_s
        size = int(np.prod(env.single_observation_space.shape or ())) + task_size(env.task_space)
        space = spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.single_observation_space: spaces.Space = space
        self.observation_space = batch_space(space, self.num_envs)

    @property
    def tasks(self) -> Tasks:
        """The task of every sub-environment."""
        return self.env.tasks

    @property
    def tasks_in_force(self) -> Tasks:
        """Those that are observed."""
        return self.env.tasks_in_force

    @property
    def changes_in_episodes(self) -> bool:
        """As in the environment."""
        return changes_in_episodes(self.env)

    @property
    def physics_s(self) -> float:
        """Seconds spent in a physics engine so far."""
        return self.env.physics_s

    @property
    def task_splits(self) -> tuple[str, ...]:
        """Those of the environment."""
        return self.env.task_splits

    @property
    def mirror(self) -> Mirror:
        """That of the environment, with the tasks appended."""
        own = mirror_of(self.env)
        return own._replace(obs=beside(own.obs, own.task))

    def task_distribution(self, split: str) -> TaskDistribution:
        """That of the environment."""
        return self.env.task_distribution(split)

    def set_tasks(self, tasks: Mapping[str, Any]) -> None:
        """As in the environment: in force, and observed, from the next reset."""
        self.env.set_tasks(tasks)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """As in the environment, with the tasks appended."""
        obs, info = self.env.reset(**kwargs)
        return self._with_tasks(obs), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """As in the environment, with the tasks appended."""
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        return self._with_tasks(obs), rewards, terminated, truncated, info

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one sub-environment."""
        return self.env.draw(row, render_mode)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _with_tasks(self, obs: np.ndarray) -> np.ndarray:
        held = self.tasks_in_force
        tasks = [held[key].reshape(self.num_envs, -1) for key in self.task_space.spaces]
        return np.concatenate([obs, *tasks], axis=1)
