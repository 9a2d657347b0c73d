"""The inner loop of gradient-based learners: from rollouts to adapted parameters.

phi' = phi + alpha * grad S(phi), S an inner objective, for all tasks at once. The step sizes alpha
are numbers, or parameters themselves (Meta-SGD); parameters without one are left as they are
(ANIL, CAVIA). Tasks share no parameters, so the gradient of the sum over tasks is the per-task
gradient: the step does not depend on how many tasks are adapted together.

Shapes: M tasks, E episodes per task, H steps.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.estimators.advantages import Batch
from metarl.estimators.objectives import OBJECTIVES
from metarl.params import Params, detach
from metarl.policies.actors import Actor
from metarl.policies.derivatives import Expansion, expand
from metarl.policies.distributions import Distribution
from metarl.policies.policy import Policy

# Learned step sizes are parameters under this prefix, one per adapted parameter
STEP_SIZE = "step_size."


class InnerLoopConfig(ConfigModel):
    """Steps of the inner loop; at test time the caller chooses their number."""

    steps: int = Field(1, ge=0)
    step_sizes: tuple[NonNegativeFloat, ...] = Field((0.1,), min_length=1)
    """Size of each step; the last one also holds for all later steps."""
    objective: Literal["likelihood_ratio", "score_function", "dice"] = "likelihood_ratio"
    first_order: bool = False
    """Ignore the second derivative of the objective in the meta-gradient (FOMAML)."""

    def step_size(self, index: int) -> float:
        """The size of the adaptation step with this index, counted from 0."""
        return self.step_sizes[min(index, len(self.step_sizes) - 1)]


class InnerLoop:
    """Surrogate, gradient step, and the rates of the step.

    Args:
        policy: acts with the parameters that are no step sizes.
        config: the steps.
        adapts: which parameters a step changes, by name; by default all.
    """

    def __init__(
        self,
        policy: Policy,
        config: InnerLoopConfig,
        adapts: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self._policy, self.config, self._adapts = policy, config, adapts
        self._objective = OBJECTIVES[config.objective]
        # DiCE couples the steps of an episode: none may be left out
        self.separable = config.objective != "dice"

    def policy(self, params_M: Mapping[str, Tensor], obs_MNO: Tensor) -> Distribution:
        """The policy, under parameters that may include learned step sizes."""
        return self._policy(policy_parameters(params_M), obs_MNO)

    def actor(self, params_M: Mapping[str, Tensor]) -> Actor:
        """Chooses actions with these parameters."""
        return self._policy.actor(policy_parameters(params_M))

    def expand(self, params_M: Mapping[str, Tensor], batch: Batch) -> Expansion:
        """The policy around these parameters, at the states of a batch."""
        return expand(self._policy, policy_parameters(params_M), batch.obs_MEHO.flatten(1, 2))

    def surrogate(self, params_M: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The inner objective of every task: shape (M,)."""
        return self.value(self.policy(params_M, batch.obs_MEHO.flatten(1, 2)), batch)

    def value(self, distribution: Distribution, batch: Batch) -> Tensor:
        """The inner objective for these distributions at the states of a batch: shape (M,)."""
        return self._objective(
            batch.log_probs_of(distribution),
            batch.log_probs_MEH,
            batch.advantages_MEH,
            batch.weights_MEH,
        )

    def gradient(self, params_M: Mapping[str, Tensor], batch: Batch) -> Params:
        """Per-task gradient of the surrogate, of all parameters of the policy."""
        leaves = detach(policy_parameters(params_M), requires_grad=True)
        with torch.enable_grad():
            total = self.surrogate(leaves, batch).sum()
            grads = torch.autograd.grad(total, list(leaves.values()))
        return dict(zip(leaves, grads, strict=True))

    def rates(self, params_M: Mapping[str, Tensor], index: int) -> dict[str, Tensor | float]:
        """Step sizes of the adapted parameters, in the step with this index."""
        size = self.config.step_size(index)
        return {
            name: params_M.get(f"{STEP_SIZE}{name}", size)
            for name in policy_parameters(params_M)
            if self._adapts(name)
        }

    def step(self, params_M: Mapping[str, Tensor], batch: Batch, index: int) -> Params:
        """Adapted parameters after the gradient step with this index, without a graph.

        A task whose gradient is not finite keeps its parameters.
        """
        gradient = self.gradient(params_M, batch)
        finite_M = torch.stack([g.flatten(1).isfinite().all(1) for g in gradient.values()]).all(0)
        adapted = detach(params_M)
        for name, rate in self.rates(adapted, index).items():
            value = adapted[name] + rate * gradient[name]
            if not finite_M.all():
                finite = finite_M.view(-1, *[1] * (value.dim() - 1))
                value = torch.where(finite, value, adapted[name])
            adapted[name] = value
        return adapted


def policy_parameters(params: Mapping[str, Tensor]) -> Params:
    """The parameters without learned step sizes."""
    return {name: value for name, value in params.items() if not name.startswith(STEP_SIZE)}


class StepJacobian:
    """Products with J = d phi' / d (phi, alpha) at one step of the inner loop.

    With H the Hessian of the surrogate (per task) and g its gradient:
    J (v, a) = v + alpha * H v + a * g, and J^T u = (u + H (alpha * u), g * u).
    """

    def __init__(
        self, inner: InnerLoop, params_M: Mapping[str, Tensor], batch: Batch, index: int
    ) -> None:
        params = detach(params_M)
        self._rates = inner.rates(params, index)
        still = all(isinstance(rate, float) and rate == 0.0 for rate in self._rates.values())
        self._flat = inner.config.first_order or still
        if self._flat:
            self._gradient = inner.gradient(params, batch)
            return
        self._expansion = inner.expand(params, batch)
        distribution = self._expansion.distribution
        self._parameters = tuple(p.detach().requires_grad_() for p in distribution.parameters)
        with torch.enable_grad():
            total = inner.value(type(distribution)(*self._parameters), batch).sum()
            self._first = torch.autograd.grad(total, self._parameters, create_graph=True)
        self._gradient, self._pulled = self._expansion.pull(tuple(c.detach() for c in self._first))

    def push(self, tangent_M: Params) -> Params:
        """J times a tangent per task."""
        bent = self._hessian(tangent_M)
        pushed = dict(tangent_M)
        for name, rate in self._rates.items():
            if bent is not None:
                pushed[name] = pushed[name] + rate * bent[name]
            if f"{STEP_SIZE}{name}" in tangent_M:
                turn = tangent_M[f"{STEP_SIZE}{name}"]
                pushed[name] = pushed[name] + turn * self._gradient[name]
        return pushed

    def pull(self, cotangent_M: Params) -> Params:
        """J transposed times a cotangent per task."""
        pulled = dict(cotangent_M)
        weighted = {name: torch.zeros_like(value) for name, value in self._gradient.items()}
        for name, rate in self._rates.items():
            weighted[name] = rate * cotangent_M[name]
            key = f"{STEP_SIZE}{name}"
            if key in cotangent_M:
                share = self._gradient[name] * cotangent_M[name]
                pulled[key] = pulled[key] + share.sum_to_size(pulled[key].shape)
        bent = self._hessian(weighted)
        if bent is not None:
            for name, value in bent.items():
                pulled[name] = pulled[name] + value
        return pulled

    def _hessian(self, vector_M: Params) -> Params | None:
        if self._flat:
            return None
        return self._expansion.bend(vector_M, self._pulled, self._second)

    def _second(self, changes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Change of the surrogate's gradient in the distributions' parameters."""
        curved = [(c, u) for c, u in zip(self._first, changes, strict=True) if c.requires_grad]
        if not curved:
            return tuple(torch.zeros_like(p) for p in self._parameters)
        gradients, along = zip(*curved, strict=True)
        # the Hessian is symmetric: times a vector from either side
        return torch.autograd.grad(
            gradients, self._parameters, along, retain_graph=True, materialize_grads=True
        )
