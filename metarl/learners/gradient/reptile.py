"""Learners without a gradient through the adaptation: Reptile, averaging, and plain baselines.

Reptile (Nichol et al. 2018, arXiv 1803.02999) moves theta towards the parameters that a few plain
policy gradient steps on fresh rollouts reach: theta += epsilon mean_i(phi_i - theta). Its paper has
no reinforcement learning; this is the direct transfer. With epsilon = 1 the tasks' parameters are
averaged: model averaging, the plainest baseline of the field.

The multi-task policy is one policy over all tasks (no adaptation in training); the random
initialisation never learns. Both adapt by the same inner loop at test time.
"""

from typing import Literal

from pydantic import Field

from metarl.learners.gradient.base import (
    Experience,
    GradientBasedConfig,
    GradientBasedLearner,
    ThroughAdaptation,
)
from metarl.learners.gradient.inner_loop import InnerLoopConfig
from metarl.learners.gradient.outer import OuterConfig, OuterResult
from metarl.optimization.trust_region import TRPOConfig


class ReptileConfig(GradientBasedConfig):
    """Reptile."""

    name: Literal["reptile"] = "reptile"
    inner: InnerLoopConfig = InnerLoopConfig(steps=3)
    outer_step_size: float = Field(0.5, gt=0.0, le=1.0)
    """epsilon."""


class Reptile(GradientBasedLearner):
    """Moves towards the adapted parameters' mean."""

    Config = ReptileConfig

    def _update(self, experience: Experience) -> OuterResult:
        size = self.config.outer_step_size
        final = experience.adapted[-1]
        theta = {
            name: value + size * (final[name].mean(0) - value)
            for name, value in self._theta.items()
        }
        return OuterResult(theta, {})


class ModelAveragingConfig(ReptileConfig):
    """Model averaging: Reptile with a full step."""

    name: Literal["model_averaging"] = "model_averaging"  # type: ignore[assignment]
    inner: InnerLoopConfig = InnerLoopConfig(steps=5)
    outer_step_size: float = Field(1.0, ge=1.0, le=1.0)


class ModelAveraging(Reptile):
    """Trains on every task separately, and averages the parameters."""

    Config = ModelAveragingConfig


class MultiTaskConfig(GradientBasedConfig):
    """One policy over all tasks; `inner` is used at test time only."""

    name: Literal["multi_task"] = "multi_task"
    outer: OuterConfig = Field(TRPOConfig(), discriminator="name")


class MultiTask(ThroughAdaptation):
    """Improves the mean return over tasks without adapting to any."""

    Config = MultiTaskConfig

    @property
    def training_steps(self) -> int:
        return 0


class RandomInitConfig(GradientBasedConfig):
    """An initialisation that is never trained."""

    name: Literal["random_init"] = "random_init"


class RandomInit(GradientBasedLearner):
    """Adapts from its random initial parameters; the lower bound of every comparison."""

    Config = RandomInitConfig

    def _update(self, experience: Experience) -> OuterResult:
        return OuterResult(self._theta, {})
