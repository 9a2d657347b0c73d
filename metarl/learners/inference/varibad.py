"""VariBAD: a policy that sees its belief about the task.

Zintgraf et al. 2020, arXiv 1910.08348. A recurrent encoder turns the trial so far into a Gaussian
belief over a latent, trained as a variational autoencoder (`belief_vae`). The policy sees the
observation and the belief's mean and log-variance; PPO trains it, and no gradient of PPO reaches
the encoder. Adaptation is the memory of the encoder, as in RL2.

Unlike the reference: advantages from the linear baseline of the other learners in place of a
trained critic; the first step of an episode is told by a flag; the encoder sees the observation
as it is, without embeddings; backpropagation goes through the whole trial.
Shapes: M tasks, E trials per task, T steps of a trial, N = M E, L latent.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from metarl.interaction.rollouts import Rollouts
from metarl.interaction.threads import on_all_cores, single_threaded
from metarl.interaction.trial_buffer import TrialBuffer
from metarl.learners.base import Iteration, Metrics, Setting
from metarl.learners.clipped_ppo import SLICES, ClippedPPO, with_steps
from metarl.learners.inference.belief_vae import (
    BELIEF_NORM,
    BeliefVAE,
    BeliefVAEConfig,
    TaskDecoder,
)
from metarl.learners.memory.base import MemoryLearner, time_first
from metarl.learners.memory.config import MemoryConfig
from metarl.learners.memory.state import Memory
from metarl.params import Params, load_parameters, parameters_of, prefixed, without_prefix
from metarl.policies.distributions import Distribution
from metarl.policies.networks.belief_head import BeliefHead, BeliefPolicyConfig
from metarl.policies.networks.memory_network import MemoryNetwork
from metarl.seeding import learning_generator, parameter_generator
from metarl_envs.memory import require_memory

_DECODER, _PPO, _VAE, _TRIALS = "decoder.", "ppo.", "vae.", "trials"
_COPIES = 8  # of a weight: its gradient, two moments, and what making it takes
_LEARNING_THE_BELIEF = 1  # key of its stream of random numbers


class VariBADConfig(MemoryConfig):
    """VariBAD."""

    name: Literal["varibad"] = "varibad"
    latent_size: PositiveInt = 5
    """Numbers of the task's latent variable."""
    belief: BeliefVAEConfig = Field(default_factory=BeliefVAEConfig)


def require_latent_memory(config: VariBADConfig) -> None:
    """Refuse latents whose layers, with gradients and moments, this machine cannot hold.

    Raises:
        MemoryNeedError: with the estimate.
    """
    beside = (2 * config.hidden_size, *config.belief.decoder_sizes[:1])
    numbers = config.latent_size * sum(beside)
    require_memory(f"networks of latent size {config.latent_size}", 4 * _COPIES * numbers)


class BeliefPPO(ClippedPPO):
    """PPO of the policy on (observation, belief); each step is a piece of its own.

    Args:
        network: whose policy is trained.
        head: its head.
        config: see there.
    """

    def __init__(self, network: MemoryNetwork, head: BeliefHead, config: VariBADConfig) -> None:
        trained = nn.ModuleDict({"policy": head.policy})
        if hasattr(network, "log_std"):
            trained.register_parameter("log_std", network.log_std)
        super().__init__(trained, config)
        self._network, self._policy = network, head.policy

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        return self._network.distribution(self._policy(data["beliefs"], data["obs"]))


class VariBAD(MemoryLearner):
    """Infers a belief, and acts on it."""

    Config = VariBADConfig
    PolicyConfig = BeliefPolicyConfig

    def __init__(self, config: VariBADConfig, policy: BeliefPolicyConfig, setting: Setting) -> None:
        require_latent_memory(config)
        core, own = config.core(setting), policy.head(2 * config.latent_size, setting.spec)
        head = BeliefHead(core.output_size, config.latent_size, own)
        super().__init__(config, policy, setting, core, head)
        self.head, self._latent_size = head, config.latent_size
        generator = parameter_generator(setting.seed)
        decoder = TaskDecoder(config.belief, config.latent_size, setting.spec, generator)
        self.decoder = decoder.to(setting.device, setting.dtype)
        self.ppo = BeliefPPO(self.network, head, config)
        self.vae = BeliefVAE(self.network, head, self.decoder, config.belief)
        self.buffer = TrialBuffer(config.belief.buffer_trials)

    @property
    def adapted_size(self) -> int:
        return self._latent_size

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[Memory]) -> Metrics:
        episodes = self.collect_trials(work)
        joined = self.joined([self.normalizer.rollouts(rollouts) for rollouts in episodes])
        seed, index = self.setting.seed, work.index
        metrics = self.ppo.improve(
            self.ppo_data(joined), learning_generator(seed, index), work.world
        )
        raw = {"next_obs": [rollouts.next_obs_MEHO for rollouts in episodes]}
        self.buffer.add(self.whole_trials(self.joined(episodes, raw)))
        generator = learning_generator(seed, index, _LEARNING_THE_BELIEF)
        steps = list[Metrics]()
        for _ in range(self.vae.config.steps):
            trials = self.buffer.sample(self.vae.config.batch_trials, generator)
            steps.append(self.vae.update(self.seen(trials), generator, work.world))
        metrics = with_steps(metrics, steps, BELIEF_NORM)
        self.learned(episodes)
        return metrics

    def ppo_data(self, joined: Rollouts) -> dict[str, Tensor]:
        """What PPO needs, every step of every trial a piece of one step: shapes (1, T N, ...)."""
        data = self.trial(joined)
        inputs_TNF = data.pop("inputs")
        data["obs"] = inputs_TNF[..., : self.spec.obs_size]
        data["beliefs"] = self.beliefs(inputs_TNF)
        return {name: values.flatten(0, 1).unsqueeze(0) for name, values in data.items()}

    def beliefs(self, inputs_TNF: Tensor) -> Tensor:
        """Mean and log-variance at every step, as acting had them: shape (T, N, 2 L)."""

        def of_rows(rows: Tensor) -> Tensor:
            with torch.no_grad():
                return self.head.belief(self.network.core.whole(inputs_TNF[:, rows]))

        rows = torch.arange(inputs_TNF.shape[1], device=inputs_TNF.device)
        return torch.cat(on_all_cores(of_rows, rows.tensor_split(min(SLICES, len(rows)))), dim=1)

    def whole_trials(self, joined: Rollouts) -> Params:
        """What the belief is learned from: shapes (T, N, ...); zeros after a trial's end."""
        actions = joined.actions_MEHA
        if self.spec.num_actions:
            actions = nn.functional.one_hot(actions[..., 0].long(), self.spec.num_actions)
        trials = {
            "inputs": joined.extras["inputs"],
            "obs": joined.obs_MEHO,
            "actions": actions.to(self.dtype),
            "rewards": joined.rewards_MEH.unsqueeze(-1),
            "next_obs": joined.extras["next_obs"],
        }
        valid_MET1 = joined.valid_MEH.unsqueeze(-1)
        trials = {name: values.masked_fill(~valid_MET1, 0.0) for name, values in trials.items()}
        # a trial with a number that is not finite would spoil each step that draws it
        sound_ME = torch.stack([v.isfinite().flatten(2).all(-1) for v in trials.values()]).all(0)
        kept_MET1 = valid_MET1 & sound_ME[..., None, None]
        trials = {name: values.masked_fill(~kept_MET1, 0.0) for name, values in trials.items()}
        trials["valid"] = kept_MET1.to(self.dtype)
        return {name: time_first(values) for name, values in trials.items()}

    def seen(self, trials: Params) -> Params:
        """Trials as the environment gave them, normalised by what is known now."""
        obs, reward, inputs = self.normalizer.obs, self.normalizer.reward, trials["inputs"]
        size = self.spec.obs_size
        parts = (obs(inputs[..., :size]), inputs[..., size:-2], reward(inputs[..., -2:-1]))
        return {
            **trials,
            "inputs": torch.cat([*parts, inputs[..., -1:]], dim=-1),
            "obs": obs(trials["obs"]),
            "next_obs": obs(trials["next_obs"]),
            "rewards": reward(trials["rewards"]),
        }

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return {**super().meta_parameters, **prefixed({_DECODER: parameters_of(self.decoder)})}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        super().load_meta_parameters(params)
        load_parameters(self.decoder, without_prefix(params, _DECODER))

    def training_state(self) -> Params:
        return prefixed({_PPO: self.ppo.state(), _VAE: self.vae.state()})

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.ppo.load_state(without_prefix(state, _PPO))
        self.vae.load_state(without_prefix(state, _VAE))

    def buffers(self) -> Params:
        return self.buffer.tensors(_TRIALS)

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        sizes = {
            "inputs": self.network.core.input_size,
            "obs": self.spec.obs_size,
            "actions": self.spec.num_actions or self.spec.action_size,
            "rewards": 1,
            "next_obs": self.spec.obs_size,
            "valid": 1,
        }
        self.buffer.load(_TRIALS, buffers, sizes, self.device)
