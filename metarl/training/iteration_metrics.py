"""What the trainer itself logs of an iteration's rollouts, whatever the learner.

Shapes: M tasks, E episodes, H steps, A action.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.evaluation import EvaluationResult
from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Metrics

_MISSING = float("nan")


def outcomes(rollouts: Rollouts, spec: Spec) -> Tensor:
    """Per task, NaN where there is none: shape (M, 5).

    Mean return, success rate, diverged episodes, share of the actions at or beyond a bound, and
    the entropy per action dimension relative to the uniform one.
    """
    returns_M = rollouts.returns_ME.double().mean(1)
    missing_M = torch.full_like(returns_M, _MISSING)
    success_M = missing_M
    if rollouts.success_ME is not None:
        success_M = rollouts.success_ME.double().mean(1)
    diverged_M = rollouts.diverged_ME.double().sum(1)
    saturated_M, entropy_M = missing_M, missing_M
    if not spec.num_actions:
        saturated_M = _saturation(rollouts, spec)
        entropy_M = _entropy(rollouts, spec, missing_M)
    return torch.stack([returns_M, success_M, diverged_M, saturated_M, entropy_M], 1)


def _saturation(rollouts: Rollouts, spec: Spec) -> Tensor:
    """Share of the action components at or beyond the bounds: shape (M,)."""
    low, high = (rollouts.actions_MEHA.new_tensor(b) for b in (spec.action_low, spec.action_high))
    actions_MEHA = rollouts.actions_MEHA
    beyond_MEH = ((actions_MEHA <= low) | (actions_MEHA >= high)).double().mean(-1)
    valid_MEH = rollouts.valid_MEH
    steps_M = valid_MEH.sum((1, 2)).clamp(min=1)
    return (beyond_MEH * valid_MEH).sum((1, 2)) / steps_M


def _entropy(rollouts: Rollouts, spec: Spec, missing_M: Tensor) -> Tensor:
    """Mean of -log pi per action dimension, less that of the uniform distribution: shape (M,)."""
    if rollouts.log_probs_MEH is None:
        return missing_M
    valid_MEH = rollouts.valid_MEH
    steps_M = valid_MEH.sum((1, 2)).clamp(min=1)
    mean_M = -(rollouts.log_probs_MEH.double() * valid_MEH).sum((1, 2)) / steps_M
    widths = [high - low for low, high in zip(spec.action_low, spec.action_high, strict=True)]
    return mean_M / spec.action_size - sum(math.log(w) for w in widths) / len(widths)


def training_metrics(means: Sequence[Tensor], meta_batch: int) -> Metrics:
    """Metrics of an iteration from the mean outcomes of each `collect` in it."""
    metrics, diverged = dict[str, float | str](), 0.0
    for step, values in enumerate(means):
        mean_return, success, diverged_per_task, saturation, entropy = values.tolist()
        metrics[f"train/return_step_{step}"] = mean_return
        if not math.isnan(success):
            metrics[f"train/success_step_{step}"] = success
        diverged += diverged_per_task * meta_batch
        for name, value in (("saturation", saturation), ("entropy", entropy)):
            if step == 0 and not math.isnan(value):
                metrics[f"train/{name}"] = value
    return {**metrics, "train/diverged": float(round(diverged))}


def evaluation_metrics(result: EvaluationResult) -> Metrics:
    """The metrics of every adaptation step of an evaluation."""
    return {
        f"evaluation/{name}_step_{step.step}": value
        for step in result.summary
        for name, value in step.metrics.items()
    }
