"""Which tasks an iteration of training sees.

Shapes: M tasks.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metarl.experiment.config import ExperimentConfig
from metarl.seeding import Purpose, entropy, stream
from metarl_envs.tasks.batches import Tasks, take
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
    """Some of the run's tasks, each key once; a key names the same task in every iteration."""
    num, path = config.tasks.num, (config.seed, Purpose.FIXED_TASKS)
    assert num is not None
    tasks = distribution.sample(num, entropy(path))

    def source(iteration: int) -> KeyedTasks:
        generator = np.random.default_rng(stream((*path, iteration)))
        chosen = np.sort(generator.choice(num, config.meta_batch, replace=False))
        return KeyedTasks(take(tasks, chosen), chosen.tolist())

    return source


_SOURCES = {"fresh": _fresh, "fixed": _fixed}


def make_task_source(config: ExperimentConfig, distribution: TaskDistribution) -> TaskSource:
    """The tasks of a run, by iteration."""
    return _SOURCES[config.tasks.kind](config, distribution)
