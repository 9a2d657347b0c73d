"""Adapt to one task of one environment, and use the result like a stable-baselines3 model.

Shapes: M = 1 task, E episodes, O observation, A action.
"""

from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from metarl.environments.make import require_fit
from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts, collect
from metarl.learners.base import MetaLearner, State
from metarl.policies.actors import array_dtype
from metarl.seeding import Purpose
from metarl_envs.protocol import TaskEnv
from metarl_envs.single_env import SingleTaskEnv


class AdaptedPolicy:
    """A policy for one task. Acting changes neither it nor the learner it came from."""

    def __init__(self, learner: MetaLearner, state: State, action_space: spaces.Box) -> None:
        self.learner, self.state, self.action_space = learner, state, action_space
        self._generator = np.random.default_rng(0)

    def predict(
        self,
        obs: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        reward: np.ndarray | float | None = None,
    ) -> tuple[np.ndarray, Any]:
        """Actions for one observation (O,) or several (N, O), clipped to the action space.

        Args:
            obs: the observation or observations.
            state: what the previous call returned, or None at the start.
            episode_start: bool (N,), where an episode begins; None for nowhere but at the start.
            deterministic: the most likely action instead of a sampled one.
            reward: what the previous action earned, a number or (N,). A learner that acts on
                rewards (RL2) needs it in every call but the first.

        Returns:
            Actions, shape (A,) or (N, A), and the state for the next call.

        Raises:
            ConfigError: if a reward is needed and not given.
        """
        learner, several = self.learner, np.ndim(obs) > 1
        dtype = array_dtype(learner.dtype)
        obs_MEO = np.asarray(np.atleast_2d(obs)[None], dtype)
        shape = (*obs_MEO.shape[:2], learner.spec.action_size)
        if reward is None and state is not None and learner.acts_on_rewards:
            raise ConfigError(
                "this policy goes on adapting from its rewards: give predict the reward of the "
                "previous action (reward=...)"
            )
        inner, action = state if state is not None else (self.state, None)
        started = state is None if episode_start is None else episode_start
        first = np.zeros(shape[:2], bool) | started
        # as in training: nothing comes before an episode's first step
        action = np.zeros(shape, dtype) if action is None else np.where(first[..., None], 0, action)
        rewards = np.zeros(shape[:2], dtype)
        if reward is not None:
            rewards = np.where(first, 0, np.asarray(reward, dtype).reshape(-1) + rewards)
        noise = None if deterministic else self._generator.standard_normal(shape).astype(dtype)
        with torch.no_grad():
            step, inner = learner.act(
                inner, obs_MEO, action.astype(dtype), rewards.astype(dtype), first, noise
            )
        actions = step.actions_MEA[0]
        clipped = np.clip(actions, self.action_space.low, self.action_space.high)
        return (clipped if several else clipped[0]), (inner, step.actions_MEA)


def adapt(
    learner: MetaLearner,
    env: gymnasium.Env,
    *,
    episodes: int = 20,
    steps: int = 1,
    seed: int = 0,
) -> AdaptedPolicy:
    """Adapt to the task of `env` from `episodes` rollouts per adaptation step.

    An environment of this project runs its rollouts as one native batch; any other Gymnasium
    environment is stepped one episode after the other.

    Args:
        learner: a meta-learner, see `metarl.load`.
        env: one environment, its task set, made with a time limit.
        episodes: E, rollouts per adaptation step.
        steps: adaptation steps.
        seed: of initial states and action noise.

    Raises:
        UserError: if the environment does not fit the learner, or a size is not positive.
    """
    if episodes < 1 or steps < 0 or seed < 0:
        raise ConfigError(
            "episodes must be positive, steps and seed not negative; "
            f"got {episodes}, {steps} and {seed}"
        )
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    require_fit(name, env.observation_space, env.action_space, learner.spec)
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    horizon = horizon or learner.spec.horizon
    state = learner.begin(1, episodes)
    for step in range(steps):
        path = (seed, Purpose.ADAPTATION, step)
        if isinstance(env.unwrapped, SingleTaskEnv):
            batch = env.unwrapped.vector_of(episodes, horizon)
            rollouts, state = collect(batch, learner, state, path, [0], horizon)
        else:
            rollouts, state = _one_by_one(env, learner, state, path, episodes, horizon)
        state = learner.adapt(state, rollouts)
    return AdaptedPolicy(learner, state, cast(spaces.Box, env.action_space))


def _one_by_one(
    env: gymnasium.Env,
    learner: MetaLearner,
    state: State,
    path: tuple[int, ...],
    episodes: int,
    horizon: int,
) -> tuple[Rollouts, State]:
    """Rollouts of one environment, one episode after the other."""
    batch = cast(TaskEnv, _BatchOfOne(env))
    parts = []
    for episode in range(episodes):
        # a learner that remembers goes from episode to episode: one trial
        rollouts, state = collect(batch, learner, state, (*path, episode), [0], horizon)
        parts.append(rollouts)
    return Rollouts.concatenate_episodes(parts), state


class _BatchOfOne:
    """A plain Gymnasium environment where a batch of one is expected."""

    num_envs = 1

    def __init__(self, env: gymnasium.Env) -> None:
        self._env = env

    def reset(self, *, seed: list[int]) -> tuple[np.ndarray, dict[str, Any]]:
        obs, info = self._env.reset(seed=seed[0] % 2**31)
        return np.asarray(obs)[None], info

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        space = cast(spaces.Box, self._env.action_space)
        clipped = np.clip(actions[0], space.low, space.high)
        obs, reward, terminated, truncated, info = self._env.step(clipped)
        flags = (np.array([terminated]), np.array([truncated]))
        return np.asarray(obs)[None], np.array([reward]), *flags, info
