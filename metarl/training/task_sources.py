"""Which tasks an iteration of training sees.

Shapes: M tasks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metarl.errors import ConfigError
from metarl.experiment.config import ExperimentConfig
from metarl.interaction.demonstrations import Demonstrations
from metarl.seeding import Purpose, entropy, stream
from metarl_envs.tasks.batches import Tasks, num_tasks, take
from metarl_envs.tasks.distributions import TaskDistribution


class KeyedTasks(NamedTuple):
    """Tasks and the integers that name them, in streams of random numbers and in replay."""

    tasks: Tasks
    keys: Sequence[int]


TaskSource = Callable[[int], KeyedTasks]  # of an iteration


def _fresh(config: ExperimentConfig, distribution: TaskDistribution) -> TaskSource:
    """New tasks in every iteration, numbered within it."""

    def source(iteration: int) -> KeyedTasks:
        path = entropy((config.seed, Purpose.TASKS, iteration))
        return KeyedTasks(distribution.sample(config.meta_batch, path), range(config.meta_batch))

    return source


def _fixed(config: ExperimentConfig, distribution: TaskDistribution) -> TaskSource:
    """Some of the run's tasks; a key names the same task in every iteration."""
    assert config.tasks.num is not None
    path = entropy((config.seed, Purpose.FIXED_TASKS))
    return _some_of(config, distribution.sample(config.tasks.num, path))


_SOURCES = {"fresh": _fresh, "fixed": _fixed}


def _some_of(config: ExperimentConfig, tasks: Tasks) -> TaskSource:
    """Some of these tasks in each iteration, each once; a key is a task's place among them."""
    path, num = (config.seed, Purpose.FIXED_TASKS), num_tasks(tasks)

    def source(iteration: int) -> KeyedTasks:
        generator = np.random.default_rng(stream((*path, iteration)))
        chosen = np.sort(generator.choice(num, config.meta_batch, replace=False))
        return KeyedTasks(take(tasks, chosen), chosen.tolist())

    return source


def make_task_source(
    config: ExperimentConfig,
    distribution: TaskDistribution,
    demonstrations: Demonstrations | None = None,
) -> TaskSource:
    """The tasks of a run, by iteration.

    Raises:
        ConfigError: if demonstrations show fewer tasks than an iteration takes.
    """
    if demonstrations is None:
        return _SOURCES[config.tasks.kind](config, distribution)
    if demonstrations.num_tasks < config.meta_batch:
        raise ConfigError(
            f"{config.tasks.demonstrations} shows {demonstrations.num_tasks} tasks, must be at "
            f"least meta_batch = {config.meta_batch}"
        )
    return _some_of(config, demonstrations.tasks)
