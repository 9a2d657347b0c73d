"""Two learners of kinds that the library does not have yet, as small as they can be.

They show what the interface carries: an off-policy learner with a latent task variable, and a
planner that acts by optimisation. Everything they need is in this file.

Shapes: M tasks, E episodes, L latents, O observation, A action, N transitions, F features.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metarl.config_model import ConfigModel
from metarl.learners.base import LearnerConfig, MetaLearner
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.policies.actors import ActionStep
from metarl.policies.arrays import to_array, to_tensor
from metarl.seeding import learning_generator, parameter_generator


class NoPolicyConfig(ConfigModel):
    """There is nothing to choose."""


@dataclass(frozen=True)
class Posterior:
    """Evidence on a task's latent variable: a sum over transitions, and their number."""

    sum_ML: Tensor
    count_M: Tensor
    z_MEL: Tensor | None = None  # drawn where the episode under way began

    @property
    def mean_ML(self):
        return self.sum_ML / (1.0 + self.count_M.unsqueeze(-1))

    @property
    def std_M1(self):
        return (1.0 + self.count_M.unsqueeze(-1)).rsqrt()


class LatentActor:
    """Draws z where an episode begins, from the sampler's noise, and keeps it."""

    def __init__(self, weights, posterior):
        self._posterior = posterior
        self._z = None if posterior.z_MEL is None else to_array(posterior.z_MEL)
        self._weights = {name: to_array(value) for name, value in weights.items()}
        self._mean, self._std = (
            to_array(t)[:, None] for t in (posterior.mean_ML, posterior.std_M1)
        )

    @property
    def state(self):
        return replace(self._posterior, z_MEL=None if self._z is None else to_tensor(self._z))

    def act(self, seen, noise_MEN):
        latents = self._mean.shape[-1]
        shape = (*seen.obs_MEO.shape[:2], latents)
        drawn = np.broadcast_to(self._mean, shape)
        if noise_MEN is not None:
            drawn = drawn + self._std * noise_MEN[..., :latents]
        self._z = drawn if self._z is None else np.where(seen.first_ME[..., None], drawn, self._z)
        z = self._z = self._z.astype(seen.obs_MEO.dtype)
        actions = np.tanh(seen.obs_MEO @ self._weights["of_obs"] + z @ self._weights["of_z"])
        if noise_MEN is not None:
            actions = actions + 0.1 * noise_MEN[..., latents:]
        return ActionStep(actions, extras={"latents": z})


class LatentConfig(LearnerConfig):
    name: Literal["latent"] = "latent"
    latent_size: int = 2
    batch_size: int = 16


class Latent(MetaLearner[Posterior]):
    """Replay by task key; z enters actions and a model of rewards, which is what it learns."""

    Config, PolicyConfig = LatentConfig, NoPolicyConfig

    def __init__(self, config, policy, setting):
        super().__init__(config, policy, setting)
        size, spec, g = config.latent_size, setting.spec, parameter_generator(setting.seed)
        inputs = spec.obs_size + spec.action_size
        shapes = {
            "of_obs": (spec.obs_size, spec.action_size),
            "of_z": (size, spec.action_size),
            "encoder": (inputs + 1, size),
            "rewards": (inputs + size, 1),
        }
        self._weights = {n: 0.3 * torch.randn(*s, generator=g) for n, s in shapes.items()}
        self._size, self._batch_size = size, config.batch_size
        self._optimizer = torch.optim.Adam(self._weights.values(), lr=0.01)
        self.replay = {}  # by task key: observations, actions and rewards, (N, O + A + 1)

    @property
    def noise_size(self):
        return self._size + self.spec.action_size

    def begin(self, num_tasks, episodes):
        return Posterior(torch.zeros(num_tasks, self._size), torch.zeros(num_tasks))

    def actor(self, state):
        return LatentActor(self._weights, state)

    adapted_size = property(lambda self: 0)

    def adapt(self, state, rollouts):
        evidence = [self._rows(rollouts, task) for task in range(len(state.count_M))]
        sums = [(rows @ self._weights["encoder"]).detach().sum(0) for rows in evidence]
        counts = torch.tensor([float(len(rows)) for rows in evidence])
        return Posterior(state.sum_ML + torch.stack(sums), state.count_M + counts)

    def _rows(self, rollouts, task):
        own = rollouts.transitions(task)
        return torch.cat([own.obs_NO, own.actions_NA, own.rewards_N.unsqueeze(-1)], dim=1)

    def iterate(self, work):
        state = self.begin(len(work.keys), self.setting.episodes)
        rollouts = work.collect(state)
        for task, key in enumerate(work.keys):
            rows, before = self._rows(rollouts, task), self.replay.get(key)
            self.replay[key] = rows if before is None else torch.cat([before, rows])
        shares, names = [], list(self._weights)
        for key in work.keys:
            generator = learning_generator(self.setting.seed, work.index, key)
            chosen = torch.randint(len(self.replay[key]), (self._batch_size,), generator=generator)
            loss = self._loss(self.replay[key][chosen])
            grads = torch.autograd.grad(
                loss, list(self._weights.values()), materialize_grads=True, allow_unused=True
            )
            shares.append(torch.cat([g.reshape(-1) for g in (*grads, loss.detach())]))
        total = work.world.sum_over_tasks(torch.stack(shares)) / work.meta_batch
        start = 0
        for name in names:
            count = self._weights[name].numel()
            part = total[start : start + count].float()
            self._weights[name].grad = part.view_as(self._weights[name])
            start += count
        self._optimizer.step()
        return {"train/loss": float(total[-1])}

    def _loss(self, rows):
        for value in self._weights.values():
            value.requires_grad_()
        z = (rows @ self._weights["encoder"]).mean(0).expand(len(rows), -1)
        predicted = torch.cat([rows[:, :-1], z], dim=1) @ self._weights["rewards"]
        return (predicted.squeeze(-1) - rows[:, -1]).square().mean()

    @property
    def meta_parameters(self):
        return {name: value.detach() for name, value in self._weights.items()}

    def load_meta_parameters(self, params):
        with torch.no_grad():
            for name, value in self._weights.items():
                value.copy_(params[name])

    def training_state(self):
        return optimizer_tensors(self._optimizer)

    def load_training_state(self, state):
        load_optimizer(self._optimizer, state)

    def buffers(self):
        return {str(key): rows for key, rows in self.replay.items()}

    def load_buffers(self, buffers):
        self.replay = {int(key): rows for key, rows in buffers.items()}


@dataclass(frozen=True)
class RewardModel:
    """Normal equations of each task's reward in quadratic features, in float64."""

    gram_MFF: Tensor
    moment_MF: Tensor


def features(obs, actions):
    """[1, x, x^2] of x = (observation, action)."""
    x = torch.cat([obs, actions], dim=-1)
    return torch.cat([torch.ones_like(x[..., :1]), x, x.square()], dim=-1).double()


class PlanningActor:
    """Climbs the predicted reward from a random start, by gradients, in every step."""

    def __init__(self, state, low, high):
        self.state, self._bounds = state, (low, high)
        self._weights_MF = torch.linalg.solve(state.gram_MFF, state.moment_MF)

    def act(self, seen, noise_MEN):
        obs = to_tensor(seen.obs_MEO)
        start = torch.zeros(*obs.shape[:2], len(self._bounds[0]))
        actions = start if noise_MEN is None else start + 0.3 * to_tensor(noise_MEN)
        with torch.enable_grad():
            for _ in range(5):
                actions = actions.detach().requires_grad_()
                predicted = torch.einsum("mef,mf->me", features(obs, actions), self._weights_MF)
                (slope,) = torch.autograd.grad(predicted.sum(), actions)
                actions = torch.clamp(actions + 0.5 * slope, *self._bounds)
        return ActionStep(to_array(actions))


class PlannerConfig(LearnerConfig):
    name: Literal["planner"] = "planner"


class Planner(MetaLearner[RewardModel]):
    """Meta-learns the prior of a model of rewards; adapts it by adding evidence."""

    Config, PolicyConfig = PlannerConfig, NoPolicyConfig

    def __init__(self, config, policy, setting):
        super().__init__(config, policy, setting)
        size = 1 + 2 * (setting.spec.obs_size + setting.spec.action_size)
        self._prior = {"gram": torch.eye(size).double(), "moment": torch.zeros(size).double()}

    def begin(self, num_tasks, episodes):
        gram, moment = self._prior["gram"], self._prior["moment"]
        return RewardModel(gram.repeat(num_tasks, 1, 1), moment.repeat(num_tasks, 1))

    def actor(self, state):
        spec = self.spec
        return PlanningActor(state, torch.tensor(spec.action_low), torch.tensor(spec.action_high))

    adapted_size = property(lambda self: 0)

    def adapt(self, state, rollouts):
        valid = rollouts.valid_MEH.unsqueeze(-1)
        phi = features(rollouts.obs_MEHO, rollouts.actions_MEHA) * valid
        rewards = rollouts.rewards_MEH.double()
        return RewardModel(
            state.gram_MFF + torch.einsum("mehf,mehg->mfg", phi, phi),
            state.moment_MF + torch.einsum("mehf,meh->mf", phi, rewards),
        )

    def iterate(self, work):
        state = self.begin(len(work.keys), self.setting.episodes)
        after = self.adapt(state, work.collect(state))
        for name, new, old in (
            ("gram", after.gram_MFF, state.gram_MFF),
            ("moment", after.moment_MF, state.moment_MF),
        ):
            evidence = work.world.sum_over_tasks((new - old).flatten(1)) / work.meta_batch
            self._prior[name] = self._prior[name] + 0.01 * evidence.view_as(self._prior[name])
        return {}

    @property
    def meta_parameters(self):
        return dict(self._prior)

    def load_meta_parameters(self, params):
        self._prior = {name: params[name].clone() for name in self._prior}
