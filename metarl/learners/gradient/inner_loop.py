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
from metarl.estimators.advantages import Samples
from metarl.estimators.objectives import OBJECTIVES
from metarl.params import Params, detach
from metarl.policies.actors import Chooser
from metarl.policies.derivatives import PolicyDerivatives, derivatives_of
from metarl.policies.distributions import Distribution
from metarl.policies.policy import Policy

# Learned step sizes are parameters under this prefix, one per adapted parameter
STEP_SIZE = "step_size."


class InnerConfig(ConfigModel):
    """What all inner loops share: how a step is made."""

    step_sizes: tuple[NonNegativeFloat, ...] = Field((0.1,), min_length=1)
    """Size of each step; the last one also holds for all later steps."""
    objective: Literal["likelihood_ratio", "score_function", "dice"] = "likelihood_ratio"
    """Surrogate whose gradient is the policy gradient; they differ in its derivatives."""

    def step_size(self, index: int) -> float:
        """The size of the adaptation step with this index, counted from 0."""
        return self.step_sizes[min(index, len(self.step_sizes) - 1)]


class StepSizesConfig(InnerConfig):
    """Steps that training does not take; at test time the caller chooses their number."""


class PlainStepsConfig(InnerConfig):
    """Steps through which no gradient flows."""

    steps: int = Field(1, ge=0)
    """Gradient steps of training; any number at test."""


class DifferentiatedStepsConfig(InnerConfig):
    """Base of steps that are differentiated; at test time the caller chooses their number."""

    steps: int = Field(1, ge=0)
    """Gradient steps of training; any number at test."""
    first_order: bool = False
    """Ignore the second derivative of the objective in the meta-gradient (FOMAML)."""


class InnerLoopConfig(DifferentiatedStepsConfig):
    """Steps along the likelihood ratio, unless asked otherwise."""


class ScoreStepsConfig(DifferentiatedStepsConfig):
    """Steps along the score function, unless asked otherwise."""

    objective: Literal["likelihood_ratio", "score_function", "dice"] = "score_function"


def everything(name: str) -> bool:
    """Adapts all parameters."""
    return True


class InnerLoop:
    """Surrogate, gradient step, and the rates of the step.

    Args:
        policy: acts with the parameters that are no step sizes.
        config: the steps.
        adapts: which parameters a step changes, by name; by default all.
        first_order: ignore the objective's second derivative in the meta-gradient.
    """

    def __init__(
        self,
        policy: Policy,
        config: InnerConfig,
        adapts: Callable[[str], bool] = everything,
        first_order: bool = False,
    ) -> None:
        self._policy, self.config, self._adapts = policy, config, adapts
        self.first_order = first_order
        self._objective = OBJECTIVES[config.objective]
        # DiCE couples the steps of an episode: none may be left out
        self.separable = config.objective != "dice"

    def policy(self, params_M: Mapping[str, Tensor], obs_MNO: Tensor) -> Distribution:
        """The policy, under parameters that may include learned step sizes."""
        return self._policy(policy_parameters(params_M), obs_MNO)

    def chooser(self, params_M: Mapping[str, Tensor]) -> Chooser:
        """Chooses actions with these parameters."""
        return self._policy.chooser(policy_parameters(params_M))

    def derivatives(self, params_M: Mapping[str, Tensor], samples: Samples) -> PolicyDerivatives:
        """The policy around these parameters, at the states of samples."""
        obs_MNO = samples.obs_MEHO.flatten(1, 2)
        return derivatives_of(self._policy, policy_parameters(params_M), obs_MNO)

    def surrogate(self, params_M: Mapping[str, Tensor], samples: Samples) -> Tensor:
        """The inner objective of every task: shape (M,)."""
        return self.value(self.policy(params_M, samples.obs_MEHO.flatten(1, 2)), samples)

    def value(self, distribution: Distribution, samples: Samples) -> Tensor:
        """The inner objective for these distributions at the states of samples: shape (M,)."""
        return self._objective(
            samples.log_probs_of(distribution),
            samples.log_probs_MEH,
            samples.advantages_MEH,
            samples.weights_MEH,
        )

    def gradient(self, params_M: Mapping[str, Tensor], samples: Samples) -> Params:
        """Per-task gradient of the surrogate, of all parameters of the policy."""
        leaves = detach(policy_parameters(params_M), requires_grad=True)
        with torch.enable_grad():
            total = self.surrogate(leaves, samples).sum()
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

    def step(self, params_M: Mapping[str, Tensor], samples: Samples, index: int) -> Params:
        """Adapted parameters after the gradient step with this index, without a graph.

        A task whose gradient is not finite keeps its parameters.
        """
        gradient = self.gradient(params_M, samples)
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
