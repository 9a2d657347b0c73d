"""A variational autoencoder of tasks: beliefs that predict the whole trial.

Zintgraf et al. 2020, arXiv 1910.08348, eqs. 8 to 10. The belief q_t after t steps shall predict
the rewards (and next observations) of all T steps of the trial, past and future. For a trial

    ELBO_t = - sum_i (r_i - r(z, s_i, a_i, s_i+1))^2 - kl_weight KL(q_t || q_t-1),   z ~ q_t,

with q_-1 = N(0, 1). The sum over i and the mean over t are estimated from some steps of each; the
loss is the mean over trials of -ELBO_t / T. Shapes: T steps of a trial, N trials, K beliefs, D
decoded steps, L latent, O observation.
"""

from collections.abc import Mapping

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from metarl.config_model import ConfigModel
from metarl.environments.fit import Spec
from metarl.learners.base import Metrics, World
from metarl.learners.clipped_ppo import SLICES, clipped_step
from metarl.learners.inference.belief import kl_between
from metarl.optimization.optimizer_state import load_optimizer, optimizer_tensors
from metarl.params import Params, one_row
from metarl.policies.networks.belief_head import BeliefHead
from metarl.policies.networks.memory_network import MemoryNetwork
from metarl.policies.networks.relu_mlp import relu_mlp

BELIEF_NORM = "train/belief_gradient"  # a metric
_LAST_BOUND = 1e-2


class BeliefVAEConfig(ConfigModel):
    """How beliefs are learned."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    steps: PositiveInt = 5
    """Gradient steps per iteration."""
    batch_trials: PositiveInt = 20
    """Trials of a gradient step."""
    buffer_trials: PositiveInt = 500
    """Trials that are kept, the newest ones."""
    beliefs: PositiveInt = 32
    """Beliefs of a trial that a gradient step decodes from."""
    decoded_steps: PositiveInt = 32
    """Steps of a trial that each of them has to predict."""
    decoder_sizes: tuple[PositiveInt, ...] = (64, 32)
    """Hidden layers of the decoders."""
    kl_weight: NonNegativeFloat = 1.0
    """Relative to the squared errors of a whole trial; a mean over trials, however many."""
    decode_rewards: bool = True
    """Whether the belief has to predict rewards."""
    decode_obs: bool = False
    """Next observations too: for tasks that differ in their dynamics."""
    max_gradient_norm: PositiveFloat = 1.0
    """Longer gradients are scaled down to it."""

    @model_validator(mode="after")
    def _decodes_something(self) -> "BeliefVAEConfig":
        if not (self.decode_rewards or self.decode_obs):
            raise ValueError("set decode_rewards or decode_obs: a belief has to predict something")
        return self


class TaskDecoder(nn.Module):
    """Predicts rewards and next observations of a step from a latent.

    Args:
        config: what is decoded.
        latent_size: L.
        spec: sizes.
        generator: of the initial weights.
    """

    def __init__(
        self, config: BeliefVAEConfig, latent_size: int, spec: Spec, generator: torch.Generator
    ) -> None:
        super().__init__()
        step = spec.obs_size + (spec.num_actions or spec.action_size)
        self.rewards = self.obs = None
        if config.decode_rewards:
            sizes = (latent_size + step + spec.obs_size, *config.decoder_sizes, 1)
            self.rewards = relu_mlp(sizes, _LAST_BOUND, generator)
        if config.decode_obs:
            sizes = (latent_size + step, *config.decoder_sizes, spec.obs_size)
            self.obs = relu_mlp(sizes, _LAST_BOUND, generator)

    def squared_errors(self, latents: Tensor, steps: Mapping[str, Tensor]) -> Tensor:
        """Of all predictions of each step, summed: the shape of the steps' leading axes."""
        known = [latents, steps["obs"], steps["actions"]]
        errors = latents.new_zeros(latents.shape[:-1])
        if self.rewards is not None:
            predicted = self.rewards(torch.cat([*known, steps["next_obs"]], -1))
            errors = errors + (predicted - steps["rewards"]).square().sum(-1)
        if self.obs is not None:
            predicted = self.obs(torch.cat(known, -1))
            errors = errors + (predicted - steps["next_obs"]).square().sum(-1)
        return errors


class BeliefVAE:
    """Trains the memory, the belief and the decoder; never the policy.

    Args:
        network: whose memory and belief are trained.
        head: its head.
        decoder: trained beside them.
        config: see there.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        head: BeliefHead,
        decoder: TaskDecoder,
        config: BeliefVAEConfig,
    ) -> None:
        self.network, self.head, self.decoder, self.config = network, head, decoder, config
        self.module = nn.ModuleDict(
            {"memory": network.memory, "belief": head.to_belief, "decoder": decoder}
        )
        self._optimizer = torch.optim.Adam(self.module.parameters(), lr=config.learning_rate)

    def update(self, trials: Params, generator: torch.Generator, world: World) -> Metrics:
        """One step on trials: "inputs", "obs", "actions", "rewards", "next_obs", "valid"."""
        lengths_N = trials["valid"].sum((0, 2))
        total = float((lengths_N > 0).sum().clamp(min=1))
        drawn = self.draw(lengths_N, generator)

        def differentiate(rows: Tensor) -> Tensor:
            own = [values[:, rows] for values in drawn]
            part = {name: values.index_select(1, rows) for name, values in trials.items()}
            parts = self.losses(part, own[0], own[1], own[2])
            gradient = torch.autograd.grad(parts.sum() / total, list(self.module.parameters()))
            return one_row(gradient, parts / total)

        rows = torch.arange(len(lengths_N), device=lengths_N.device)
        summed = world.total(differentiate, rows.tensor_split(min(SLICES, len(rows))))
        norm = clipped_step(
            self.module, self._optimizer, summed[:-2], self.config.max_gradient_norm
        )
        error, kl = summed[-2:].tolist()
        return {"train/decoder_error": error, "train/belief_kl": kl, BELIEF_NORM: norm}

    def draw(self, lengths_N: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Which beliefs (K, N) decode which steps (D, N), and their noise (K, N, L)."""
        config, count = self.config, len(lengths_N)
        chosen = []
        for number in (config.beliefs, config.decoded_steps):
            share = torch.rand(number, count, generator=generator, device="cpu")
            last = (lengths_N - 1).clamp(min=0)
            chosen.append((share.to(lengths_N) * lengths_N).long().minimum(last.long()))
        size = self.head.to_belief.out_features // 2
        noise = torch.randn(config.beliefs, count, size, generator=generator, device="cpu")
        return chosen[0], chosen[1], noise.to(lengths_N)

    def losses(
        self, trials: Params, beliefs_KN: Tensor, decoded_DN: Tensor, noise_KNL: Tensor
    ) -> Tensor:
        """Squared error and weighted KL, each over T and summed over trials: shape (2,)."""
        lengths_N = trials["valid"].sum((0, 2))
        belief_TNB = self.head.belief(self.network.core.whole(trials["inputs"]))
        prior = torch.zeros_like(belief_TNB[:1])
        before_TNB = torch.cat([prior, belief_TNB[:-1]])
        own, before = (_steps(values, beliefs_KN) for values in (belief_TNB, before_TNB))
        kl_KN = kl_between(own, before)
        mean_KNL, log_variance_KNL = own.chunk(2, dim=-1)
        latents_KNL = mean_KNL + (0.5 * log_variance_KNL).exp() * noise_KNL
        shape = (len(beliefs_KN), *decoded_DN.shape)
        latents_KDNL = latents_KNL.unsqueeze(1).expand(*shape, -1)
        names = ("obs", "actions", "rewards", "next_obs")
        steps = {name: _steps(trials[name], decoded_DN).expand(*shape, -1) for name in names}
        error_N = self.decoder.squared_errors(latents_KDNL, steps).mean((0, 1))
        weighted_N = self.config.kl_weight * kl_KN.mean(0) / lengths_N.clamp(min=1)
        lived_N = (lengths_N > 0).to(error_N)
        return torch.stack([(error_N * lived_N).sum(), (weighted_N * lived_N).sum()])

    def state(self) -> Params:
        """Tensors that resuming needs."""
        return optimizer_tensors(self._optimizer)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave."""
        load_optimizer(self._optimizer, state)


def _steps(values_TN: Tensor, chosen_KN: Tensor) -> Tensor:
    """The chosen steps of each trial: shape (K, N, ...)."""
    trials = torch.arange(chosen_KN.shape[1], device=chosen_KN.device)
    return values_TN[chosen_KN, trials]
