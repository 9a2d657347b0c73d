"""Domain randomisation: one policy over all tasks, trained by PPO, which never adapts.

Tobin et al. 2017, arXiv 1703.06907: what adaptation has to beat on a robot. With
`env.observe_task` it is told the task, at test time too: the oracle that adaptation is measured by.

Shapes: M tasks, E episodes, T steps of an episode, N = M E, O observation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from metarl.estimators.advantages import AdvantageConfig, AdvantageEstimator
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import single_threaded
from metarl.learners.advantages import single_steps
from metarl.learners.base import Iteration, MetaLearner, Metrics, Setting
from metarl.learners.clipped_ppo import ClippedPPO
from metarl.learners.mirroring import MirroringConfig, mirrored_too
from metarl.learners.together import of_all
from metarl.params import Params, load_parameters, parameters_of, sum_of_rows
from metarl.policies.acting_module import ActingModule
from metarl.policies.actors import ActionStep, Percept
from metarl.policies.arrays import of_each
from metarl.policies.distributions import Distribution
from metarl.policies.networks.belief_head import TanhHead
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.normalization import NormalizationConfig, Normalizer
from metarl.policies.policy import ActionNoiseConfig
from metarl.seeding import learning_generator, parameter_generator, value_baseline_seed


class DomainRandomizationConfig(MirroringConfig):
    """One policy over all tasks, by PPO."""

    name: Literal["domain_randomization"] = "domain_randomization"
    advantages: AdvantageConfig = AdvantageConfig()
    normalization: NormalizationConfig = NormalizationConfig()


class PlainPolicyConfig(ActionNoiseConfig):
    """A tanh network on the observation."""

    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Of the tanh network."""


@dataclass(frozen=True)
class Unadapted:
    """Nothing that a task would change.

    Attributes:
        tasks_M: zeros, one per task.
    """

    tasks_M: Tensor


class PlainNetwork(ActionOutputs):
    """The policy's network."""

    def __init__(self, policy: PlainPolicyConfig, setting: Setting) -> None:
        spec = setting.spec
        super().__init__(policy, spec)
        self.head = TanhHead((spec.obs_size, *policy.hidden_sizes, spec.noise_size))

    def forward(self, obs: Tensor) -> Tensor:
        """Outputs at observations (..., O)."""
        outputs: Tensor = self.head(obs[..., :0], obs)
        return outputs


class PlainPPO(ClippedPPO):
    """PPO of a policy on single steps."""

    module: PlainNetwork

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        return self.module.distribution(self.module(data["obs"]))


class PlainActor:
    """Acts on the observation alone."""

    def __init__(self, learner: "DomainRandomization", state: Unadapted) -> None:
        self._normalizer, self._state = learner.normalizer, state
        self._head, self._choose = learner.network.head.on_arrays(), learner.network.choice()

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        obs_MEO = self._normalizer.normalize_obs(seen.obs_MEO)
        outputs_MEJ = of_each(lambda rows: self._head(rows[:, :0], rows), obs_MEO)
        return self._choose(outputs_MEJ, noise_MEN)

    @property
    def state(self) -> Unadapted:
        return self._state


class DomainRandomization(MetaLearner[Unadapted]):
    """Improves the mean return over tasks, and stays as it is in each."""

    Config = DomainRandomizationConfig
    PolicyConfig = PlainPolicyConfig

    def __init__(
        self, config: DomainRandomizationConfig, policy: PlainPolicyConfig, setting: Setting
    ) -> None:
        super().__init__(config, policy, setting)
        self.needs_mirror = config.mirror
        self.network = PlainNetwork(policy, setting).to(setting.device, setting.dtype)
        self.network.head.initialise(parameter_generator(setting.seed))
        self.normalizer = Normalizer(setting.spec.obs_size, config.normalization, setting.device)
        self._advantages = AdvantageEstimator(config.advantages, value_baseline_seed(setting.seed))
        self.ppo = PlainPPO(self.network, config)

    # Acting

    def begin(self, num_tasks: int, episodes: int) -> Unadapted:
        return Unadapted(torch.zeros(num_tasks, device=self.device))

    def actor(self, state: Unadapted) -> PlainActor:
        return PlainActor(self, state)

    def adapt(self, state: Unadapted, rollouts: Rollouts) -> Unadapted:
        return state

    @property
    def adapted_size(self) -> int:
        return 0

    def acting_module(self, state: Unadapted) -> ActingModule:
        return ActingModule(
            lambda obs_NO: (
                self.network.distribution(self.network(self.normalizer.obs(obs_NO))).mode,
                (),
            )
        )

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Unadapted]) -> Metrics:
        state = self.begin(len(work.keys), self.setting.episodes)
        rollouts = mirrored_too(of_all(work.collect(state), work.world), work.mirror)
        steps = single_steps(self._advantages, self.normalizer.rollouts(rollouts.cropped()))
        generator = learning_generator(self.setting.seed, work.index)
        metrics = self.ppo.improve(steps, generator, work.world)
        self.normalizer.update(rollouts, sum_of_rows)
        return metrics

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return {**parameters_of(self.network), **self.normalizer.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        load_parameters(self.network, self.normalizer.load(params))

    def training_state(self) -> Params:
        return self.ppo.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(state)
