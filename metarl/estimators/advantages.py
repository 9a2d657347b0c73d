"""From rollouts to what surrogates need: advantages and weights.

Shapes: M tasks, E episodes per task, H steps, N states of a task.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.estimators.returns import (
    discounted_returns,
    generalized_advantages,
    normalize,
    step_weights,
)
from metarl.estimators.value_baselines import LinearBaseline, MLPBaseline, ValueBaseline
from metarl.interaction.rollouts import Rollouts, in_order, valid_first


class AdvantageConfig(ConfigModel):
    """Advantages: a baseline fitted per task and phase, GAE, normalisation per task."""

    discount: float = Field(0.99, gt=0.0, le=1.0)
    """Per step."""
    gae_lambda: float = Field(1.0, ge=0.0, le=1.0)
    """Of generalised advantage estimation; 1 sums all rewards to come."""
    normalize: bool = True
    """Mean 0 and deviation 1 over a task's steps."""
    baseline: Literal["linear", "mlp"] = "linear"
    """Predicts returns: a fit on polynomials of observation and time, or a small network."""


_PER_STEP = ("obs_MEHO", "actions_MEHA", "log_probs_MEH", "advantages_MEH", "weights_MEH")
_DENSE = 0.9  # share of valid steps above which packing does not pay


class HasLogProb(Protocol):
    """Action distributions at states."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probabilities (M, N) of actions (M, N, A)."""
        ...


@dataclass(frozen=True)
class Samples:
    """What surrogates need of M tasks' rollouts."""

    obs_MEHO: Tensor
    actions_MEHA: Tensor
    log_probs_MEH: Tensor
    advantages_MEH: Tensor
    weights_MEH: Tensor
    scale_M: Tensor  # what the advantages were divided by
    full_baseline_M: Tensor  # 1 where the value baseline saw the observations, 0 for time alone

    @property
    def states(self) -> int:
        """Steps per task, padding included."""
        return self.weights_MEH[0].numel()

    def log_probs_of(self, distribution: HasLogProb) -> Tensor:
        """Log-probabilities of the actions under distributions at the states: shape (M, E, H)."""
        return distribution.log_prob(self.actions_MEHA.flatten(1, 2)).view_as(self.log_probs_MEH)

    def task_slice(self, tasks: slice) -> "Samples":
        """The samples of some tasks."""
        return Samples(*(getattr(self, field.name)[tasks] for field in fields(self)))

    @staticmethod
    def concatenate(parts: "Sequence[Samples]") -> "Samples":
        """Samples of more tasks."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Samples)]
        return Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def packed(self, most: int) -> "Samples":
        """The valid steps of each task one after the other, as one long episode: E = 1.

        Cost then follows valid steps. Only for objectives that are sums over steps. Returns itself
        where few steps are invalid.

        Args:
            most: valid steps of the task that has most.
        """
        valid_MN = self.weights_MEH.flatten(1) > 0
        if most > _DENSE * valid_MN.shape[1]:
            return self
        order_MN = valid_first(valid_MN, most)
        steps = {name: getattr(self, name).flatten(1, 2) for name in _PER_STEP}
        return replace(self, **{n: in_order(v, order_MN).unsqueeze(1) for n, v in steps.items()})

    def some(self, share: float) -> "Samples":
        """A share of each task's steps as one long episode, weights rescaled to the same sum.

        Always the same ones, in the same places for all tasks, drawn so that no step of an episode
        is preferred. Only for objectives that are sums over steps.
        """
        if share >= 1.0:
            return self
        count = self.weights_MEH[0].numel()
        drawn = torch.randperm(count, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
        kept_N = drawn[: math.ceil(share * count)].sort().values.to(self.weights_MEH.device)
        steps = {name: getattr(self, name).flatten(1, 2)[:, None, kept_N] for name in _PER_STEP}
        kept = replace(self, **steps)
        total = self.weights_MEH.sum((1, 2), keepdim=True)
        kept_total = kept.weights_MEH.sum((1, 2), keepdim=True).clamp(min=1e-12)
        return replace(kept, weights_MEH=kept.weights_MEH * (total / kept_total))


class AdvantageEstimator:
    """Fits a value baseline to rollouts, and weighs their steps.

    Args:
        config: see there.
        seed: names the stream of the `mlp` baseline's initial weights. They are always the same, so
            that equal rollouts give equal advantages.
    """

    def __init__(self, config: AdvantageConfig, seed: int) -> None:
        self.config, self._seed = config, seed

    def samples(self, rollouts: Rollouts) -> Samples:
        """What surrogates need of these rollouts."""
        config, valid = self.config, rollouts.valid_MEH
        returns = discounted_returns(rollouts.rewards_MEH, valid, config.discount)
        baseline = self._baseline()
        baseline.fit(rollouts.obs_MEHO, returns, valid)
        advantages = generalized_advantages(
            rollouts.rewards_MEH,
            baseline.values(rollouts.obs_MEHO),
            torch.zeros_like(rollouts.rewards_MEH[..., 0]),
            valid,
            rollouts.terminated_ME,
            config.discount,
            config.gae_lambda,
        )
        scale_M = torch.ones_like(advantages[:, 0, 0])
        if config.normalize:
            advantages, scale_M = normalize(advantages, valid)
        weights = step_weights(valid, rollouts.obs_MEHO.dtype)
        return Samples(
            rollouts.obs_MEHO,
            rollouts.actions_MEHA,
            rollouts.log_probs(),
            advantages,
            weights,
            scale_M,
            baseline.full_M.to(weights.dtype),
        )

    def _baseline(self) -> ValueBaseline:
        return LinearBaseline() if self.config.baseline == "linear" else MLPBaseline(self._seed)
