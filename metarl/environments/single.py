"""One Gymnasium environment where the sampler expects a batch."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from metarl_envs.protocol import TaskEnv
from metarl_envs.single_env import SingleTaskEnv

# `gymnasium.make` puts these around every environment; they change neither tasks nor rewards
_HARMLESS = (OrderEnforcing, PassiveEnvChecker, TimeLimit)


class BatchOfOne:
    """A `SampledEnv` of one environment."""

    num_envs = 1
    physics_s = 0.0

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env

    def reset(self, *, seed: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        obs, info = self._env.reset(seed=seed[0] % 2**31)
        self._obs = np.asarray(obs)
        return self._obs[None], info

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance the episode; actions are clipped to the space."""
        action = into_space(actions, self._env.action_space)[0]
        obs, reward, terminated, truncated, info = self._env.step(action)
        obs = np.asarray(obs)
        if not (np.isfinite(obs).all() and np.isfinite(float(reward))):
            # as in a batch: the episode ends, and the step is none
            flags = np.array([False]), np.array([True])
            return self._obs[None], np.zeros(1), *flags, {"diverged": np.array([True])}
        self._obs = obs
        flags = (np.array([terminated]), np.array([truncated]))
        return obs[None], np.array([float(reward)]), *flags, info


def into_space(actions_NA: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Actions as an environment takes them: indices (N,), or vectors (N, A) clipped to the box."""
    if isinstance(space, spaces.Discrete):
        return space.start + actions_NA[:, 0].astype(np.int64)
    assert isinstance(space, spaces.Box)
    return np.clip(actions_NA, space.low, space.high)


def native_batch(env: gymnasium.Env, num_envs: int, max_episode_steps: int) -> TaskEnv | None:
    """The same environment and task `num_envs` times, where that is the same.

    None for other environments, and for ours in wrappers that might change what the policy sees
    or earns.
    """
    wrapped = env
    while isinstance(wrapped, _HARMLESS):
        wrapped = wrapped.env
    if isinstance(wrapped, SingleTaskEnv):
        return wrapped.vector_of(num_envs, max_episode_steps)
    return None
