"""E-MAML: MAML that counts how sampling the support rollouts pays (Stadie et al. 2018).

The return after adaptation depends on theta also through *which* support rollouts are drawn.
With J_i the return after adaptation, the gradient gains (arXiv 1803.01118, eq. 6)

    E[ (J_i - b_i) grad log p(all support rollouts of task i; theta) ].

The log-probability is the sum over all steps of all support rollouts; rollouts of later inner
steps depend on theta through the adaptation before them, and their gradient is taken through it.
b_i is the mean return of the other tasks, which does not depend on task i's rollouts. The outer
surrogate is a mean over steps of normalised advantages, that is the return's gradient divided by
the episode length and the advantages' scale; the term is divided alike.
"""

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from metarl.interaction.rollouts import Rollouts
from metarl.learners.gradient.base import Experience, GradientBasedConfig, ThroughAdaptation
from metarl.learners.gradient.meta_objective import LocalTerms
from metarl.learners.gradient.outer import OuterConfig
from metarl.optimization.trust_region import TRPOConfig


class EMAMLConfig(GradientBasedConfig):
    """E-MAML; the inner objective is the score function, right for sampled inner gradients."""

    name: Literal["emaml"] = "emaml"
    outer: OuterConfig = Field(TRPOConfig(), discriminator="name")
    sampling_weight: NonNegativeFloat = 1.0
    """Factor on the sampling term; 1 is the exact gradient, 0 is MAML."""


class EMAML(ThroughAdaptation):
    """See the module."""

    Config = EMAMLConfig

    def _terms(self, experience: Experience) -> LocalTerms:
        if self.config.sampling_weight == 0.0 or not experience.supports:
            return LocalTerms()
        weights_M = sampling_weights(experience.query)
        return LocalTerms(sampling_M=self.config.sampling_weight * weights_M)


def sampling_weights(query: Rollouts) -> Tensor:
    """(J_i - b_i) / (length * scale) of every task: shape (M,); zero for a single task."""
    returns_M = query.returns_ME.mean(1)
    num_tasks = len(returns_M)
    if num_tasks == 1:
        return torch.zeros_like(returns_M)
    others_M = (returns_M.sum() - returns_M) / (num_tasks - 1)
    length = query.lengths_ME.to(returns_M.dtype).mean().clamp(min=1.0)
    scale = query.returns_ME.std(1, correction=0).mean() + returns_M.std(correction=0) + 1e-8
    return (returns_M - others_M) / (length * scale)
