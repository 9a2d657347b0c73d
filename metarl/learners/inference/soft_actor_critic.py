"""Soft actor-critic on (observation, latent), with two critics and a fixed temperature.

Haarnoja et al. 2018, arXiv 1812.05905, eqs. 5 to 9, without the tuning of the temperature: the
reward scale takes its place. Actions lie in (-1, 1), and so do their densities: nothing depends on
the units of the environment. Shapes: M tasks, B rows of each, O observation, A action, L latent.
"""

import torch
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.interaction.rollouts import Transitions
from metarl.params import Params
from metarl.policies.networks.relu_mlp import relu_mlp
from metarl.policies.squashed import sample_unit

_POLICY_BOUND, _CRITIC_BOUND = 1e-3, 3e-3
_OUTPUT_PENALTY = 1e-3  # on squared means and on squared log deviations, as in the reference


class SoftActorCritic(nn.Module):
    """Policy, two critics and the critics' slow copies.

    Args:
        spec: sizes.
        latent_size: L.
        hidden_sizes: of all networks.
        discount: gamma.
        reward_scale: the inverse temperature.
        generator: of the initial weights.
    """

    policy: nn.Sequential

    def __init__(
        self,
        spec: Spec,
        latent_size: int,
        hidden_sizes: tuple[int, ...],
        discount: float,
        reward_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        inputs = spec.obs_size + latent_size
        policy = (inputs, *hidden_sizes, 2 * spec.action_size)
        critic = (inputs + spec.action_size, *hidden_sizes, 1)
        self.policy = relu_mlp(policy, _POLICY_BOUND, generator)
        self.critics = nn.ModuleList(relu_mlp(critic, _CRITIC_BOUND, generator) for _ in range(2))
        self.targets = nn.ModuleList(relu_mlp(critic, _CRITIC_BOUND, generator) for _ in range(2))
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(False)
        self.discount, self.reward_scale = discount, reward_scale

    @torch.no_grad()
    def target(self, rows: Transitions, latents_MBL: Tensor, noise_MBA: Tensor) -> Tensor:
        """What the critics shall predict, by the slow ones: shape (M, B)."""
        inputs = torch.cat([rows.next_obs_NO, latents_MBL], -1)
        actions, log_probs = sample_unit(self.policy(inputs), noise_MBA)
        value = self._least(self.targets, inputs, actions) - log_probs
        goes_on = (~rows.terminated_N).to(value.dtype)
        target: Tensor = self.reward_scale * rows.rewards_N + self.discount * goes_on * value
        return target

    def critic_loss(self, rows: Transitions, latents_MBL: Tensor, target_MB: Tensor) -> Tensor:
        """Squared errors of both critics, a sum over tasks and rows: scalar.

        Its gradient reaches the critics and, through the latents, the encoder.
        """
        inputs = torch.cat([rows.obs_NO, latents_MBL, rows.actions_NA], -1)
        errors = [(critic(inputs).squeeze(-1) - target_MB).square() for critic in self.critics]
        return torch.stack(errors).sum()

    def policy_loss(self, rows: Transitions, latents_MBL: Tensor, noise_MBA: Tensor) -> Tensor:
        """log pi - min Q at new actions, a sum over tasks and rows: scalar.

        The latents are held fixed, and so are the critics.
        """
        inputs = torch.cat([rows.obs_NO, latents_MBL.detach()], -1)
        outputs = self.policy(inputs)
        actions, log_probs = sample_unit(outputs, noise_MBA)
        value = self._least(self.critics, inputs, actions)
        return (log_probs - value + _OUTPUT_PENALTY * 2.0 * outputs.square().mean(-1)).sum()

    def _least(self, critics: nn.ModuleList, inputs: Tensor, actions: Tensor) -> Tensor:
        joined = torch.cat([inputs, actions], -1)
        values = [critic(joined).squeeze(-1) for critic in critics]
        return torch.minimum(values[0], values[1])

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Move the slow critics a share of the way to the critics."""
        for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
            slow.lerp_(fast, share)

    def slow_state(self) -> Params:
        """The slow critics, which only learning needs."""
        return {name: value.clone() for name, value in self.targets.state_dict().items()}
