"""Episodes of an expert on given tasks: any meta-learner, or a model of stable-baselines3.

Shapes: M tasks, E episodes per task, O observation.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from gymnasium import spaces

from metarl import trained_env
from metarl.environments.config import EnvConfig
from metarl.environments.fit import require_fit
from metarl.environments.make import make_env
from metarl.errors import ConfigError, TrainingError
from metarl.evaluation.measured_tasks import evaluation_tasks
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.minari_files import read_demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Acting, collect, require_rollout_memory
from metarl.learners.base import MetaLearner
from metarl.policies.actors import ActionStep, Actor, Percept
from metarl.policies.arrays import to_tensor
from metarl.seeding import Purpose, content_keys
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import repeat, task_size

S = TypeVar("S")


class Expert(Acting[S], Protocol[S]):
    """Who demonstrates: a meta-learner is one."""

    def begin(self, num_tasks: int, episodes: int) -> S:
        """The state before any experience of M new tasks."""
        ...

    def adapt(self, state: S, rollouts: Rollouts) -> S:
        """The state after one adaptation step."""
        ...


class Recorded(NamedTuple):
    """Demonstrations, and the spaces of the environment that they are for."""

    demonstrations: Demonstrations
    observation_space: spaces.Space
    action_space: spaces.Space


def load_demonstrations(folder: str | Path, learner: MetaLearner) -> Demonstrations:
    """Demonstrations of the environment that a learner was trained on.

    Args:
        folder: of a Minari dataset, see metarl record_demonstrations.
        learner: see `metarl.load`.

    Raises:
        UserError: if it is no dataset, or one of another environment.
    """
    with closing(trained_env.make_env(learner)) as env:
        return read_demonstrations(folder, learner.spec, env.task_space)


class _MostLikely(Generic[S]):
    """An expert that takes its most likely actions.

    Args:
        expert: that samples.
    """

    def __init__(self, expert: Expert[S]) -> None:
        self._expert = expert
        self.spec, self.device, self.dtype = expert.spec, expert.device, expert.dtype
        self.noise_size = expert.noise_size

    def actor(self, state: S) -> "_MostLikelyActor[S]":
        """Acts without noise."""
        return _MostLikelyActor(self._expert.actor(state))


class _MostLikelyActor(Generic[S]):
    def __init__(self, actor: Actor[S]) -> None:
        self._actor = actor

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        return self._actor.act(seen, None)

    @property
    def state(self) -> S:
        return self._actor.state


def demonstrate(
    expert: Expert[S],
    env: EnvConfig,
    *,
    horizon: int,
    split: str,
    num_tasks: int,
    episodes: int,
    adaptation_steps: int = 0,
    support_episodes: int = 20,
    seed: int = 0,
    likeliest: bool = True,
) -> Recorded:
    """Let a learner adapt to each task, then record what it does.

    An expert that is told the task (`env.observe_task`) demonstrates for those who are not: the
    task is left out of the observations.

    Args:
        expert: a meta-learner, or an `SB3Expert`.
        env: where it acts, as in its training.
        horizon: longest episode, in steps.
        split: of the tasks; "train" for meta-training.
        num_tasks: M.
        episodes: E, recorded per task.
        adaptation_steps: of the expert, before it is recorded.
        support_episodes: per task and adaptation step, not recorded.
        seed: of tasks, initial states and action noise.
        likeliest: whether its most likely actions are recorded. To adapt it explores either way.

    Raises:
        UserError: if sizes, the split or the environment are not allowed.
        TrainingError: if an episode diverged.
    """
    for name, size in (("num_tasks", num_tasks), ("episodes", episodes), ("horizon", horizon)):
        if size < 1:
            raise ConfigError(f"{name} must be positive, got {size}")
    if adaptation_steps < 0 or seed < 0 or support_episodes < 1:
        raise ConfigError("adaptation_steps and seed must not be negative, support_episodes not 0")
    require_rollout_memory(expert, num_tasks, max(episodes, support_episodes), horizon, 2)
    with closing(make_env(env, num_tasks * episodes, horizon)) as recorded:
        seen, acted = recorded.single_observation_space, recorded.single_action_space
        require_fit(env.id, seen, acted, expert.spec)
        tasks = evaluation_tasks(recorded, split, num_tasks, seed)
        keys = content_keys(tasks)
        state = expert.begin(num_tasks, support_episodes if adaptation_steps else episodes)
        if adaptation_steps:
            with closing(make_env(env, num_tasks * support_episodes, horizon)) as support:
                support.set_tasks(repeat(tasks, support_episodes))
                state = _adapted(expert, state, support, keys, horizon, adaptation_steps, seed)
        recorded.set_tasks(repeat(tasks, episodes))
        path = (seed, Purpose.DEMONSTRATIONS)
        shown = _MostLikely(expert) if likeliest else expert
        rollouts = collect(recorded, shown, state, path, keys, horizon)
        if bool(rollouts.diverged_ME.any()):
            raise TrainingError(f"the expert diverged on {env.id}: nothing is recorded")
        if env.observe_task:
            seen = _without_task(recorded)
        shown_on = Demonstrations(tasks, _as_taken(rollouts, seen, acted), split)
        return Recorded(shown_on, seen, acted)


def _adapted(
    expert: Expert[S],
    state: S,
    env: TaskEnv,
    keys: Sequence[int],
    horizon: int,
    adaptation_steps: int,
    seed: int,
) -> S:
    """The state after adapting to the tasks that are set."""
    for step in range(adaptation_steps):
        path = (seed, Purpose.EVALUATION_SUPPORT, step)
        state = expert.adapt(state, collect(env, expert, state, path, keys, horizon))
    return state


def _without_task(env: TaskEnv) -> spaces.Box:
    """The observation space of those who are not told the task."""
    whole = (env.single_observation_space.shape or ())[0]
    return spaces.Box(-np.inf, np.inf, (whole - task_size(env.task_space),), np.float64)


def _as_taken(rollouts: Rollouts, seen: spaces.Space, acted: spaces.Space) -> Rollouts:
    """Observations without the task, actions as the environment took them."""
    size = (seen.shape or ())[0]
    actions = rollouts.actions_MEHA
    if isinstance(acted, spaces.Box):
        low, high = (to_tensor(bound).to(actions) for bound in (acted.low, acted.high))
        actions = actions.clamp(low, high)
    return replace(
        rollouts,
        obs_MEHO=rollouts.obs_MEHO[..., :size],
        last_obs_MEO=rollouts.last_obs_MEO[..., :size],
        actions_MEHA=actions,
        log_probs_MEH=None,
        extras={},
    )
