"""Advantages of many tasks' rollouts, chunks of tasks at a time on all cores."""

from metarl.estimators.advantages import AdvantageEstimator, Samples
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores, task_chunks

_TASKS_TOGETHER = 4


def all_samples(estimator: AdvantageEstimator, rollouts: Rollouts) -> Samples:
    """`estimator.samples` of all tasks."""
    chunks = task_chunks(len(rollouts.valid_MEH), _TASKS_TOGETHER)
    return Samples.concatenate(
        on_all_cores(lambda chunk: estimator.samples(rollouts.task_slice(chunk)), chunks)
    )
