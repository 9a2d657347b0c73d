"""The inner loop of gradient-based learners: from rollouts to adapted parameters.

phi' = phi + alpha grad S(phi), S an inner objective, for all tasks at once. Tasks share no
parameters, so the gradient of the sum over tasks is the per-task gradient: the step does not
depend on how many tasks are adapted together.

Shapes: M tasks, E episodes per task, H steps, N = E H steps per task, O observation, A action.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from metarl.baselines import LinearBaseline
from metarl.config_model import ConfigModel
from metarl.objectives import OBJECTIVES
from metarl.params import Params, add, detach
from metarl.policy import Policy
from metarl.returns import discounted_returns, generalized_advantages, normalize, step_weights
from metarl.rollouts import Rollouts


class AdvantageConfig(ConfigModel):
    """Advantages: linear baseline per task and phase, GAE, normalisation per task."""

    discount: float = Field(0.99, gt=0.0, le=1.0)
    gae_lambda: float = Field(1.0, ge=0.0, le=1.0)
    normalize: bool = True


class InnerLoopConfig(ConfigModel):
    """Steps of the inner loop; at test time the caller chooses their number."""

    steps: int = Field(1, ge=1)
    step_sizes: tuple[NonNegativeFloat, ...] = Field((0.1,), min_length=1)
    """Size of each step; the last one also holds for all later steps."""
    objective: Literal["likelihood_ratio", "score_function", "dice"] = "likelihood_ratio"
    first_order: bool = False
    """Ignore the second derivative of the objective in the meta-gradient (FOMAML)."""

    def step_size(self, index: int) -> float:
        """The size of the adaptation step with this index, counted from 0."""
        return self.step_sizes[min(index, len(self.step_sizes) - 1)]


@dataclass(frozen=True)
class Batch:
    """What surrogates need of M tasks' rollouts."""

    obs_MEHO: Tensor
    actions_MEHA: Tensor
    log_probs_MEH: Tensor
    advantages_MEH: Tensor
    weights_MEH: Tensor

    def task_slice(self, tasks: slice) -> "Batch":
        """The batch of some tasks."""
        return Batch(*(getattr(self, field.name)[tasks] for field in fields(self)))

    def every(self, stride: int) -> "Batch":
        """Every `stride`-th step of each episode, weights rescaled to the same sum."""
        if stride == 1:
            return self
        kept = Batch(*(getattr(self, field.name)[:, :, ::stride] for field in fields(self)))
        total = self.weights_MEH.sum((1, 2), keepdim=True)
        kept_total = kept.weights_MEH.sum((1, 2), keepdim=True).clamp(min=1e-12)
        return replace(kept, weights_MEH=kept.weights_MEH * (total / kept_total))


def make_batch(rollouts: Rollouts, config: AdvantageConfig) -> Batch:
    """Fit the baseline to the rollouts and weigh their steps."""
    valid = rollouts.valid_MEH
    returns = discounted_returns(rollouts.rewards_MEH, valid, config.discount)
    baseline = LinearBaseline()
    baseline.fit(rollouts.obs_MEHO, returns, valid)
    advantages = generalized_advantages(
        rollouts.rewards_MEH,
        baseline.values(rollouts.obs_MEHO),
        baseline.last_values(rollouts.last_obs_MEO, rollouts.lengths_ME),
        valid,
        rollouts.terminated_ME,
        config.discount,
        config.gae_lambda,
    )
    if config.normalize:
        advantages = normalize(advantages, valid)
    weights = step_weights(valid, rollouts.obs_MEHO.dtype)
    return Batch(
        rollouts.obs_MEHO, rollouts.actions_MEHA, rollouts.log_probs_MEH, advantages, weights
    )


class InnerLoop:
    """Surrogate, gradient step, and products with its Jacobian."""

    def __init__(self, policy: Policy, config: InnerLoopConfig) -> None:
        self.policy, self.config = policy, config
        self._objective = OBJECTIVES[config.objective]
        # DiCE couples the steps of an episode: none may be left out
        self.separable = config.objective != "dice"

    def surrogate(self, params_M: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The inner objective of every task: shape (M,)."""
        log_probs_MN = self.policy(params_M, batch.obs_MEHO.flatten(1, 2)).log_prob(
            batch.actions_MEHA.flatten(1, 2)
        )
        return self._objective(
            log_probs_MN.view_as(batch.log_probs_MEH),
            batch.log_probs_MEH,
            batch.advantages_MEH,
            batch.weights_MEH,
        )

    def gradient(
        self, params_M: Mapping[str, Tensor], batch: Batch, create_graph: bool = False
    ) -> Params:
        """Per-task gradient of the surrogate, as a dict like `params_M`."""
        leaves = params_M if create_graph else detach(params_M, requires_grad=True)
        with torch.enable_grad():
            total = self.surrogate(leaves, batch).sum()
            grads = torch.autograd.grad(total, list(leaves.values()), create_graph=create_graph)
        return dict(zip(leaves, grads, strict=True))

    def step(self, params_M: Mapping[str, Tensor], batch: Batch, index: int) -> Params:
        """Adapted parameters after the gradient step with this index, without a graph.

        A task whose gradient is not finite keeps its parameters.
        """
        gradient = self.gradient(params_M, batch)
        adapted = add(detach(params_M), gradient, self.config.step_size(index))
        finite_M = torch.stack([g.flatten(1).isfinite().all(1) for g in gradient.values()]).all(0)
        if finite_M.all():
            return adapted
        return {
            name: torch.where(finite_M.view(-1, *[1] * (value.dim() - 1)), value, params_M[name])
            for name, value in adapted.items()
        }


class StepJacobian:
    """Products with J = d phi'/d phi = I + alpha Hessian(S), at one step of the inner loop.

    J is symmetric, so products with J and with its transpose are the same.
    """

    def __init__(
        self, inner: InnerLoop, params_M: Mapping[str, Tensor], batch: Batch, index: int
    ) -> None:
        self._step_size = inner.config.step_size(index)
        self._identity = inner.config.first_order or self._step_size == 0.0
        if not self._identity:
            self._leaves = detach(params_M, requires_grad=True)
            self._gradient = list(inner.gradient(self._leaves, batch, create_graph=True).values())

    def product(self, vector_M: Params) -> Params:
        """J times a vector per task."""
        if self._identity:
            return vector_M
        hessian = torch.autograd.grad(
            self._gradient,
            list(self._leaves.values()),
            grad_outputs=[vector_M[name] for name in self._leaves],
            retain_graph=True,
            materialize_grads=True,
        )
        return add(vector_M, dict(zip(self._leaves, hessian, strict=True)), self._step_size)
