"""Reptile (Nichol et al. 2018, arXiv 1803.02999), and model averaging.

Reptile moves theta towards the parameters that a few plain policy gradient steps on fresh rollouts
reach: theta += epsilon mean_i(phi_i - theta). Its paper has no reinforcement learning; this is the
direct transfer. With epsilon = 1 the tasks' parameters are averaged: model averaging, the plainest
baseline of the field. No gradient goes through the adaptation.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from metarl.estimators.advantages import Samples
from metarl.learners.base import Iteration, Setting
from metarl.learners.gradient.base import (
    AdaptedParameters,
    GradientBasedConfig,
    GradientBasedLearner,
)
from metarl.learners.gradient.inner_loop import PlainStepsConfig
from metarl.learners.gradient.outer import OuterResult
from metarl.params import flatten, flatten_tasks, unflatten
from metarl.policies.policy import MLPPolicyConfig


class PlainStepsLearnerConfig(GradientBasedConfig):
    """What both share."""

    inner: PlainStepsConfig = PlainStepsConfig()


class PlainStepsLearner(GradientBasedLearner):
    """Moves towards the mean of the adapted parameters."""

    def __init__(
        self, config: PlainStepsLearnerConfig, policy: MLPPolicyConfig, setting: Setting
    ) -> None:
        self._steps = config.inner.steps
        super().__init__(config, policy, setting)

    @property
    @abstractmethod
    def epsilon(self) -> float:
        """The share of the way."""

    @property
    def training_steps(self) -> int:
        return self._steps

    def _update(
        self,
        states: Sequence[AdaptedParameters],
        supports: Sequence[Samples],
        work: Iteration[AdaptedParameters],
    ) -> OuterResult:
        final_MP = flatten_tasks(states[-1].params_M)
        mean, start = work.world.sum_over_tasks(final_MP) / work.meta_batch, flatten(self._theta)
        return OuterResult(unflatten(start + self.epsilon * (mean - start), self._theta), {})


class ReptileConfig(PlainStepsLearnerConfig):
    """Reptile."""

    name: Literal["reptile"] = "reptile"
    inner: PlainStepsConfig = PlainStepsConfig(steps=3)
    outer_step_size: float = Field(0.5, gt=0.0, le=1.0)
    """epsilon."""


class Reptile(PlainStepsLearner):
    """Goes part of the way."""

    Config = ReptileConfig

    def __init__(self, config: ReptileConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._epsilon = config.outer_step_size
        super().__init__(config, policy, setting)

    @property
    def epsilon(self) -> float:
        return self._epsilon


class ModelAveragingConfig(PlainStepsLearnerConfig):
    """Model averaging."""

    name: Literal["model_averaging"] = "model_averaging"
    inner: PlainStepsConfig = PlainStepsConfig(steps=5)


class ModelAveraging(PlainStepsLearner):
    """Trains on every task separately, and averages the parameters."""

    Config = ModelAveragingConfig

    @property
    def epsilon(self) -> float:
        return 1.0
