"""RL2: learning to learn in the memory of a recurrent policy.

Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763. The policy sees
(observation, previous action, previous reward, first flag); its hidden state is carried across the
episodes of a trial and starts at zero in every new task. PPO maximises the return of whole
trials, with backpropagation through time cut into pieces of `bptt_steps`. Adaptation costs no
gradient: adaptation step k is the state after k episodes.

Advantages use the linear baseline, fitted per task over whole trials.
Shapes: M tasks, E trials per task, T steps of a trial (its episodes one after the other), N = M E,
F inputs, O observation, A action.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from metarl.errors import ConfigError
from metarl.estimators.advantages import AdvantageConfig, make_batch
from metarl.estimators.value_baselines import require_enough_samples
from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Collect, MetaLearner, Metrics, Spec, phase_metrics
from metarl.learners.memory.trial_ppo import TrialPPO, TrialPPOConfig
from metarl.params import Params
from metarl.policies.actors import ActionStep, RecurrentActor, to_array
from metarl.policies.networks.recurrent import RecurrentNetwork
from metarl.policies.normalization import Normalizer
from metarl.policies.policy import PolicyConfig
from metarl.seeding import parameter_generator

# Fields of rollouts with a step axis
_PER_STEP = ("obs_MEHO", "actions_MEHA", "rewards_MEH", "log_probs_MEH", "valid_MEH")


class RL2Config(TrialPPOConfig):
    """RL2 with PPO; `policy` gives the standard deviation only, its network is not used."""

    name: Literal["rl2"] = "rl2"
    memory: Literal["gru", "lstm"] = "gru"
    hidden_size: PositiveInt = 64
    trial_episodes: PositiveInt = 2
    """Episodes of a trial in training; any number at test time."""
    advantages: AdvantageConfig = AdvantageConfig()


@dataclass(frozen=True)
class Memory:
    """Memory of every trial.

    Attributes:
        parts: hidden state (and an LSTM's cell), arrays of shape (M, E, hidden_size).
        actor: acts and remembers.
    """

    parts: dict[str, np.ndarray]
    actor: RecurrentActor


class RL2(MetaLearner):
    """See the module."""

    Config = RL2Config
    acts_on_rewards = True

    def __init__(
        self,
        config: RL2Config,
        policy_config: PolicyConfig,
        spec: Spec,
        seed: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(config, policy_config, spec, seed, device, dtype)
        length = config.trial_episodes * spec.horizon
        if length % min(config.bptt_steps, length):
            raise ConfigError(
                f"learner.bptt_steps = {config.bptt_steps} does not divide the trial's "
                f"{config.trial_episodes} x {spec.horizon} = {length} steps"
            )
        require_enough_samples(spec.episodes, length, spec.obs_size)
        # torch fills new modules from its global generator before `initialise` does
        with torch.random.fork_rng(devices=[]):
            network = RecurrentNetwork(config.memory, config.hidden_size, policy_config, spec)
        self.network = network.to(device, dtype)
        self.network.initialise(parameter_generator(seed))
        self.normalizer = Normalizer(
            spec.obs_size,
            policy_config.normalize_observations,
            policy_config.normalize_rewards,
            device,
        )
        self._ppo = TrialPPO(self.network, config)

    # Acting and adapting

    def begin(self, num_tasks: int, episodes: int) -> Memory:
        empty = self.network.empty_memory(num_tasks * episodes)
        parts = zip(("hidden", "cell"), empty, strict=False)  # a GRU has no cell
        return Memory(
            {name: to_array(part).reshape(num_tasks, episodes, -1) for name, part in parts},
            self.network.actor(),
        )

    def act(
        self,
        state: Memory,
        obs_MEO: np.ndarray,
        previous_actions_MEA: np.ndarray,
        previous_rewards_ME: np.ndarray,
        first_ME: np.ndarray,
        noise_MEA: np.ndarray | None,
    ) -> tuple[ActionStep, Memory]:
        episodes = obs_MEO.shape[1]
        # acting in other numbers than adapted in goes on from the first trial's memory
        memory = [
            part if part.shape[1] == episodes else np.repeat(part[:, :1], episodes, axis=1)
            for part in state.parts.values()
        ]
        inputs = self._inputs(
            self.normalizer.obs_seen(obs_MEO),
            previous_actions_MEA,
            self.normalizer.reward_seen(previous_rewards_ME),
            first_ME,
        )
        step, memory = state.actor(inputs, memory, noise_MEA)
        return step, replace(state, parts=dict(zip(state.parts, memory, strict=True)))

    def adapt(self, state: Memory, rollouts: Rollouts) -> Memory:
        """The memory already holds the rollouts: acting has put them there."""
        return replace(state)

    def _inputs(
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
        parts = (obs, previous_actions, previous_rewards[..., None], first[..., None])
        return np.concatenate(parts, axis=-1)

    # Meta-training

    def iterate(self, collect: Collect, tasks: Mapping[str, np.ndarray]) -> Metrics:
        state = self.begin(len(next(iter(tasks.values()))), self.spec.episodes)
        episodes = []
        for _ in range(self.config.trial_episodes):
            rollouts, state = collect(state)
            episodes.append(_without_padding(rollouts))
        metrics = phase_metrics(episodes)
        result = self._update([self.normalizer.rollouts(rollouts) for rollouts in episodes])
        for rollouts in episodes:
            self.normalizer.update(rollouts)
        return {**metrics, **result}

    def _update(self, episodes: Sequence[Rollouts]) -> Metrics:
        trial = _concatenate(episodes)
        data = {
            "inputs": torch.cat([self._episode_inputs(rollouts) for rollouts in episodes], dim=2),
            "actions": trial.actions_MEHA,
            "log_probs": trial.log_probs_MEH.unsqueeze(-1),
            "advantages": _advantages(trial, self.config.advantages).unsqueeze(-1),
            "valid": trial.valid_MEH.unsqueeze(-1).to(self.dtype),
        }
        # time first, all trials in one batch: (T, N, ...)
        return self._ppo.update({n: v.flatten(0, 1).transpose(0, 1) for n, v in data.items()})

    def _episode_inputs(self, rollouts: Rollouts) -> Tensor:
        """Inputs of an episode, previous action and reward shifted by exactly one step."""
        actions, rewards = (
            np.roll(to_array(values), 1, axis=2)
            for values in (rollouts.actions_MEHA, rollouts.rewards_MEH)
        )
        actions[:, :, 0] = rewards[:, :, 0] = 0.0
        first = np.zeros(rewards.shape, bool)
        first[:, :, 0] = True
        inputs = self._inputs(to_array(rollouts.obs_MEHO), actions, rewards, first)
        return torch.as_tensor(inputs, device=self.device)

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        parameters = {name: value.detach() for name, value in self.network.named_parameters()}
        return {**parameters, **self.normalizer.state()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        rest = self.normalizer.load(params)
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(rest[name])

    def training_state(self) -> Params:
        return self._ppo.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self._ppo.load_state(state)


def _without_padding(rollouts: Rollouts) -> Rollouts:
    """The steps that were really taken: acting stops when the last episode has ended."""
    taken = int(rollouts.valid_MEH.any(0).any(0).sum())
    taken = max(taken + int(bool(rollouts.diverged_ME.any())), 1)
    return replace(rollouts, **{name: getattr(rollouts, name)[:, :, :taken] for name in _PER_STEP})


def _concatenate(episodes: Sequence[Rollouts]) -> Rollouts:
    """The episodes of each trial one after the other along the step axis."""
    joined = {name: torch.cat([getattr(e, name) for e in episodes], dim=2) for name in _PER_STEP}
    return replace(episodes[-1], **joined)


def _advantages(trial: Rollouts, config: AdvantageConfig) -> Tensor:
    """Advantages over the whole trial; steps after an episode's early end are left out."""
    if trial.valid_MEH.all():
        return make_batch(trial, config).advantages_MEH
    order = (~trial.valid_MEH).to(torch.int8).argsort(dim=-1, stable=True)

    def packed(values: Tensor) -> Tensor:
        index = order.view(*order.shape, *[1] * (values.dim() - 3)).expand_as(values)
        return values.gather(2, index)

    dense = replace(trial, **{name: packed(getattr(trial, name)) for name in _PER_STEP})
    advantages = make_batch(dense, config).advantages_MEH
    return torch.zeros_like(advantages).scatter(2, order, advantages)
