"""An initialisation that is never trained: the lower bound of every comparison."""

from collections.abc import Sequence
from typing import Literal

from metarl.estimators.advantages import Samples
from metarl.learners.base import Iteration
from metarl.learners.gradient.base import (
    AdaptedParameters,
    GradientBasedConfig,
    GradientBasedLearner,
)
from metarl.learners.gradient.inner_loop import StepSizesConfig
from metarl.learners.gradient.outer import OuterResult


class RandomInitConfig(GradientBasedConfig):
    """An initialisation that is never trained."""

    name: Literal["random_init"] = "random_init"
    inner: StepSizesConfig = StepSizesConfig()


class RandomInit(GradientBasedLearner):
    """Adapts from its random initial parameters."""

    Config = RandomInitConfig

    @property
    def training_steps(self) -> int:
        return 0  # there is nothing to collect rollouts for

    def _update(
        self,
        states: Sequence[AdaptedParameters],
        supports: Sequence[Samples],
        work: Iteration[AdaptedParameters],
    ) -> OuterResult:
        return OuterResult(self._theta, {})
