"""From a memory to a belief, and from the belief and the observation to the outputs of a policy.

Shapes: any leading axes; F hidden size, L latent, O observation, J outputs.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.policies.arrays import to_array
from metarl.policies.networks.heads import ArrayHead, Head, HyperHead
from metarl.policies.policy import ActionNoiseConfig
from metarl_envs.memory import require_memory

_SMALL = 0.1  # of the last layer's initial weights
_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE = -10.0, 10.0


class BeliefPolicyConfig(ActionNoiseConfig):
    """A policy that sees the observation and what stands for the task."""

    network: Literal["tanh", "hypernetwork"] = "tanh"
    """A network on both, or one on the observation whose weights the belief generates."""
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Of the tanh network."""

    def head(self, numbers: int, spec: Spec) -> Head:
        """The policy for so many numbers that stand for the task."""
        if self.network == "hypernetwork":
            return HyperHead(numbers, (spec.obs_size, *self.hidden_sizes, spec.noise_size))
        return TanhHead((spec.obs_size + numbers, *self.hidden_sizes, spec.noise_size))


class TanhHead(Head):
    """A tanh network on the observation and what stands for the task.

    Args:
        sizes: of the joined inputs, the hidden layers and the outputs.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        require_memory(f"networks of sizes {tuple(sizes)}", 4 * sum((i + 1) * j for i, j in pairs))
        self.layers = nn.ModuleList(nn.utils.skip_init(nn.Linear, i, j) for i, j in pairs)

    def initialise(self, generator: torch.Generator) -> None:
        """Fan-in uniform weights, a small last layer, no biases."""
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                assert isinstance(layer, nn.Linear)
                scale = _SMALL if index == len(self.layers) - 1 else 1.0
                drawn = torch.rand(layer.weight.shape, generator=generator) * 2.0 - 1.0
                layer.weight.copy_(scale * layer.in_features**-0.5 * drawn)
                layer.bias.zero_()

    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        values = torch.cat([obs, hidden], dim=-1)
        for index, layer in enumerate(self.layers):
            values = layer(torch.tanh(values) if index else values)
        return values

    def on_arrays(self) -> ArrayHead:
        layers = [
            (to_array(layer.weight).T.copy(), to_array(layer.bias).copy())
            for layer in self.layers
            if isinstance(layer, nn.Linear)
        ]

        def head(hidden: np.ndarray, obs: np.ndarray) -> np.ndarray:
            values = np.concatenate([obs, hidden], axis=-1)
            for index, (weight, bias) in enumerate(layers):
                if index:
                    np.tanh(values, out=values)
                values = values @ weight
                values += bias
            return values

        return head


class BeliefHead(Head):
    """A Gaussian belief from the memory, and the policy that sees it.

    Args:
        hidden_size: F.
        latent_size: L.
        policy: (mean and log-variance of the belief, observation) -> outputs.
    """

    def __init__(self, hidden_size: int, latent_size: int, policy: Head) -> None:
        super().__init__()
        require_memory(f"beliefs of size {latent_size}", 8 * hidden_size * latent_size)
        self.to_belief = nn.utils.skip_init(nn.Linear, hidden_size, 2 * latent_size)
        self.policy = policy

    def initialise(self, generator: torch.Generator) -> None:
        """Beliefs near the standard normal, whatever the memory."""
        bound = _SMALL * self.to_belief.in_features**-0.5
        with torch.no_grad():
            drawn = torch.rand(self.to_belief.weight.shape, generator=generator) * 2.0 - 1.0
            self.to_belief.weight.copy_(bound * drawn)
            self.to_belief.bias.zero_()
        self.policy.initialise(generator)

    def belief(self, hidden: Tensor) -> Tensor:
        """Mean and log-variance side by side: shape (..., 2 L)."""
        mean, log_variance = self.to_belief(hidden).chunk(2, dim=-1)
        bounded = log_variance.clamp(_LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE)
        return torch.cat([mean, bounded], dim=-1)

    def forward(self, hidden: Tensor, obs: Tensor) -> Tensor:
        outputs: Tensor = self.policy(self.belief(hidden), obs)
        return outputs

    def on_arrays(self) -> ArrayHead:
        weight, bias = (to_array(part) for part in (self.to_belief.weight, self.to_belief.bias))
        weight, bias, size = weight.T.copy(), bias.copy(), len(bias) // 2
        policy = self.policy.on_arrays()

        def head(hidden: np.ndarray, obs: np.ndarray) -> np.ndarray:
            belief = hidden @ weight
            belief += bias
            np.clip(belief[:, size:], _LEAST_LOG_VARIANCE, _MOST_LOG_VARIANCE, out=belief[:, size:])
            return policy(belief, obs)

        return head
