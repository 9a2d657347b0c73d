"""An initialisation that is never trained: the lower bound of every comparison."""

from collections.abc import Sequence
from typing import Literal

from metarl.estimators.advantages import Samples
from metarl.learners.base import Iteration, Setting
from metarl.learners.gradient.base import (
    AdaptedParameters,
    GradientBasedConfig,
    GradientBasedLearner,
)
from metarl.learners.gradient.inner_loop import InnerLoop, StepSizesConfig
from metarl.learners.gradient.outer import OuterResult
from metarl.policies.policy import MLPPolicyConfig, Policy


class RandomInitConfig(GradientBasedConfig):
    """An initialisation that is never trained."""

    name: Literal["random_init"] = "random_init"
    inner: StepSizesConfig = StepSizesConfig()


class RandomInit(GradientBasedLearner):
    """Adapts from its random initial parameters."""

    Config = RandomInitConfig

    def __init__(self, config: RandomInitConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._inner_config = config.inner
        super().__init__(config, policy, setting)

    def _make_inner(self, policy: Policy) -> InnerLoop:
        return InnerLoop(policy, self._inner_config)

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
