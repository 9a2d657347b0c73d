"""PEARL: an off-policy actor-critic that acts on a sampled belief about the task.

Rakelly et al. 2019, arXiv 1903.08254. An encoder maps every transition of a task to a Gaussian
factor; their product is the posterior over the task's latent z. An episode acts on one z, drawn
from the posterior before it. Soft actor-critic learns from replay, the encoder from the critics'
error and the KL to the prior.

Unlike the reference: two slow critics in place of a value network; policy and critics take their
steps from the same parameters; no first collection
on all tasks; the KL is a mean over tasks, unless `kl_reduction: reference`.
Shapes: M tasks, E episodes, N transitions, B rows, O observation, A action, L latent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from metarl.errors import ConfigError
from metarl.interaction.replay import TaskReplay
from metarl.interaction.rollouts import Rollouts, Transitions
from metarl.interaction.threads import single_threaded, task_chunks
from metarl.learners.base import Iteration, MetaLearner, Metrics, Setting, World
from metarl.learners.inference.belief import LatentBelief, kl_to_standard_normal
from metarl.learners.inference.latent_actor import LatentActor
from metarl.learners.inference.pearl_config import PEARLConfig, PEARLPolicyConfig
from metarl.learners.inference.soft_actor_critic import SoftActorCritic
from metarl.learners.together import keys_of_all, of_all
from metarl.learners.training_reward import with_training_reward
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, one_row, unflatten
from metarl.policies.acting_module import ActingModule
from metarl.policies.networks.relu_mlp import ArrayMLP, relu_mlp
from metarl.policies.squashed import ActionRange, require_widths
from metarl.seeding import learning_generator, parameter_generator

_ENCODER_BOUND, _LEAST_VARIANCE = 3e-3, 1e-7
_TASKS_TOGETHER = 8
_LARGEST_GRADIENT = 1e15  # a larger one would make Adam's second moments infinite
_SLOW, _STEPS = "slow.", "gradient_steps"


class PEARL(MetaLearner[LatentBelief]):
    """Infers a latent, and acts on samples of it."""

    Config = PEARLConfig
    PolicyConfig = PEARLPolicyConfig
    needs_fixed_tasks = True
    adapts_after_each_episode = True

    def __init__(self, config: PEARLConfig, policy: PEARLPolicyConfig, setting: Setting) -> None:
        super().__init__(config, policy, setting)
        spec, self.config = setting.spec, config
        if spec.num_actions:
            raise ConfigError("learner pearl needs real-valued actions, these are discrete")
        require_widths(spec)
        generator = parameter_generator(setting.seed)
        inputs = spec.obs_size * (1 + config.next_obs_in_context) + spec.action_size + 1
        sizes = (inputs, *config.encoder_sizes, 2 * config.latent_size)
        self.encoder = relu_mlp(sizes, _ENCODER_BOUND, generator)
        self.sac = SoftActorCritic(
            spec,
            config.latent_size,
            policy.hidden_sizes,
            config.discount,
            config.reward_scale,
            generator,
        )
        self.networks = nn.ModuleDict({"encoder": self.encoder, "sac": self.sac})
        self.networks.to(setting.device, setting.dtype)
        zero = torch.zeros(1, dtype=setting.dtype, device=setting.device)
        self._range, self._zero = ActionRange(spec, zero), zero
        self._optimizer = torch.optim.Adam([*self._learned().values()], lr=config.learning_rate)
        self.replay, self.context = TaskReplay(config.replay_size), TaskReplay(config.replay_size)
        self._gradient_steps, self._env_steps = 0, 0
        self._acting: ArrayMLP | None = None

    def _learned(self) -> Params:
        return {n: v for n, v in self.networks.named_parameters() if v.requires_grad}

    # Acting and adapting

    @property
    def noise_size(self) -> int:
        return self.spec.noise_size + self.config.latent_size

    def begin(self, num_tasks: int, episodes: int) -> LatentBelief:
        return LatentBelief.prior(num_tasks, self.config.latent_size, self._zero)

    def actor(self, state: LatentBelief) -> LatentActor:
        if self._acting is None:
            self._acting = ArrayMLP(self.sac.policy)
        return LatentActor(self._acting, ActionRange(self.spec, self._zero.cpu()), state)

    def acting_module(self, state: LatentBelief) -> ActingModule:
        mean_ML, _ = state.moments()

        def step(obs_NO: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
            latents_NL = mean_ML.expand(obs_NO.shape[0], -1)
            outputs = self.sac.policy(torch.cat([obs_NO, latents_NL], dim=-1))
            means = outputs.chunk(2, dim=-1)[0]
            return self._range.middle_A + self._range.half_A * torch.tanh(means), ()

        return ActingModule(step)

    def adapt(self, state: LatentBelief, rollouts: Rollouts) -> LatentBelief:
        flat = [
            values.flatten(1, 2)
            for values in (
                rollouts.obs_MEHO,
                self._range.to_unit(rollouts.actions_MEHA),
                rollouts.rewards_MEH,
                rollouts.next_obs_MEHO,
                rollouts.terminated_MEH,
            )
        ]
        with torch.no_grad():  # task by task: products of other sizes would differ in the last bit
            tasks = range(len(rollouts.valid_MEH))
            each = [self.factors(Transitions(*(v[i : i + 1] for v in flat))) for i in tasks]
        mean_MNL, variance_MNL = (torch.cat(parts) for parts in zip(*each, strict=True))
        return state.with_factors(mean_MNL, variance_MNL, rollouts.valid_MEH.flatten(1))

    def factors(self, rows: Transitions) -> tuple[Tensor, Tensor]:
        """Mean and variance of each transition's factor: shapes (M, N, L)."""
        parts = [rows.obs_NO, rows.actions_NA, rows.rewards_N.unsqueeze(-1)]
        if self.config.next_obs_in_context:
            parts.append(rows.next_obs_NO)
        mean, raw = self.encoder(torch.cat(parts, -1)).chunk(2, dim=-1)
        # softplus, which itself rounds the ends of arrays otherwise
        return mean, (-nn.functional.logsigmoid(-raw)).clamp(min=_LEAST_VARIANCE)

    @property
    def adapted_size(self) -> int:
        return self.config.latent_size

    # Meta-training

    @single_threaded()
    def iterate(self, work: Iteration[LatentBelief]) -> Metrics:
        state = self.begin(len(work.keys), self.setting.episodes)
        collected = [work.collect(state)]
        for _ in range(self.config.posterior_collections):
            state = self.adapt(state, collected[-1])
            collected.append(work.collect(state))
        self._keep([of_all(rollouts, work.world) for rollouts in collected], work)
        generator = learning_generator(self.setting.seed, work.index)
        steps = [
            self._gradient_step(generator, work.world) for _ in range(self.config.gradient_steps)
        ]
        self._acting = None
        kept = [step for step in steps if np.isfinite(step).all()]
        reason = "non-finite gradient" if self.replay.keys else "no transition with finite numbers"
        losses = np.mean(kept, axis=0) if kept else np.full(3, np.nan)
        names = ("train/critic_loss", "train/policy_loss", "train/kl")
        return {
            **dict(zip(names, losses.tolist(), strict=True)),
            "train/replay_ratio": self._gradient_steps / max(1, self._env_steps),
            "train/skipped_updates": float(len(steps) - len(kept)),
            "train/rejected_because": "" if kept else reason,
        }

    def _keep(self, collected: Sequence[Rollouts], work: Iteration[LatentBelief]) -> None:
        """Take what all processes lived through into replay; every process has all of it."""
        keys = keys_of_all(work.keys, work.world)
        self.context.clear(keys)
        for rollouts in collected if self.config.posterior_in_context else collected[:1]:
            self.context.add(keys, self._in_units(rollouts))
        for rollouts in collected:
            self.replay.add(keys, self._in_units(self._learned_from(rollouts)))
            self._env_steps += rollouts.num_steps

    def _in_units(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts with actions between -1 and 1, as all networks see them."""
        return replace(rollouts, actions_MEHA=self._range.to_unit(rollouts.actions_MEHA))

    def _learned_from(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts with the rewards that actor and critics see."""
        return with_training_reward(rollouts) if self.config.training_reward else rollouts

    def _gradient_step(self, generator: torch.Generator, world: World) -> list[float]:
        """One step of all networks; returns critic loss, policy loss and KL."""
        config, known = self.config, sorted({*self.replay.keys} & {*self.context.keys})
        if not known:
            return [float("nan")] * 3
        order = torch.randperm(len(known), generator=generator, device="cpu")
        keys = [known[index] for index in order[: config.gradient_tasks].tolist()]
        rows = self.replay.sample(keys, config.batch_size, generator)
        context = self.context.sample(keys, config.context_size, generator)
        shape = (len(keys), config.batch_size, self.spec.action_size)
        noise = [self._noise(generator, *shape) for _ in range(2)]
        latent_noise = self._noise(generator, len(keys), config.latent_size)

        def differentiate(chunk: slice) -> Tensor:
            drawn, seen = (Transitions(*(v[chunk] for v in part)) for part in (rows, context))
            own = [values[chunk] for values in (latent_noise, *noise)]
            return self.gradient(drawn, seen, own[0], own[1], own[2])

        chunks = task_chunks(len(keys), _TASKS_TOGETHER)
        summed = world.total(differentiate, chunks) / len(keys)
        if not summed.isfinite().all() or summed[:-3].abs().max() > _LARGEST_GRADIENT:
            return [float("nan")] * 3
        parameters = self._learned()
        for name, gradient in unflatten(summed[:-3], parameters).items():
            parameters[name].grad = gradient
        self._optimizer.step()
        self.sac.follow(config.target_rate)
        self._gradient_steps += 1
        found: list[float] = summed[-3:].tolist()
        return found

    def _noise(self, generator: torch.Generator, *shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, device="cpu", dtype=torch.float32)
        return drawn.to(self._zero)

    def gradient(
        self,
        rows: Transitions,
        context: Transitions,
        latent_noise_ML: Tensor,
        next_noise_MBA: Tensor,
        noise_MBA: Tensor,
    ) -> Tensor:
        """Gradient of the losses, summed over tasks, and behind it the three losses, as one row."""
        config, (count, size) = self.config, rows.rewards_N.shape
        valid = torch.ones_like(context.rewards_N)
        prior = self.begin(count, 1)
        mean_ML, variance_ML = prior.with_factors(*self.factors(context), valid).moments()
        latents_ML = mean_ML + variance_ML.sqrt() * latent_noise_ML
        latents_MBL = latents_ML.unsqueeze(1).expand(-1, size, -1)
        kl = kl_to_standard_normal(mean_ML, variance_ML).sum()
        weight = config.kl_weight
        if config.kl_reduction == "reference":
            weight *= config.gradient_tasks
        target_MB = self.sac.target(rows, latents_MBL, next_noise_MBA)
        critic = self.sac.critic_loss(rows, latents_MBL, target_MB) / size
        policy = self.sac.policy_loss(rows, latents_MBL, noise_MBA) / size
        learned = self._learned()
        of_policy = [name for name in learned if name.startswith("sac.policy.")]
        others = [name for name in learned if name not in of_policy]
        found: Params = {}
        for loss, names in ((policy, of_policy), (critic + weight * kl, others)):
            gradients = torch.autograd.grad(loss, [learned[name] for name in names])
            found |= dict(zip(names, gradients, strict=True))
        return one_row([found[name] for name in learned], critic, policy, kl)

    # Parameters

    @property
    def meta_parameters(self) -> Params:
        return {name: value.detach() for name, value in self._learned().items()}

    def load_meta_parameters(self, params: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._learned().items():
                value.copy_(params[name])
        self._acting = None

    def training_state(self) -> Params:
        slow = {f"{_SLOW}{name}": value for name, value in self.sac.slow_state().items()}
        counts = {_STEPS: torch.tensor([self._gradient_steps, self._env_steps])}
        return {**optimizer_tensors(self._optimizer), **slow, **counts}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        slow = {n.removeprefix(_SLOW): v for n, v in state.items() if n.startswith(_SLOW)}
        self.sac.targets.load_state_dict(slow)
        self._gradient_steps, self._env_steps = state[_STEPS].tolist()
        moments = {n: v for n, v in state.items() if not n.startswith(_SLOW) and n != _STEPS}
        load_optimizer(self._optimizer, moments)

    def buffers(self) -> Params:
        return {**self.replay.tensors("replay"), **self.context.tensors("context")}

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        sizes = {"obs_NO": self.spec.obs_size, "actions_NA": self.spec.action_size}
        sizes["next_obs_NO"] = self.spec.obs_size
        for name, values in buffers.items():
            size = sizes.get(name.rpartition(".")[2])
            if values.shape[1:] != (() if size is None else (size,)):
                raise ValueError(f"{name} is not of this environment")
        self.replay.load("replay", buffers, self.device)
        self.context.load("context", buffers, self.device)
