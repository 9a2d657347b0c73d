"""The task in the observation: what a policy could do if it were told."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorWrapper
from gymnasium.vector.utils import batch_space

from metarl_envs.task_env import TaskVectorEnv


class ObservedTask(VectorWrapper):
    """Appends every sub-environment's task, flattened in the order of its keys.

    Args:
        env: a batched task environment; everything but the observation stays as it is.
    """

    env: TaskVectorEnv

    def __init__(self, env: TaskVectorEnv) -> None:
        super().__init__(env)
        size = env.observation_size
        size += sum(int(np.prod(part.shape or ())) for part in env.task_space.values())
        space = spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.single_observation_space = space
        self.observation_space = batch_space(space, env.num_envs)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """As in the environment, with the tasks appended."""
        obs, info = self.env.reset(**kwargs)
        return self._with_tasks(obs), info

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """As in the environment, with the tasks appended."""
        obs, *rest = self.env.step(actions)
        return (self._with_tasks(obs), *rest)  # type: ignore[return-value]

    def _with_tasks(self, obs: np.ndarray) -> np.ndarray:
        tasks = [
            self.env.tasks[key].reshape(self.num_envs, -1) for key in self.env.task_space.spaces
        ]
        return np.concatenate([obs, *tasks], axis=1)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.env, name)
