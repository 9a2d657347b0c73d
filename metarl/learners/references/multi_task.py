"""One policy over all tasks, trained without adapting to any; it adapts at test time only."""

from typing import Literal

from metarl.learners.base import Setting
from metarl.learners.gradient.inner_loop import InnerLoop, StepSizesConfig
from metarl.learners.gradient.through_adaptation import OuterObjectiveConfig, OuterObjectiveLearner
from metarl.policies.policy import MLPPolicyConfig, Policy


class MultiTaskConfig(OuterObjectiveConfig):
    """One policy over all tasks; `inner` is used at test time only."""

    name: Literal["multi_task"] = "multi_task"
    inner: StepSizesConfig = StepSizesConfig()


class MultiTask(OuterObjectiveLearner):
    """Improves the mean return over tasks."""

    Config = MultiTaskConfig

    def __init__(self, config: MultiTaskConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        self._inner_config = config.inner
        super().__init__(config, policy, setting)

    def _make_inner(self, policy: Policy) -> InnerLoop:
        return InnerLoop(policy, self._inner_config)

    @property
    def training_steps(self) -> int:
        return 0
