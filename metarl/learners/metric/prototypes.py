"""Prototypes: a new task takes its policy from the training tasks that lie near it.

An encoder places tasks by their transitions (`embedding`), and a library keeps for each training
task where it lies and a context, the task's own part of the policy pi(a | s, context). A new task
explores in support episodes, with noise alone, and then acts with the combination of contexts
whose weights are softmax(-d / tau) of its distances to the library. In training a task
has to do without its own entry (where another is known), so that what is trained is what a new
task does: PPO improves the policy and the contexts of a task's neighbours; the encoder learns to
tell support episodes of different tasks apart (Snell et al. 2017, arXiv 1703.05175).

Shapes: M tasks, E episodes, H steps, K tasks of the library, D embedding and context, X numbers of
a transition.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from metarl.errors import ConfigError
from metarl.estimators.advantages import AdvantageConfig, AdvantageEstimator
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import single_threaded
from metarl.learners.advantages import all_samples
from metarl.learners.base import Iteration, MetaLearner, Metrics, Setting
from metarl.learners.clipped_ppo import ClippedPPO, ClippedPPOConfig, with_steps
from metarl.learners.metric.context_policy import ContextActor, ContextPolicy, Placed
from metarl.learners.metric.embedding import Distance, TransitionEncoder, distances, mean_of
from metarl.learners.metric.encoder_training import ENCODER_NORM, EncoderTraining
from metarl.learners.metric.library import TaskLibrary
from metarl.learners.metric.support_memory import SupportMemory
from metarl.learners.together import keys_of_all, of_all
from metarl.params import Params, detach, prefixed, without_prefix
from metarl.policies.acting_module import ActingModule
from metarl.policies.distributions import Distribution
from metarl.policies.networks.belief_head import TanhHead
from metarl.policies.policy import ActionNoiseConfig
from metarl.seeding import learning_generator, parameter_generator, value_baseline_seed

_PPO, _POLICY, _ENCODER = "ppo.", "policy.", "encoder."
_LEARNING_DISTANCES = 1  # key of its stream of random numbers


class PrototypesConfig(ClippedPPOConfig):
    """Prototypes."""

    name: Literal["prototypes"] = "prototypes"
    embedding_size: PositiveInt = 8
    """Numbers of an embedding and of a context."""
    encoder_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Hidden layers of the encoder."""
    distance: Distance = "euclidean"
    """Of mean embeddings."""
    temperature: PositiveFloat = 1.0
    """tau: distances over it weigh the library; over 1 they tell episodes apart in training."""
    support_episodes: PositiveInt = 1
    """Episodes from which a task of training takes its context."""
    encoder_steps: PositiveInt = 5
    """Gradient steps of the encoder per iteration."""
    encoder_learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    kept_steps: PositiveInt = 128
    """Transitions kept of each task, by which it is placed anew whenever the encoder changes."""
    embedded_steps: PositiveInt = 32
    """Steps of each episode that such a gradient step embeds."""
    advantages: AdvantageConfig = AdvantageConfig()


class PrototypesPolicyConfig(ActionNoiseConfig):
    """The policy on (observation, context)."""

    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Of the tanh network."""


class ContextPPO(ClippedPPO):
    """PPO of policy and contexts; each step is a piece of its own.

    Attributes:
        weights_MK: of the library's contexts in each "task" of the data, held fixed.
    """

    def __init__(self, policy: ContextPolicy, config: PrototypesConfig) -> None:
        super().__init__(policy, config)
        self._policy = policy
        self.weights_MK = torch.zeros(0)

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        contexts_MD = self._policy.library.contexts(self.weights_MK)
        contexts = contexts_MD[data["task"].squeeze(-1).long()]
        return self._policy.distribution(self._policy.head(contexts, data["obs"]))


class Prototypes(MetaLearner[Placed]):
    """Compares a task with those it knows."""

    Config = PrototypesConfig
    PolicyConfig = PrototypesPolicyConfig
    needs_fixed_tasks = True

    def __init__(
        self, config: PrototypesConfig, policy: PrototypesPolicyConfig, setting: Setting
    ) -> None:
        super().__init__(config, policy, setting)
        if config.support_episodes > setting.episodes:
            raise ConfigError(
                f"learner.support_episodes = {config.support_episodes} must not exceed episodes = "
                f"{setting.episodes}"
            )
        generator, spec = parameter_generator(setting.seed), setting.spec
        self.config = config
        self.encoder = TransitionEncoder(
            spec, config.encoder_sizes, config.embedding_size, generator
        ).to(setting.device, setting.dtype)
        library = TaskLibrary(
            setting.num_tasks or 1,
            config.embedding_size,
            config.distance,
            config.temperature,
            generator,
        )
        head = TanhHead(
            (spec.obs_size + config.embedding_size, *policy.hidden_sizes, spec.noise_size)
        )
        head.initialise(generator)
        network = ContextPolicy(head, library, policy, spec)
        self.network = network.to(setting.device, setting.dtype)
        self._advantages = AdvantageEstimator(config.advantages, value_baseline_seed(setting.seed))
        self.ppo = ContextPPO(self.network, config)
        self.memory = SupportMemory(setting.num_tasks or 1, config.kept_steps)
        self.training = EncoderTraining(
            self.encoder,
            config.encoder_learning_rate,
            config.embedded_steps,
            config.distance,
        )

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> Placed:
        library = self.network.library
        sums_MD = torch.zeros_like(library.prototypes_KD[:1]).expand(num_tasks, -1)
        return Placed(sums_MD, sums_MD.new_zeros(num_tasks), contexts_MD=sums_MD)

    def actor(self, state: Placed) -> ContextActor:
        return ContextActor(self.network, state)

    def acting_module(self, state: Placed) -> ActingModule:
        def step(obs_NO: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
            contexts_ND = state.contexts_MD.expand(obs_NO.shape[0], -1)
            outputs_NJ = self.network.head(contexts_ND, obs_NO)
            known_NJ = state.known_M.unsqueeze(-1).expand_as(outputs_NJ)
            return self.network.distribution(outputs_NJ.masked_fill(~known_NJ, 0.0)).mode, ()

        return ActingModule(step)

    def adapt(self, state: Placed, rollouts: Rollouts) -> Placed:
        # task by task: products of other sizes would differ in their last bits
        tasks = [slice(index, index + 1) for index in range(len(state.counts_M))]
        each = [self._adapted(state.of_tasks(t), rollouts.task_slice(t)) for t in tasks]
        return Placed.concatenate(each)

    def _adapted(self, state: Placed, rollouts: Rollouts) -> Placed:
        sums_MD, counts_M = self.place(rollouts)
        # distances are between what one policy lived through: once it has changed, they stand
        lived_M = state.known_M
        counts_M = torch.where(lived_M, state.counts_M, counts_M)
        sums_MD = torch.where(lived_M.unsqueeze(-1), state.sums_MD, sums_MD)
        library = self.network.library
        contexts_MD = library.contexts(library.weights(mean_of(sums_MD, counts_M))).detach()
        lived_M1 = (counts_M > 0).unsqueeze(-1)
        return Placed(sums_MD, counts_M, torch.where(lived_M1, contexts_MD, state.contexts_MD))

    @torch.no_grad()
    def place(self, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
        """Sum of embeddings (M, D) and number (M,) of valid transitions with finite numbers."""
        transitions = self.encoder.transitions(rollouts)
        valid_MEH = rollouts.valid_MEH & transitions.isfinite().all(-1)
        transitions = transitions.masked_fill(~valid_MEH.unsqueeze(-1), 0.0)
        sums_MED = self.encoder.sums(transitions, valid_MEH)
        return sums_MED.sum(1), valid_MEH.sum((1, 2)).to(self.dtype)

    def distances_of(self, rollouts: Rollouts) -> Tensor:
        """Of all pairs of tasks that support rollouts belong to: shape (M, M)."""
        means_MD = mean_of(*self.place(rollouts)).double()
        return distances(means_MD, means_MD, self.config.distance)

    @property
    def adapted_size(self) -> int:
        return self.config.embedding_size

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Placed]) -> Metrics:
        world, keys = work.world, keys_of_all(work.keys, work.world)
        own = self.begin(len(work.keys), self.setting.episodes)
        first = of_all(work.collect(own), world)
        if work.index == 0:
            self.encoder.standardise(first)
        supported = first.map(lambda values: values[:, : self.config.support_episodes])
        library, placed = self.network.library, self.place(supported)
        weights_MK = library.weights(mean_of(*placed), without=keys)
        everyone = Placed(*placed, library.contexts(weights_MK).detach())
        second = of_all(work.collect(everyone.of_tasks(world.share(len(keys)))), world)
        self.ppo.weights_MK = weights_MK
        seed, index = self.setting.seed, work.index
        generator = learning_generator(seed, index)
        metrics = self.ppo.improve(self.ppo_data(second, everyone), generator, world)
        generator = learning_generator(seed, index, _LEARNING_DISTANCES)
        steps = [self.training.step(first, generator) for _ in range(self.config.encoder_steps)]
        metrics = with_steps(metrics, steps, ENCODER_NORM)
        self.memory.keep(keys, self.encoder.transitions(first), first.valid_MEH, generator)
        library.place(*self.memory.placed(self.encoder))
        return metrics

    def ppo_data(self, rollouts: Rollouts, state: Placed) -> dict[str, Tensor]:
        """What PPO needs, every step a piece of its own: shapes (1, N, ...).

        Tasks that no support step has placed explored on, which is nothing to learn from.
        """
        samples = all_samples(self._advantages, rollouts)
        valid_MEH = rollouts.valid_MEH & state.known_M[:, None, None]
        idle_MEH = ~valid_MEH
        tasks_M11 = torch.arange(len(valid_MEH), device=self.device)[:, None, None]
        data = {
            "obs": samples.obs_MEHO.masked_fill(idle_MEH.unsqueeze(-1), 0.0),
            "task": tasks_M11.expand_as(valid_MEH).unsqueeze(-1),
            "actions": samples.actions_MEHA,
            "log_probs": samples.log_probs_MEH.unsqueeze(-1),
            "advantages": samples.advantages_MEH.masked_fill(idle_MEH, 0.0).unsqueeze(-1),
            "valid": valid_MEH.unsqueeze(-1).to(self.dtype),
        }
        return {name: values.flatten(0, 2).unsqueeze(0) for name, values in data.items()}

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        values = prefixed({_POLICY: self.network.state_dict(), _ENCODER: self.encoder.state_dict()})
        return detach(values)

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(without_prefix(params, _POLICY))
        self.encoder.load_state_dict(without_prefix(params, _ENCODER))

    def training_state(self) -> Params:
        return prefixed({_PPO: self.ppo.state(), _ENCODER: self.training.state()})

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(without_prefix(state, _PPO))
        self.training.load_state(without_prefix(state, _ENCODER))

    def buffers(self) -> Params:
        return self.memory.tensors()

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        self.memory.load(buffers, len(self.encoder.shift_X), self.device)
