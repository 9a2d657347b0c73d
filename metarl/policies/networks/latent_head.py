"""From a memory to a latent of the task, and from it and the observation to a policy's outputs.

Shapes: any leading axes; F hidden size, L latent, O observation.
"""

import numpy as np
import torch
from torch import Tensor, nn

from metarl.policies.arrays import to_array
from metarl.policies.networks.heads import ArrayHead, Head
from metarl_envs.memory import require_memory


class LatentHead(Head):
    """A bounded estimate of the latent, and the policy that sees it.

    Args:
        hidden_size: F.
        latent_size: L.
        policy: (latent, observation) -> outputs.
    """

    def __init__(self, hidden_size: int, latent_size: int, policy: Head) -> None:
        super().__init__()
        require_memory(f"latents of size {latent_size}", 4 * hidden_size * latent_size)
        self.to_latent = nn.utils.skip_init(nn.Linear, hidden_size, latent_size)
        self.policy = policy

    def initialise(self, generator: torch.Generator) -> None:
        """Fan-in uniform weights, no biases."""
        with torch.no_grad():
            drawn = torch.rand(self.to_latent.weight.shape, generator=generator) * 2.0 - 1.0
            self.to_latent.weight.copy_(self.to_latent.in_features**-0.5 * drawn)
            self.to_latent.bias.zero_()
        self.policy.initialise(generator)

    def latent(self, hidden: Tensor) -> Tensor:
        """The estimate, within -1 and 1: shape (..., L)."""
        return torch.tanh(self.to_latent(hidden))

    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        outputs: Tensor = self.policy(self.latent(hidden), obs)
        return outputs

    def on_arrays(self) -> ArrayHead:
        weight = to_array(self.to_latent.weight).T.copy()
        bias = to_array(self.to_latent.bias).copy()
        policy = self.policy.on_arrays()
        return lambda hidden, obs: policy(np.tanh(hidden @ weight + bias), obs)
