"""GMPS: adapt by the reward, meta-train by imitation (Mendonca et al. 2019, arXiv 1904.00956).

    phi_i = theta, stepped by policy gradients on own rollouts in task i
    theta <- Adam on mean_i of the cloning loss of phi_i on demonstrations of task i

Each iteration's rollouts serve several meta-updates: the inner step at a changed theta is made
again, its likelihood ratios to the policy that sampled. Unlike the reference, experts are not asked
again for what they would do where the adapted policies go (DAgger): demonstrations are a file.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import PositiveInt, SerializeAsAny
from torch import Tensor

from metarl.estimators.advantages import Samples
from metarl.interaction.threads import task_chunks
from metarl.learners.base import Iteration, Setting
from metarl.learners.gradient.base import (
    AdaptedParameters,
    GradientBasedConfig,
    GradientBasedLearner,
)
from metarl.learners.gradient.inner_loop import DifferentiatedStepsConfig, InnerLoopConfig
from metarl.learners.gradient.outer import Adam, AdamConfig, OuterResult
from metarl.learners.imitation.cloning import (
    AdaptationStep,
    CloningLoss,
    CloningObjective,
    Shown,
    cloning_update,
    gradient_step,
    require_loss,
)
from metarl.params import Params
from metarl.policies.policy import MLPPolicyConfig


class GuidedConfig(GradientBasedConfig):
    """Guided meta-policy search."""

    name: Literal["guided"] = "guided"
    loss: CloningLoss = "likelihood"
    """Of behaviour cloning: minus the log-likelihood, or squared errors of the mean."""
    inner: SerializeAsAny[DifferentiatedStepsConfig] = InnerLoopConfig()
    outer: AdamConfig = AdamConfig()
    updates: PositiveInt = 10
    """Meta-updates per iteration, from the same rollouts."""


class Guided(GradientBasedLearner):
    """Adapts all parameters by policy gradients; experts say what should come of it.

    Raises:
        ConfigError: if the loss is not one of these actions.
    """

    Config = GuidedConfig
    needs_demonstrations = True

    def __init__(self, config: GuidedConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        require_loss(config.loss, setting.spec)
        self._config = config
        self._outer = Adam(config.outer, config.updates)
        super().__init__(config, policy, setting)

    @property
    def training_steps(self) -> int:
        return self._config.inner.steps

    def _update(
        self,
        states: Sequence[AdaptedParameters],
        supports: Sequence[Samples],
        work: Iteration[AdaptedParameters],
    ) -> OuterResult:
        assert work.demonstrations is not None
        shown = self.normalizer.rollouts(work.demonstrations.rollouts)
        query = Shown.of_rollouts(shown, self.device, self.dtype)
        objective = CloningObjective(
            self.policy,
            [self._step(support, index) for index, support in enumerate(supports)],
            query,
            self._config.loss,
            self.theta,
            task_chunks(len(work.keys), self._config.task_chunk),
            work.world,
            work.meta_batch,
        )
        return cloning_update(self._outer, objective, self.theta)

    def _step(self, support: Samples, index: int) -> AdaptationStep:
        size, first_order = self._config.inner.step_size(index), self._config.inner.first_order

        def step(params_M: Params, tasks: slice) -> Params:
            losses_M = -self.inner.surrogate(params_M, support.task_slice(tasks))
            return gradient_step(params_M, losses_M, size, first_order)

        return step

    def training_state(self) -> Params:
        return self._outer.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self._outer.load_state(state)
