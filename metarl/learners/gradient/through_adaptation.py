"""Learners whose meta-gradient goes through the adaptation, with an outer optimiser."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

from pydantic import Field, NonNegativeFloat, SerializeAsAny, model_validator
from torch import Tensor

from metarl.errors import ConfigError
from metarl.estimators.advantages import Samples
from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Iteration, Setting
from metarl.learners.gradient.base import (
    AdaptedParameters,
    GradientBasedConfig,
    GradientBasedLearner,
)
from metarl.learners.gradient.inner_loop import DifferentiatedStepsConfig, InnerLoop
from metarl.learners.gradient.meta_objective import Experience, MetaObjective, ObjectiveConfig
from metarl.learners.gradient.outer import OuterConfig, OuterResult, make_outer
from metarl.learners.gradient.terms import SupportTerm
from metarl.learners.training_reward import with_training_reward
from metarl.optimization.trust_region import TRPOConfig
from metarl.params import Params
from metarl.policies.policy import MLPPolicyConfig, Policy


class OuterObjectiveConfig(GradientBasedConfig):
    """What the configs of learners share that have an outer optimiser.

    In `outer`, a mapping without a name changes the default optimiser.
    """

    outer: OuterConfig = Field(TRPOConfig(), discriminator="name")
    entropy_bonus: NonNegativeFloat = 0.0
    """Weight of the adapted policies' entropy in the outer objective."""
    training_reward: bool = False
    """Whether that objective is of `info["training_reward"]`; adaptation never sees it."""

    @model_validator(mode="before")
    @classmethod
    def _default_outer(cls, document: object) -> object:
        if isinstance(document, Mapping) and isinstance(document.get("outer"), Mapping):
            outer = document["outer"]
            if "name" not in outer:
                name = cls.model_fields["outer"].default.name
                return {**document, "outer": {"name": name, **outer}}
        return document


class ThroughAdaptationConfig(OuterObjectiveConfig):
    """What the configs of learners share that differentiate through their inner loop."""

    inner: SerializeAsAny[DifferentiatedStepsConfig]


class OuterObjectiveLearner(GradientBasedLearner):
    """Improves an outer objective; a subclass says which inner loop stands before it."""

    def __init__(
        self, config: OuterObjectiveConfig, policy: MLPPolicyConfig, setting: Setting
    ) -> None:
        if config.training_reward and config.normalization.rewards:
            raise ConfigError(
                "learner.training_reward is no reward whose scale learner.normalization.rewards "
                "knows: take one of them"
            )
        self.outer, self._training_reward = make_outer(config.outer), config.training_reward
        self._objective_config = ObjectiveConfig(
            config.task_chunk,
            self.outer.query_states,
            self.outer.support_states,
            config.entropy_bonus,
        )
        super().__init__(config, policy, setting)

    def _update(
        self,
        states: Sequence[AdaptedParameters],
        supports: Sequence[Samples],
        work: Iteration[AdaptedParameters],
    ) -> OuterResult:
        query = work.collect(states[-1])
        if self._training_reward:
            query = with_training_reward(query)
        adapted = [state.params_M for state in states]
        experience = Experience(adapted, supports, self.samples(query))
        objective = MetaObjective(
            self.inner,
            self._theta,
            experience,
            self._objective_config,
            work.world,
            work.meta_batch,
            self._terms(experience, query, work),
        )
        result = self.outer.update(objective, self._theta)
        self._after(objective, result)
        return result

    def _terms(
        self, experience: Experience, query: Rollouts, work: Iteration[AdaptedParameters]
    ) -> Sequence[SupportTerm]:
        """Terms of the outer objective on support rollouts."""
        return ()

    def _after(self, objective: MetaObjective, result: OuterResult) -> None:
        """What a learner adjusts after its meta-update."""

    def training_state(self) -> Params:
        return self.outer.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.outer.load_state(state)


class ThroughAdaptation(OuterObjectiveLearner):
    """The inner loop is part of the outer objective."""

    def __init__(
        self, config: ThroughAdaptationConfig, policy: MLPPolicyConfig, setting: Setting
    ) -> None:
        self._steps, self._first_order = config.inner.steps, config.inner.first_order
        super().__init__(config, policy, setting)

    def _make_inner(self, policy: Policy) -> InnerLoop:
        return InnerLoop(policy, self._inner_config, self._adapts(policy), self._first_order)

    @abstractmethod
    def _adapts(self, policy: Policy) -> Callable[[str], bool]:
        """Which parameters the inner loop changes, by name."""

    @property
    def training_steps(self) -> int:
        return self._steps
