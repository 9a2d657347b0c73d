"""Learners whose memory is what they adapt: acting, adapting and whole trials.

The policy sees (observation, previous action, previous reward, first flag); its hidden state is
carried across the episodes of a trial and starts at zero in every new task. Adaptation costs no
gradient: adaptation step k is the memory of k episodes. What happens after an episode's end leaves
no trace in it.

Advantages use the linear baseline, fitted per task over whole trials.
Shapes: M tasks, E trials per task, H steps of an episode, T steps of a trial (the valid steps of
its episodes one after the other), N = M E, F inputs, O observation, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from metarl.estimators.advantages import AdvantageEstimator
from metarl.interaction.rollouts import Rollouts, in_order, valid_first
from metarl.interaction.threads import arithmetic_threads
from metarl.learners.advantages import all_samples
from metarl.learners.base import Iteration, MetaLearner, Setting
from metarl.learners.memory.config import InputName, MemoryConfig
from metarl.learners.memory.state import Memory
from metarl.learners.together import of_all
from metarl.learners.training_reward import with_training_reward
from metarl.params import Params, load_parameters, parameters_of, sum_of_rows
from metarl.policies.acting_module import ActingModule
from metarl.policies.actors import ActionStep, Actor, Percept
from metarl.policies.arrays import to_array, to_tensor, whole_rows
from metarl.policies.networks.heads import Head
from metarl.policies.networks.memory_core import MemoryCore, memory_after
from metarl.policies.networks.memory_network import MemoryChooser, MemoryNetwork
from metarl.policies.normalization import Normalizer
from metarl.policies.policy import ActionNoiseConfig
from metarl.seeding import parameter_generator, value_baseline_seed

T = TypeVar("T")
_GUIDE = "guide"
# Fields of rollouts with a step axis
_PER_STEP = ("obs_MEHO", "actions_MEHA", "rewards_MEH", "log_probs_MEH", "valid_MEH")


class RememberingActor:
    """Acts and remembers.

    Attributes:
        weights: stands for the learner and the weights it acts with; another object for others.
    """

    def __init__(
        self, learner: "MemoryLearner", choose: MemoryChooser, state: Memory, weights: object
    ) -> None:
        self._learner, self._choose, self._state = learner, choose, state
        self._memory: list[np.ndarray] | None = None
        self._shape: tuple[int, ...] = ()
        self.weights = weights

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        if self._memory is None:
            parts = self._state.spread(seen.obs_MEO.shape[1]).parts
            rows = [to_array(part.flatten(0, 1)) for part in parts.values()]
            self._memory = [whole_rows(part.copy()) for part in rows]
            self._shape = seen.first_ME.shape
        normalizer = self._learner.normalizer
        inputs_MEF = self._learner.inputs(
            normalizer.normalize_obs(seen.obs_MEO),
            seen.previous_actions_MEA,
            normalizer.normalize_reward(seen.previous_rewards_ME),
            seen.first_ME,
        )
        step, self._memory = self._choose(inputs_MEF, self._memory, noise_MEN)
        return step

    @property
    def state(self) -> Memory:
        if self._memory is None:
            return self._state
        count, device = int(np.prod(self._shape)), self._learner.device
        own = [part[:count].reshape(*self._shape, *part.shape[1:]) for part in self._memory]
        parts = zip(self._state.parts, own, strict=True)
        return Memory({name: to_tensor(part.copy(), device) for name, part in parts})


class MemoryLearner(MetaLearner[Memory]):
    """Acts from a memory, and adapts it by living on.

    Args:
        config: see there.
        policy: keys of the policy.
        setting: what it is built for.
        core: what remembers.
        head: from the memory to the outputs of the policy.
    """

    pools_episodes = False

    def __init__(
        self,
        config: MemoryConfig,
        policy: ActionNoiseConfig,
        setting: Setting,
        core: MemoryCore,
        head: Head,
    ) -> None:
        super().__init__(config, policy, setting)
        self._sees, self.acts_on_rewards = config.sees, config.sees("reward")
        network = MemoryNetwork(core, head, policy, setting.spec)
        self.network = network.to(setting.device, setting.dtype)
        self.network.initialise(parameter_generator(setting.seed))
        self.normalizer = Normalizer(setting.spec.obs_size, config.normalization, setting.device)
        self._advantages = AdvantageEstimator(config.advantages, value_baseline_seed(setting.seed))
        self._trial_episodes, self._weights = config.trial_episodes, object()
        self._training_reward = config.training_reward

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> Memory:
        return self._memory(self.network.core.empty(num_tasks * episodes), num_tasks)

    def _memory(self, parts: Sequence[Tensor], num_tasks: int) -> Memory:
        names = zip(self.network.core.parts, parts, strict=True)
        return Memory({name: part.unflatten(0, (num_tasks, -1)) for name, part in names})

    def actor(self, state: Memory) -> Actor[Memory]:
        return RememberingActor(self, self.network.chooser(), state, self._weights)

    @property
    def adapted_size(self) -> int:
        return sum(part[0].numel() for part in self.network.core.empty(1))

    def acting_module(self, state: Memory) -> ActingModule:
        parts = {name: part[0, :1] for name, part in state.parts.items()}

        def step(
            obs_NO: Tensor, actions_NA: Tensor, *rest: Tensor
        ) -> tuple[Tensor, Sequence[Tensor]]:
            rewards_N1, first_N1, *memory = rest if self.acts_on_rewards else (rest[0], *rest)
            if self.spec.num_actions:
                chosen = actions_NA[:, 0].long()
                actions_NA = nn.functional.one_hot(chosen, self.spec.num_actions)
            # whatever stands there: zero times what is not a number would be none either
            actions_NA, rewards_N1 = (
                torch.where(first_N1 > 0, 0.0, v.to(obs_NO)) for v in (actions_NA, rewards_N1)
            )
            obs = self.normalizer.obs(obs_NO)
            told = self._seen(obs, actions_NA, self.normalizer.reward(rewards_N1))
            inputs_1NF = torch.cat([*told, first_N1], dim=-1)[None]
            hidden, after = self.network.core.run(inputs_1NF, memory)
            outputs = self.network.head(hidden[0], obs)
            return self.network.distribution(outputs).mode, after

        return ActingModule(step, parts, self.acts_on_rewards)

    def adapt(self, state: Memory, rollouts: Rollouts) -> Memory:
        acted = rollouts.acted
        if acted is not None and acted.first_state is state and self._made(acted.actor):
            assert isinstance(acted.final_state, Memory)
            return acted.final_state
        num_tasks, episodes = rollouts.lengths_ME.shape
        start = state.spread(episodes).parts.values()
        inputs_NHF = self.episode_inputs(self.normalizer.rollouts(rollouts)).flatten(0, 1)
        with arithmetic_threads(1):
            after = memory_after(
                self.network.core.on_arrays(),
                to_array(inputs_NHF),
                [to_array(part.flatten(0, 1)) for part in start],
                to_array(rollouts.lengths_ME.flatten()),
            )
        return self._memory([to_tensor(part, self.device) for part in after], num_tasks)

    def _made(self, actor: object) -> bool:
        """Whether an actor acts with this learner's weights as they are."""
        return isinstance(actor, RememberingActor) and actor.weights is self._weights

    def inputs(
        self,
        obs: np.ndarray,
        previous_actions: np.ndarray,
        previous_rewards: np.ndarray,
        first: np.ndarray,
    ) -> np.ndarray:
        """The policy's inputs, over any leading axes: shape (..., F)."""
        if self.spec.num_actions:
            chosen = np.eye(self.spec.num_actions, dtype=obs.dtype)
            previous_actions = chosen[previous_actions[..., 0].astype(int)] * ~first[..., None]
        seen = self._seen(obs, previous_actions, previous_rewards[..., None])
        return np.concatenate([*seen, first[..., None]], axis=-1)

    def _seen(self, obs: T, previous_actions: T, previous_rewards: T) -> list[T]:
        """What the memory is told of a step, of this."""
        told: list[tuple[InputName, T]] = [
            ("observation", obs),
            ("action", previous_actions),
            ("reward", previous_rewards),
        ]
        return [values for name, values in told if self._sees(name)]

    # Meta-training

    def collect_trials(
        self, work: Iteration[Memory], state: Memory | None = None
    ) -> list[Rollouts]:
        """The episodes of whole trials of all processes' tasks, as the environment gave them.

        From the state before any experience, unless another one is given.
        """
        if state is None:
            state = self.begin(len(work.keys), self.setting.episodes)
        episodes = list[Rollouts]()
        for _ in range(self._trial_episodes):
            episodes.append(work.collect(state))
            state = self.adapt(state, episodes[-1])
        return [of_all(rollouts, work.world) for rollouts in episodes]

    def learned(self, episodes: Sequence[Rollouts]) -> None:
        """Note that the weights are others now, and update the statistics of normalisation."""
        for rollouts in episodes:
            self.normalizer.update(rollouts, sum_of_rows)
        self._weights = object()

    def joined(
        self, episodes: Sequence[Rollouts], beside: Mapping[str, Sequence[Tensor]] | None = None
    ) -> Rollouts:
        """Trials as episodes of T steps, the valid ones first.

        Its extras are the policy's "inputs", shape (M, E, T, F), and what lies `beside`, one tensor
        (M, E, H, ...) for each episode.
        """
        parts = {"inputs": [self.episode_inputs(e) for e in episodes], **(beside or {})}
        if self._training_reward:
            parts[_GUIDE] = [with_training_reward(e).rewards_MEH for e in episodes]
        extras = {name: torch.cat([*tensors], dim=2) for name, tensors in parts.items()}
        fields = {n: torch.cat([getattr(e, n) for e in episodes], dim=2) for n in _PER_STEP}
        if not fields["valid_MEH"].all():
            longest = int(fields["valid_MEH"].sum(-1).max())
            order = valid_first(fields["valid_MEH"], longest)
            extras = {name: in_order(values, order) for name, values in extras.items()}
            fields = {name: in_order(values, order) for name, values in fields.items()}
        return replace(episodes[-1], extras=extras, **fields)  # type: ignore[arg-type]

    def trial(self, joined: Rollouts) -> dict[str, Tensor]:
        """What PPO needs of whole trials, time first: shapes (T, N, ...)."""
        rewards_MEH = joined.extras.get(_GUIDE, joined.rewards_MEH)
        learned_from = replace(joined, rewards_MEH=rewards_MEH, extras={})
        samples = all_samples(self._advantages, learned_from)
        data = {
            "inputs": joined.extras["inputs"],
            "actions": samples.actions_MEHA,
            "log_probs": samples.log_probs_MEH.unsqueeze(-1),
            "advantages": samples.advantages_MEH.unsqueeze(-1),
            "valid": joined.valid_MEH.unsqueeze(-1).to(self.dtype),
        }
        return {name: time_first(values) for name, values in data.items()}

    def episode_inputs(self, rollouts: Rollouts) -> Tensor:
        """Inputs of an episode, previous action and reward shifted by exactly one step."""
        actions, rewards = (
            np.roll(to_array(values), 1, axis=2)
            for values in (rollouts.actions_MEHA, rollouts.rewards_MEH)
        )
        actions[:, :, 0] = rewards[:, :, 0] = 0.0
        first = np.zeros(rewards.shape, bool)
        first[:, :, 0] = True
        inputs = self.inputs(to_array(rollouts.obs_MEHO), actions, rewards, first)
        return to_tensor(inputs, self.device)

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return {**parameters_of(self.network), **self.normalizer.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        load_parameters(self.network, self.normalizer.load(params))
        self._weights = object()


def time_first(values_MET: Tensor) -> Tensor:
    """(M, E, T, ...) as (T, N, ...)."""
    return values_MET.flatten(0, 1).transpose(0, 1)
