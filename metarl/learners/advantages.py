"""Advantages of many tasks' rollouts, chunks of tasks at a time on all cores.

Shapes: M tasks, E episodes, T steps of an episode, N valid steps.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from metarl.estimators.advantages import AdvantageEstimator, Samples
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores, task_chunks

_TASKS_TOGETHER = 4
_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


def all_samples(estimator: AdvantageEstimator, rollouts: Rollouts) -> Samples:
    """`estimator.samples` of all tasks."""
    chunks = task_chunks(len(rollouts.valid_MEH), _TASKS_TOGETHER)
    return Samples.concatenate(
        on_all_cores(lambda chunk: estimator.samples(rollouts.task_slice(chunk)), chunks)
    )


def single_steps(
    estimator: AdvantageEstimator, rollouts: Rollouts, beside: Mapping[str, Tensor] = _NOTHING
) -> dict[str, Tensor]:
    """What PPO needs of the valid steps of all tasks, each a piece of its own: shapes (1, N, ...).

    Args:
        estimator: of advantages.
        rollouts: normalised and cropped.
        beside: what else belongs to the steps of each task, by name: shapes (M, ...).
    """
    samples, valid_MEH = all_samples(estimator, rollouts), rollouts.valid_MEH
    episodes, steps = valid_MEH.shape[1:]
    data = {
        "obs": samples.obs_MEHO,
        "actions": samples.actions_MEHA,
        "log_probs": samples.log_probs_MEH.unsqueeze(-1),
        "advantages": samples.advantages_MEH.unsqueeze(-1),
        "valid": valid_MEH.unsqueeze(-1).to(rollouts.rewards_MEH),
    }
    for name, values in beside.items():
        data[name] = values[:, None, None].expand(-1, episodes, steps, *values.shape[1:])
    kept_MEH = valid_MEH.clone()
    if not kept_MEH.any():  # every simulation diverged at once: one step, which counts nothing
        kept_MEH[0, 0, 0] = True
    return {name: values[kept_MEH].unsqueeze(0) for name, values in data.items()}
