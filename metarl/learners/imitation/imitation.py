"""One-shot imitation: MAML whose inner and outer losses are behaviour cloning.

Finn et al. 2017, arXiv 1709.04905: theta is learned so that a few gradient steps on *one*
demonstration of a new task give a policy that does as the expert does in another one.

    phi_i = theta, stepped down the cloning loss of one demonstration of task i
    theta <- Adam on mean_i of the cloning loss of phi_i on another demonstration of task i

No environment step is taken in training; those of the demonstrations are counted. The context of
the reference (its bias transformation) is a few adapted inputs beside the observation.
Shapes: M tasks, E episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import single_threaded, task_chunks
from metarl.learners.base import Iteration, LearnerConfig, MetaLearner, Metrics, Setting
from metarl.learners.gradient.base import AdaptedParameters, ReactiveActor
from metarl.learners.gradient.outer import Adam, AdamConfig
from metarl.learners.imitation.cloning import (
    AdaptationStep,
    CloningLoss,
    CloningObjective,
    Shown,
    cloning_loss,
    cloning_update,
    gradient_step,
    require_loss,
)
from metarl.params import Params, all_finite, detach, tile
from metarl.policies.acting_module import ActingModule
from metarl.policies.normalization import NormalizationConfig, Normalizer
from metarl.policies.policy import CONTEXT, ContextPolicy, MLPPolicyConfig, make_policy
from metarl.seeding import learning_generator, parameter_generator


class CloningStepsConfig(ConfigModel):
    """Gradient steps that one adaptation takes."""

    steps: PositiveInt = 1
    """Gradient steps on the demonstration."""
    step_size: PositiveFloat = 0.1
    """Of each."""
    first_order: bool = False
    """Ignore the second derivative of the loss in the meta-gradient."""


class ImitationConfig(LearnerConfig):
    """One-shot imitation."""

    name: Literal["imitation"] = "imitation"
    loss: CloningLoss = "mean_squared_error"
    """Of behaviour cloning: squared errors of the mean, or minus the log-likelihood."""
    inner: CloningStepsConfig = CloningStepsConfig()
    outer: AdamConfig = AdamConfig()
    context_size: NonNegativeInt = 0
    """Inputs of the policy beside the observation that are adapted like its weights."""
    support_demonstrations: PositiveInt = 1
    """Episodes of a task that adaptation learns from in training; others are imitated after it."""
    updates: PositiveInt = 20
    """Meta-updates per iteration, each on other demonstrations of its tasks."""
    task_chunk: PositiveInt = 10
    """Tasks differentiated together: bounds memory, does not change the gradient."""


class Imitation(MetaLearner[AdaptedParameters]):
    """Adapts to a demonstration by gradient steps on what the expert did.

    Raises:
        ConfigError: if the loss is not one of these actions.
    """

    Config = ImitationConfig
    PolicyConfig = MLPPolicyConfig
    needs_demonstrations = True
    adapts_to_demonstrations = True

    def __init__(self, config: ImitationConfig, policy: MLPPolicyConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        require_loss(config.loss, setting.spec)
        spec, size = setting.spec, setting.spec.obs_size + config.context_size
        network = make_policy(size, spec.action_size, policy, spec.num_actions)
        self.policy = ContextPolicy(network) if config.context_size else network
        self.config, self._outer = config, Adam(config.outer, updates=config.updates)
        self.fewest_demonstrations = config.support_demonstrations + 1
        self._normalizer = Normalizer(spec.obs_size, NormalizationConfig(), setting.device)
        start = self.policy.init(parameter_generator(setting.seed))
        if config.context_size:
            start[CONTEXT] = torch.zeros(config.context_size, device="cpu")
        self._theta: Params = {}
        self.load_meta_parameters(start)

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> AdaptedParameters:
        params_M = {n: v.contiguous() for n, v in tile(self._theta, num_tasks).items()}
        steps_M = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)
        return AdaptedParameters(params_M, steps_M)

    def actor(self, state: AdaptedParameters) -> ReactiveActor:
        return ReactiveActor(self.policy.chooser(state.params_M), state, self._normalizer)

    @property
    def adapted_size(self) -> int:
        return sum(value.numel() for value in self._theta.values())

    def acting_module(self, state: AdaptedParameters) -> ActingModule:
        return ActingModule(lambda obs_NO: (self.policy(state.params_M, obs_NO[None]).mode[0], ()))

    @single_threaded()
    def adapt(self, state: AdaptedParameters, rollouts: Rollouts) -> AdaptedParameters:
        params_M = detach(state.params_M, requires_grad=True)
        whole = slice(0, len(state.steps_M))
        with torch.enable_grad():
            for step in self._steps(self._shown(rollouts), first_order=True):
                params_M = detach(step(params_M, whole), requires_grad=True)
        return AdaptedParameters(detach(params_M), state.steps_M + 1)

    def _shown(self, rollouts: Rollouts) -> Shown:
        return Shown.of_rollouts(rollouts, self.device, self.dtype)

    def _steps(self, support: Shown, first_order: bool) -> Sequence[AdaptationStep]:
        def step(params_M: Params, tasks: slice) -> Params:
            shown = support.of_tasks(tasks)
            losses_M = cloning_loss(self.policy(params_M, shown.obs_MNO), shown, self.config.loss)
            return gradient_step(params_M, losses_M, self.config.inner.step_size, first_order)

        return [step] * self.config.inner.steps

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[AdaptedParameters]) -> Metrics:
        assert work.demonstrations is not None
        demonstrations = work.demonstrations
        have, support = demonstrations.episodes, self.config.support_demonstrations
        generator = learning_generator(self.setting.seed, work.index)
        metrics: Metrics = {}
        for _ in range(self.config.updates):
            order = torch.randperm(have, generator=generator, device="cpu").tolist()
            given = self._shown(demonstrations.of_episodes(order[:support]).rollouts)
            asked = self._shown(demonstrations.of_episodes(order[support:]).rollouts)
            metrics = self._update(given, asked, work)
        return metrics

    def _update(self, support: Shown, query: Shown, work: Iteration[AdaptedParameters]) -> Metrics:
        objective = CloningObjective(
            self.policy,
            self._steps(support, self.config.inner.first_order),
            query,
            self.config.loss,
            self._theta,
            task_chunks(len(work.keys), self.config.task_chunk),
            work.world,
            work.meta_batch,
        )
        result = cloning_update(self._outer, objective, self._theta)
        assert all_finite(result.theta)
        self._theta = result.theta
        return result.metrics

    @property
    def outer_rate(self) -> float:
        """The learning rate of the next meta-update."""
        return self._outer.rate()

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return dict(self._theta)

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self._theta = {
            name: value.detach().to(self.device, self.dtype).clone()
            for name, value in params.items()
        }

    def training_state(self) -> Params:
        return self._outer.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self._outer.load_state(state)
