"""What all gradient-based learners share: adapt by gradient steps, improve the start by others.

    for each task i:  phi_i = theta, stepped by the inner loop on support rollouts of pi_phi_i
    theta <- outer optimiser on mean_i L(phi_i(theta); query rollouts of pi_phi_i)

A subclass says what is adapted, with which rates, and which terms join the outer objective.
Shapes: M tasks, E episodes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import PositiveInt, SerializeAsAny
from torch import Tensor

from metarl.estimators.advantages import AdvantageConfig, AdvantageEstimator, Samples
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores, single_threaded, task_chunks
from metarl.learners.advantages import all_samples
from metarl.learners.base import Iteration, LearnerConfig, MetaLearner, Metrics, Setting
from metarl.learners.gradient.inner_loop import InnerConfig, InnerLoop
from metarl.learners.gradient.outer import OuterResult
from metarl.params import Params, all_finite, task_slice, tile
from metarl.policies.acting_module import ActingModule
from metarl.policies.actors import ActionStep, Chooser, Percept
from metarl.policies.networks.tanh_mlp import from_linear_layers
from metarl.policies.normalization import NormalizationConfig, Normalizer
from metarl.policies.policy import MLPPolicyConfig, Policy, make_policy
from metarl.seeding import parameter_generator, value_baseline_seed


class GradientBasedConfig(LearnerConfig):
    """What the configs of gradient-based learners share."""

    inner: SerializeAsAny[InnerConfig]
    advantages: AdvantageConfig = AdvantageConfig()
    normalization: NormalizationConfig = NormalizationConfig()
    task_chunk: PositiveInt = 4
    """Tasks differentiated together: bounds memory, does not change the gradient."""


@dataclass(frozen=True)
class AdaptedParameters:
    """One set of policy parameters per task.

    Attributes:
        params_M: the parameters, shapes (M, ...).
        steps_M: adaptation steps behind them, int64, the same for all.
    """

    params_M: Params
    steps_M: Tensor


class ReactiveActor:
    """Acts on the observation alone, so that acting changes nothing."""

    def __init__(self, choose: Chooser, state: AdaptedParameters, normalizer: Normalizer) -> None:
        self._choose, self._state, self._normalizer = choose, state, normalizer

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        return self._choose(self._normalizer.normalize_obs(seen.obs_MEO), noise_MEN)

    @property
    def state(self) -> AdaptedParameters:
        return self._state


class GradientBasedLearner(MetaLearner[AdaptedParameters]):
    """Adapts policy parameters by gradient steps, for all tasks at once."""

    PolicyConfig = MLPPolicyConfig

    def __init__(
        self, config: GradientBasedConfig, policy: MLPPolicyConfig, setting: Setting
    ) -> None:
        super().__init__(config, policy, setting)
        self._task_chunk, self._inner_config = config.task_chunk, config.inner
        self.normalizer = Normalizer(setting.spec.obs_size, config.normalization, setting.device)
        self.advantages = AdvantageEstimator(config.advantages, value_baseline_seed(setting.seed))
        self.policy = self._make_policy(policy)
        self.inner = self._make_inner(self.policy)
        self._theta: Params = {}
        self.load_meta_parameters(self._initial(parameter_generator(setting.seed)))

    def _make_policy(self, config: MLPPolicyConfig) -> Policy:
        spec = self.spec
        return make_policy(spec.obs_size, spec.action_size, config, spec.num_actions)

    def _make_inner(self, policy: Policy) -> InnerLoop:
        """What a step of the inner loop changes, and how; by default everything."""
        return InnerLoop(policy, self._inner_config)

    def _initial(self, generator: torch.Generator) -> Params:
        """Initial meta-parameters."""
        return self.policy.init(generator)

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> AdaptedParameters:
        return AdaptedParameters(
            self._start(num_tasks), torch.zeros(num_tasks, dtype=torch.int64, device=self.device)
        )

    def _start(self, num_tasks: int) -> Params:
        """Parameters before any adaptation; copies, since products with strided ones are slow."""
        tiled = tile(self._theta, num_tasks)
        return {name: value.contiguous() for name, value in tiled.items()}

    def actor(self, state: AdaptedParameters) -> ReactiveActor:
        return ReactiveActor(self.inner.chooser(state.params_M), state, self.normalizer)

    @property
    def adapted_size(self) -> int:
        params_M = self._start(1)
        return sum(params_M[name].numel() for name in self.inner.rates(params_M, 0))

    def acting_module(self, state: AdaptedParameters) -> ActingModule:
        def step(obs_NO: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
            seen = self.normalizer.obs(obs_NO)
            return self.inner.policy(state.params_M, seen[None]).mode[0], ()

        return ActingModule(step)

    @single_threaded()
    def adapt(self, state: AdaptedParameters, rollouts: Rollouts) -> AdaptedParameters:
        return self._adapt(state, self.samples(rollouts))

    def samples(self, rollouts: Rollouts) -> Samples:
        """Normalised rollouts with their advantages; valid steps only where objectives allow it."""
        samples = all_samples(self.advantages, self.normalizer.rollouts(rollouts.cropped()))
        return samples.packed(rollouts.extent.most) if self.inner.separable else samples

    def _adapt(self, state: AdaptedParameters, samples: Samples) -> AdaptedParameters:
        index = int(state.steps_M[0])

        def step(chunk: slice) -> Params:
            params = task_slice(state.params_M, chunk)
            return self.inner.step(params, samples.task_slice(chunk), index)

        chunks = task_chunks(len(state.steps_M), self._task_chunk, samples.states)
        parts = on_all_cores(step, chunks)
        adapted = {name: torch.cat([part[name] for part in parts]) for name in state.params_M}
        return AdaptedParameters(adapted, state.steps_M + 1)

    # Meta-training

    @property
    @abstractmethod
    def training_steps(self) -> int:
        """Adaptation steps in an iteration of training."""

    @single_threaded()
    def iterate(self, work: Iteration[AdaptedParameters]) -> Metrics:
        states, supports = [self.begin(len(work.keys), self.setting.episodes)], list[Samples]()
        phases = list[Rollouts]()

        def collect(state: AdaptedParameters) -> Rollouts:
            phases.append(work.collect(state))
            return phases[-1]

        for _ in range(self.training_steps):
            supports.append(self.samples(collect(states[-1])))
            states.append(self._adapt(states[-1], supports[-1]))
        result = self._update(states, supports, replace(work, collect=collect))
        assert all_finite(result.theta)
        self._theta = result.theta
        for rollouts in phases:
            self.normalizer.update(rollouts, work.world.sum_over_tasks)
        metrics = dict(result.metrics)
        if supports:
            full_M1 = torch.stack([s.full_baseline_M for s in supports]).mean(0).unsqueeze(1)
            share = work.world.sum_over_tasks(full_M1) / work.meta_batch
            metrics["train/full_baseline"] = float(share)
        if "log_std" in result.theta:
            metrics["train/log_std"] = float(result.theta["log_std"].mean())
        return metrics

    @abstractmethod
    def _update(
        self,
        states: Sequence[AdaptedParameters],
        supports: Sequence[Samples],
        work: Iteration[AdaptedParameters],
    ) -> OuterResult:
        """New meta-parameters.

        Args:
            states: before each adaptation step and after the last.
            supports: what each adaptation step was made from.
            work: collects query rollouts, if the method has any.
        """

    def as_own(self, other: str, weights: Mapping[str, Tensor]) -> Params:
        same = from_linear_layers(weights) if other == "domain_randomization" else weights
        return super().as_own(other, same)

    @property
    def theta(self) -> Params:
        """The meta-parameters without the normaliser's statistics."""
        return dict(self._theta)

    @property
    def meta_parameters(self) -> Params:
        return {**self._theta, **self.normalizer.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self._theta = {
            name: value.detach().to(self.device, self.dtype).clone()
            for name, value in self.normalizer.load(params).items()
        }
