"""E-MAML: MAML that counts how sampling the support rollouts pays (Stadie et al. 2018).

The return after adaptation depends on theta also through *which* support rollouts are drawn.
With J_i the return after adaptation, the gradient gains (arXiv 1803.01118, eq. 6)

    E[ (J_i - b_i) grad log p(all support rollouts of task i; theta) ].

The log-probability is the sum over all steps of all support rollouts; rollouts of later inner
steps depend on theta through the adaptation before them, and their gradient is taken through it.
The inner step must then be the gradient of the score function: the likelihood ratio's second
derivative counts a part of the sampling already. b_i is the mean return of the other tasks, which
does not depend on task i's rollouts. The outer surrogate of a task is a mean over steps of its
advantages, divided by their standard deviation where they are normalised: the return's gradient
divided by the mean length of its episodes and that deviation. The term is divided alike, task by
task.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Iteration, Setting, World
from metarl.learners.gradient.base import AdaptedParameters
from metarl.learners.gradient.inner_loop import ScoreStepsConfig, everything
from metarl.learners.gradient.meta_objective import Experience
from metarl.learners.gradient.terms import SupportStep, SupportTerm
from metarl.learners.gradient.through_adaptation import ThroughAdaptation, ThroughAdaptationConfig
from metarl.policies.policy import MLPPolicyConfig, Policy


class EMAMLConfig(ThroughAdaptationConfig):
    """E-MAML; the inner objective is the score function, right for sampled inner gradients."""

    name: Literal["emaml"] = "emaml"
    inner: ScoreStepsConfig = ScoreStepsConfig()
    sampling_weight: NonNegativeFloat = 1.0
    """Factor on the sampling term; 1 is the exact gradient, 0 is MAML."""


@dataclass(frozen=True)
class SamplingTerm:
    """`weights_M` times the log-probability of all support rollouts of a task, up to a constant."""

    weights_M: Tensor

    def __call__(self, step: SupportStep) -> Tensor:
        """Its value for every task: shape (M,)."""
        samples = step.samples
        log_ratios = samples.log_probs_of(step.policy) - samples.log_probs_MEH
        log_ratios = log_ratios * (samples.weights_MEH > 0)
        return self.weights_M[step.tasks] * log_ratios.sum((1, 2))


class EMAML(ThroughAdaptation):
    """Adapts all parameters; the outer objective gains a sampling term."""

    Config = EMAMLConfig

    def __init__(self, config: EMAMLConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._sampling_weight = config.sampling_weight
        super().__init__(config, policy, setting)

    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        return everything

    def _terms(
        self, experience: Experience, query: Rollouts, work: Iteration[AdaptedParameters]
    ) -> Sequence[SupportTerm]:
        if self._sampling_weight == 0.0 or not experience.supports:
            return []
        weights_M = sampling_weights(query, experience.query.scale_M, work.world)
        return [SamplingTerm(self._sampling_weight * weights_M)]


def sampling_weights(query: Rollouts, scale_M: Tensor, world: World) -> Tensor:
    """(J_i - b_i) / (length_i * scale_i) of every task: shape (M,); zero for a single task.

    Args:
        query: rollouts of this process's tasks.
        scale_M: what their advantages were divided by.
        world: whose tasks all enter b_i.
    """
    returns_M = query.returns_ME.mean(1)
    everyone = world.gather(returns_M.unsqueeze(1))
    if len(everyone) == 1:
        return torch.zeros_like(returns_M)
    others_M = (everyone.sum() - returns_M) / (len(everyone) - 1)
    length_M = query.lengths_ME.to(returns_M).mean(1).clamp(min=1.0)
    return (returns_M - others_M) / (length_M * scale_M)
