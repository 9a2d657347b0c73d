"""Rollouts on one Gymnasium environment, as adaptation to one task needs them."""

from contextlib import closing
from typing import Any, TypeVar

import gymnasium

from metarl.environments.single import BatchOfOne, native_batch
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import collect
from metarl.learners.base import MetaLearner
from metarl.seeding import Path

S = TypeVar("S")


def rollouts_on(
    env: gymnasium.Env, learner: MetaLearner[S], state: S, path: Path, episodes: int, horizon: int
) -> Rollouts:
    """E episodes of one task.

    An environment of this project runs them as one native batch; any other one, and one in
    wrappers of the user's own, is stepped one episode after the other.

    Args:
        env: its task set.
        learner: chooses actions.
        state: of one task.
        path: names the random stream.
        episodes: E.
        horizon: longest episode.
    """
    batch = native_batch(env, episodes, horizon)
    if batch is not None:
        with closing(batch):
            return collect(batch, learner, state, path, [0], horizon)
    one = BatchOfOne(env)
    if episodes == 1:
        return collect(one, learner, state, path, [0], horizon)
    each = [collect(one, learner, state, (*path, e), [0], horizon) for e in range(episodes)]
    return Rollouts.concatenate_episodes(each)


def rounds_of(learner: MetaLearner[Any], episodes: int, steps: int) -> tuple[int, int]:
    """Episodes of each round of adaptation, and rounds: one by one where the learner lives on."""
    if learner.pools_episodes and not learner.adapts_after_each_episode:
        return episodes, steps
    return 1, steps * episodes


def horizon_of(env: gymnasium.Env, learner: MetaLearner[Any]) -> int:
    """The longest episode of an environment, or that of training where it does not tell."""
    registered = env.spec.max_episode_steps if env.spec is not None else None
    return registered or learner.setting.horizon
