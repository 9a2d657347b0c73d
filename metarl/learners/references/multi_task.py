"""One policy over all tasks, trained without adapting to any; it adapts at test time only."""

from typing import Literal

from metarl.learners.gradient.inner_loop import StepSizesConfig
from metarl.learners.gradient.through_adaptation import OuterObjectiveConfig, OuterObjectiveLearner


class MultiTaskConfig(OuterObjectiveConfig):
    """One policy over all tasks; `inner` is used at test time only."""

    name: Literal["multi_task"] = "multi_task"
    inner: StepSizesConfig = StepSizesConfig()


class MultiTask(OuterObjectiveLearner):
    """Improves the mean return over tasks."""

    Config = MultiTaskConfig

    @property
    def training_steps(self) -> int:
        return 0
