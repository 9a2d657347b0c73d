"""How far tasks lie from each other, as a learner that compares them has learned it.

Shapes: M tasks, E episodes, D embedding.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from metarl.errors import ConfigError
from metarl.evaluation.measured_tasks import as_batch
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import collect, require_rollout_memory
from metarl.learners.base import MetaLearner
from metarl.policies.arrays import to_array
from metarl.seeding import Purpose, content_keys
from metarl.trained_env import Environment, environment_of, fitting
from metarl_envs.tasks.batches import num_tasks, repeat


@runtime_checkable
class ComparesTasks(Protocol):
    """A learner that places tasks by their rollouts."""

    def distances_of(self, rollouts: Rollouts) -> Tensor:
        """Of all pairs of tasks that the rollouts, from the initial state, belong to: (M, M)."""
        ...


def task_distances(
    learner: MetaLearner,
    env: Environment,
    tasks: Mapping[str, Any],
    *,
    episodes: int = 10,
    seed: int = 0,
    horizon: int | None = None,
) -> np.ndarray:
    """Learned distances between tasks, from rollouts before any adaptation.

    Args:
        learner: one that compares tasks, such as `prototypes`.
        env: Gymnasium id of a task environment, or an `EnvConfig`.
        tasks: one array per key of its `task_space`, leading axis M.
        episodes: E, rollouts per task.
        seed: of initial states and action noise.
        horizon: longest episode in steps; by default that of training, or the registered one.

    Returns:
        Symmetric, zero on the diagonal: float64, shape (M, M).

    Raises:
        UserError: if the learner compares no tasks, or environment, tasks or sizes do not fit.
    """
    if not isinstance(learner, ComparesTasks):
        raise ConfigError("this learner compares no tasks; take learner.name=prototypes")
    if episodes < 1 or seed < 0:
        raise ConfigError(
            f"episodes must be positive and seed not negative, got {episodes} and {seed}"
        )
    config, horizon = environment_of(learner, env, None, horizon)
    batch = as_batch(tasks)
    count = num_tasks(batch)
    require_rollout_memory(learner, count, episodes, horizon)
    with fitting(learner, config, count * episodes, horizon) as made:
        made.set_tasks(repeat(batch, episodes))
        path, state = (seed, Purpose.EVALUATION, 0), learner.begin(count, episodes)
        rollouts = collect(made, learner, state, path, content_keys(batch), horizon)
    return to_array(learner.distances_of(rollouts).double())
