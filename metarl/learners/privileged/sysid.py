"""System identification, then a policy that is told the task.

Meta-training is the first phase of RMA: an encoder z = mu(e) of the task's numbers and a policy
pi(o, z), trained together by PPO. At test time the first steps of an episode are explained by
simulating candidate tasks (see `identification`), and the policy is told the estimate; before that,
the mean task of training, or what the episode before gave. It needs no reward, but a simulator that
is right in all but the task, and starts from what the first observation shows.

A run of `rma` has all that this learner trains: `start_from` takes it over.

Shapes: M tasks, E episodes, K steps, O observation, A action, P numbers of a task, L latent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from metarl.errors import ConfigError
from metarl.estimators.advantages import AdvantageConfig, AdvantageEstimator
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import single_threaded
from metarl.learners.advantages import single_steps
from metarl.learners.base import Iteration, MetaLearner, Metrics, Setting
from metarl.learners.clipped_ppo import ClippedPPOConfig
from metarl.learners.privileged.identification import Identification, Lived, SearchConfig
from metarl.learners.privileged.told_network import ToldNetwork, ToldPPO
from metarl.learners.privileged.told_tasks import ToldTasks, numbers_of
from metarl.learners.together import of_all
from metarl.params import Params, load_parameters, parameters_of, sum_of_rows
from metarl.policies.acting_module import ActingModule
from metarl.policies.actors import ActionStep, Percept
from metarl.policies.arrays import ROWS, of_each, to_array, to_tensor, whole_rows
from metarl.policies.networks.belief_head import BeliefPolicyConfig
from metarl.policies.networks.relu_mlp import ArrayMLP
from metarl.policies.normalization import NormalizationConfig, Normalizer
from metarl.seeding import learning_generator, value_baseline_seed

_FOREVER = 2**62  # steps


class SysIdConfig(ClippedPPOConfig):
    """System identification, then a policy that is told the task."""

    name: Literal["sysid"] = "sysid"
    advantages: AdvantageConfig = AdvantageConfig()
    normalization: NormalizationConfig = NormalizationConfig()
    latent_size: PositiveInt = 8
    """Numbers that stand for the task, each within -1 and 1."""
    encoder_sizes: tuple[PositiveInt, ...] = (64,)
    """Hidden layers of the encoder of told tasks."""
    search: SearchConfig = SearchConfig()


@dataclass(frozen=True)
class Estimate:
    """What is believed of every robot's task, and seen since its episode began.

    Attributes:
        task_MEP: numbers of the task, float64.
        obs_MEKO: the first observations of the episode, one more than actions.
        actions_MEKA: and actions.
        count_ME: observations so far; negative for robots whose task is known.
    """

    task_MEP: Tensor
    obs_MEKO: Tensor
    actions_MEKA: Tensor
    count_ME: Tensor

    def spread(self, episodes: int) -> "Estimate":
        """For another number of episodes: episode e goes on from e modulo E."""
        index = torch.arange(episodes, device=self.task_MEP.device) % self.task_MEP.shape[1]
        return Estimate(*(getattr(self, name)[:, index] for name in self.__dataclass_fields__))


class IdentifyingActor:
    """Acts on the estimate, and makes it once enough was seen."""

    def __init__(self, learner: "SysId", state: Estimate) -> None:
        self._learner, self._state = learner, state
        self._policy, self._choose = learner.network.policy.on_arrays(), learner.network.choice()
        self._latents: np.ndarray | None = None

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        learner, shape = self._learner, seen.first_ME.shape
        state = self._state
        if state.task_MEP.shape[1] != shape[1]:
            state = state.spread(shape[1])
        known = state.task_MEP
        self._state = state = learner.noted(state, seen)
        if self._latents is None or state.task_MEP is not known:
            self._latents = learner.told(state.task_MEP)
        obs_MEO = learner.normalizer.normalize_obs(seen.obs_MEO)
        latents = whole_rows(self._latents)
        outputs_MEJ = of_each(lambda rows: self._policy(latents, rows), obs_MEO)
        return self._choose(outputs_MEJ, noise_MEN)

    @property
    def state(self) -> Estimate:
        return self._state


class SysId(MetaLearner[Estimate]):
    """Identifies the task by simulation, and acts on what it found."""

    Config = SysIdConfig
    PolicyConfig = BeliefPolicyConfig
    task_parts = frozenset({"encoder", "told"})
    known_as = MappingProxyType({"distillation": {"head.policy.": "teacher."}})
    pools_episodes = False

    def __init__(self, config: SysIdConfig, policy: BeliefPolicyConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        if not setting.spec.task_size:
            raise ConfigError("learner.name=sysid is told tasks, and here there are none")
        if setting.spec.num_actions:
            raise ConfigError("learner.name=sysid takes actions that are vectors")
        self.config = config
        network = ToldNetwork(config.encoder_sizes, config.latent_size, policy, setting)
        self.network = network.to(setting.device, setting.dtype)
        self.normalizer = Normalizer(setting.spec.obs_size, config.normalization, setting.device)
        self.told_tasks = ToldTasks(setting.spec.task_size, setting.device)
        self._advantages = AdvantageEstimator(config.advantages, value_baseline_seed(setting.seed))
        self.ppo = ToldPPO(self.network, config)

    @cached_property
    def identification(self) -> Identification:
        """The search, in the environment of training.

        Raises:
            UserError: if the learner does not know it, or it cannot start from an observation.
        """
        if self.trained_on is None:
            raise ConfigError("learner.name=sysid needs its environment: load it from a checkpoint")
        return Identification(self.config.search, self.trained_on.env)

    def require_fit(self) -> None:
        steps, trained = self.identification.config.steps, self.trained_on
        if trained is not None and steps >= trained.horizon:
            raise ConfigError(
                f"learner.search.steps = {steps} must be less than horizon = {trained.horizon}: "
                "the estimate would never come into force"
            )

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> Estimate:
        mean_MEP = self.told_tasks.mean.expand(num_tasks, episodes, -1)
        return self._fresh(mean_MEP)

    def _fresh(self, task_MEP: Tensor) -> Estimate:
        """Before an episode of which nothing has been seen."""
        shape, steps = task_MEP.shape[:2], self.config.search.steps
        numbers = {"dtype": self.dtype, "device": self.device}
        return Estimate(
            task_MEP,
            torch.zeros((*shape, steps + 1, self.spec.obs_size), **numbers),  # type: ignore[call-overload]
            torch.zeros((*shape, steps, self.spec.action_size), **numbers),  # type: ignore[call-overload]
            torch.zeros(shape, dtype=torch.int64, device=self.device),
        )

    def known(self, task_MP: Tensor, episodes: int = 1) -> Estimate:
        """The state of those that are told their task, and have nothing to identify."""
        state = self._fresh(task_MP.unsqueeze(1).expand(-1, episodes, -1))
        return replace(state, count_ME=state.count_ME - _FOREVER)

    def actor(self, state: Estimate) -> IdentifyingActor:
        return IdentifyingActor(self, state)

    def told(self, task_MEP: Tensor) -> np.ndarray:
        """Latents of tasks, a row for each robot, whatever their number: shape (M E, L)."""
        scaled = self.told_tasks.scaled(task_MEP.flatten(0, 1), self.dtype)
        encode, rows = ArrayMLP(self.network.encoder), whole_rows(to_array(scaled))
        # products of so few numbers round by how many rows there are
        blocks = [np.tanh(encode(block)) for block in np.split(rows, len(rows) // ROWS)]
        return np.concatenate(blocks)[: len(scaled)]

    def noted(self, state: Estimate, seen: Percept) -> Estimate:
        """After another observation; with estimates where it was the last that they need."""
        steps = self.config.search.steps
        begins_ME = to_tensor(seen.first_ME, self.device) & (state.count_ME >= 0)
        count_ME = torch.where(begins_ME, 0, state.count_ME)
        m, e = torch.where((count_ME >= 0) & (count_ME <= steps))
        if not len(m):
            return replace(state, count_ME=count_ME + 1)
        obs, actions = state.obs_MEKO.clone(), state.actions_MEKA.clone()
        obs[m, e, count_ME[m, e]] = to_tensor(seen.obs_MEO.copy(), self.device)[m, e]
        m, e = torch.where((count_ME > 0) & (count_ME <= steps))
        previous_MEA = to_tensor(seen.previous_actions_MEA.copy(), self.device)
        actions[m, e, count_ME[m, e] - 1] = previous_MEA[m, e]
        due_ME = count_ME == steps
        after = Estimate(state.task_MEP, obs, actions, count_ME + 1)
        return self._identified(after, due_ME) if due_ME.any() else after

    def _identified(self, state: Estimate, due_ME: Tensor) -> Estimate:
        """With new estimates for some robots."""
        lived = Lived(*(to_array(v[due_ME]) for v in (state.obs_MEKO, state.actions_MEKA)))
        found = self.identification.estimates(to_array(state.task_MEP[due_ME]), lived)
        task_MEP = state.task_MEP.clone()
        task_MEP[due_ME] = to_tensor(found, self.device)
        return replace(state, task_MEP=task_MEP)

    def adapt(self, state: Estimate, rollouts: Rollouts) -> Estimate:
        acted = rollouts.acted
        if acted is not None and acted.first_state is state:
            assert isinstance(acted.final_state, Estimate)
            return self._fresh(acted.final_state.task_MEP)
        steps, lengths_ME = self.config.search.steps, rollouts.lengths_ME
        before = state.spread(lengths_ME.shape[1])
        # an actor is shown the observation after these steps only if the episode goes on
        due_ME = lengths_ME > steps
        if not due_ME.any():
            return self._fresh(before.task_MEP)
        obs, actions = rollouts.obs_MEHO[:, :, : steps + 1], rollouts.actions_MEHA[:, :, :steps]
        lived = Estimate(before.task_MEP, obs, actions, lengths_ME)
        return self._fresh(self._identified(lived, due_ME).task_MEP)

    def acting_module(self, state: Estimate) -> ActingModule:
        told_1L = to_tensor(self.told(state.task_MEP[:1, :1]), self.device)

        def step(obs_NO: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
            told_NL = told_1L + torch.zeros_like(obs_NO[:, :1])  # of however many rows
            outputs = self.network.policy(told_NL, self.normalizer.obs(obs_NO))
            return self.network.distribution(outputs).mode, ()

        return ActingModule(step)

    @property
    def adapted_size(self) -> int:
        return self.spec.task_size

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Estimate]) -> Metrics:
        world = work.world
        all_MP = world.gather(numbers_of(work.tasks, self.device))
        self.told_tasks.take_in(all_MP)
        known = self.known(all_MP[world.share(len(all_MP))], self.setting.episodes)
        rollouts = of_all(work.collect(known), world)
        told = {"told": self.told_tasks.scaled(all_MP, self.dtype)}
        normalized = self.normalizer.rollouts(rollouts.cropped())
        data = single_steps(self._advantages, normalized, told)
        generator = learning_generator(self.setting.seed, work.index)
        metrics = self.ppo.improve(data, generator, world)
        self.normalizer.update(rollouts, sum_of_rows)
        return metrics

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return {
            **parameters_of(self.network),
            **self.normalizer.state(),
            **self.told_tasks.state(),
        }

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        load_parameters(self.network, self.normalizer.load(self.told_tasks.load(params)))

    def training_state(self) -> Params:
        return self.ppo.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(state)
