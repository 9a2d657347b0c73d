"""What all gradient-based learners share: adapt by gradient steps, improve the start by others.

    for each task i:  phi_i = theta, stepped by the inner loop on support rollouts of pi_phi_i
    theta <- outer optimiser on mean_i L(phi_i(theta); query rollouts of pi_phi_i)

A subclass says what is adapted, with which rates, and which terms join the outer objective.
Shapes: M tasks, E episodes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from metarl.estimators.advantages import AdvantageConfig, Batch, make_batch
from metarl.estimators.value_baselines import require_enough_samples
from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Collect, LearnerConfig, MetaLearner, Metrics, Spec, phase_metrics
from metarl.learners.gradient.inner_loop import InnerLoop, InnerLoopConfig
from metarl.learners.gradient.meta_objective import LocalTerms, MetaObjective
from metarl.learners.gradient.outer import OuterResult, make_outer
from metarl.optimization.trust_region import TRPOConfig
from metarl.params import Params, all_finite, task_slice, tile
from metarl.policies.actors import ActionStep, Actor
from metarl.policies.normalization import Normalizer
from metarl.policies.policy import Policy, PolicyConfig, make_policy
from metarl.seeding import parameter_generator


class GradientBasedConfig(LearnerConfig):
    """What the configs of gradient-based learners share.

    Where a learner has an `outer` optimiser, a mapping without a name changes the default one.
    """

    inner: InnerLoopConfig = InnerLoopConfig()
    advantages: AdvantageConfig = AdvantageConfig()
    entropy_bonus: NonNegativeFloat = 0.0
    """Weight of the adapted policies' entropy in the outer objective."""
    task_chunk: PositiveInt = 4
    """Tasks differentiated together: bounds memory, does not change the gradient."""

    @model_validator(mode="before")
    @classmethod
    def _default_outer(cls, document: Any) -> Any:
        field = cls.model_fields.get("outer")
        if isinstance(document, Mapping) and isinstance(document.get("outer"), Mapping):
            outer = document["outer"]
            if field is not None and "name" not in outer:
                return {**document, "outer": {"name": field.default.name, **outer}}
        return document


@dataclass(frozen=True)
class AdaptedParameters:
    """One set of policy parameters per task, shapes (M, ...).

    Attributes:
        params_M: the parameters.
        actor: chooses actions with them.
        steps: adaptation steps behind them.
    """

    params_M: Params
    actor: Actor
    steps: int = 0


@dataclass(frozen=True)
class Experience:
    """Everything collected in one iteration.

    Attributes:
        adapted: parameters before each adaptation step and after the last.
        supports: what each adaptation step was made from.
        query: rollouts after adaptation.
    """

    adapted: Sequence[Params]
    supports: Sequence[Batch]
    query: Rollouts


class GradientBasedLearner(MetaLearner):
    """Adapts policy parameters by gradient steps, for all tasks at once."""

    def __init__(
        self,
        config: Any,
        policy_config: PolicyConfig,
        spec: Spec,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(config, policy_config, spec, seed, device, dtype)
        require_enough_samples(spec.episodes, spec.horizon, spec.obs_size)
        self.normalizer = Normalizer(
            spec.obs_size,
            policy_config.normalize_observations,
            policy_config.normalize_rewards,
            device,
        )
        self.inner = self._make_inner(self._make_policy(policy_config))
        self._theta: Params = {}
        self.load_meta_parameters(self._initial(parameter_generator(seed)))

    def _make_policy(self, config: PolicyConfig) -> Policy:
        spec = self.spec
        return make_policy(spec.obs_size, spec.action_size, config, spec.num_actions)

    def _make_inner(self, policy: Policy) -> InnerLoop:
        self.policy = policy
        return InnerLoop(policy, self.config.inner)

    def _initial(self, generator: torch.Generator) -> Params:
        """Initial meta-parameters."""
        return self.policy.init(generator)

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> AdaptedParameters:
        return self._adapted(self._start(num_tasks), 0)

    def _start(self, num_tasks: int) -> Params:
        """Parameters before any adaptation; copies, since products with strided ones are slow."""
        tiled = tile(self._theta, num_tasks)
        return {name: value.contiguous() for name, value in tiled.items()}

    def _adapted(self, params_M: Params, steps: int) -> AdaptedParameters:
        return AdaptedParameters(params_M, self.inner.actor(params_M), steps)

    def act(
        self,
        state: AdaptedParameters,
        obs_MEO: np.ndarray,
        previous_actions_MEA: np.ndarray,
        previous_rewards_ME: np.ndarray,
        first_ME: np.ndarray,
        noise_MEA: np.ndarray | None,
    ) -> tuple[ActionStep, AdaptedParameters]:
        return state.actor(self.normalizer.obs_seen(obs_MEO), noise_MEA), state

    def adapt(self, state: AdaptedParameters, rollouts: Rollouts) -> AdaptedParameters:
        return self._adapt(state, self._batch(rollouts))

    def _adapt(self, state: AdaptedParameters, batch: Batch) -> AdaptedParameters:
        adapted = {name: torch.empty_like(value) for name, value in state.params_M.items()}
        for first in range(0, batch.obs_MEHO.shape[0], self.config.task_chunk):
            chunk = slice(first, first + self.config.task_chunk)
            params = task_slice(state.params_M, chunk)
            for name, value in self.inner.step(
                params, batch.task_slice(chunk), state.steps
            ).items():
                adapted[name][chunk] = value
        return self._adapted(adapted, state.steps + 1)

    # Meta-training

    @property
    def training_steps(self) -> int:
        """Adaptation steps in an iteration of training."""
        return self.config.inner.steps

    def iterate(self, collect: Collect, tasks: Mapping[str, np.ndarray]) -> Metrics:
        state = self.begin(len(next(iter(tasks.values()))), 0)
        adapted, supports, phases = [state.params_M], list[Batch](), list[Rollouts]()
        for _ in range(self.training_steps):
            rollouts, state = collect(state)
            phases.append(rollouts)
            supports.append(self._batch(rollouts))
            state = self._adapt(state, supports[-1])
            adapted.append(state.params_M)
        query, state = collect(state)
        phases.append(query)
        result = self._update(Experience(adapted, supports, query))
        assert all_finite(result.theta)
        self._theta = result.theta
        for rollouts in phases:
            self.normalizer.update(rollouts)
        metrics: Metrics = {**phase_metrics(phases), **result.metrics}
        if "log_std" in result.theta:
            metrics["train/log_std"] = float(result.theta["log_std"].mean())
        return metrics

    def _batch(self, rollouts: Rollouts) -> Batch:
        return make_batch(self.normalizer.rollouts(rollouts), self.config.advantages)

    @abstractmethod
    def _update(self, experience: Experience) -> OuterResult:
        """New meta-parameters from an iteration's rollouts."""

    @property
    def meta_parameters(self) -> Params:
        return {**self._theta, **self.normalizer.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self._theta = {
            name: value.detach().to(self.device, self.dtype).clone()
            for name, value in self.normalizer.load(params).items()
        }


class ThroughAdaptation(GradientBasedLearner):
    """Learners whose meta-gradient goes through the adaptation, with an outer optimiser."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.outer = make_outer(config.outer)

    def _update(self, experience: Experience) -> OuterResult:
        outer = self.config.outer
        objective = MetaObjective(
            self.inner,
            self._theta,
            experience.adapted,
            experience.supports,
            self._batch(experience.query),
            self.config.task_chunk,
            outer.fisher_states if isinstance(outer, TRPOConfig) else None,
            self._terms(experience),
            self.config.entropy_bonus,
        )
        result = self.outer.update(objective, self._theta)
        self._after(objective, result)
        return result

    def _terms(self, experience: Experience) -> LocalTerms:
        """Terms of the outer objective on support rollouts."""
        return LocalTerms()

    def _after(self, objective: MetaObjective, result: OuterResult) -> None:
        """What a learner adjusts after its meta-update."""

    def training_state(self) -> Params:
        return self.outer.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        if state:
            self.outer.load_state(dict(state))
