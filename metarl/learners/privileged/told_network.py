"""A policy that is told the task through an encoder: z = mu(e), pi(o, z), trained by PPO.

Shapes: L latent.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metarl.learners.base import Setting
from metarl.learners.clipped_ppo import ClippedPPO
from metarl.policies.distributions import Distribution
from metarl.policies.networks.belief_head import BeliefPolicyConfig
from metarl.policies.networks.heads import Head
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.networks.relu_mlp import relu_mlp
from metarl.seeding import parameter_generator

_LAST_BOUND = 0.1  # of the encoder's last layer


class ToldNetwork(ActionOutputs):
    """Encoder and policy."""

    def __init__(
        self,
        encoder_sizes: tuple[int, ...],
        latent_size: int,
        policy: BeliefPolicyConfig,
        setting: Setting,
    ) -> None:
        spec, generator = setting.spec, parameter_generator(setting.seed)
        super().__init__(policy, spec)
        sizes = (spec.task_size, *encoder_sizes, latent_size)
        self.encoder = relu_mlp(sizes, _LAST_BOUND, generator)
        head = policy.head(latent_size, spec)
        head.initialise(generator)
        self.head = nn.ModuleDict({"policy": head})  # as RMA names it

    @property
    def policy(self) -> Head:
        """(latent, observation) -> outputs."""
        head = self.head["policy"]
        assert isinstance(head, Head)
        return head

    def latents(self, told: Tensor) -> Tensor:
        """What the encoder makes of scaled numbers: shape (..., L)."""
        return torch.tanh(self.encoder(told))


class ToldPPO(ClippedPPO):
    """PPO of encoder and policy on single steps."""

    module: ToldNetwork

    def distribution(self, data: Mapping[str, Tensor]) -> Distribution:
        network = self.module
        return network.distribution(network.policy(network.latents(data["told"]), data["obs"]))
