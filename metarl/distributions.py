"""Action distributions as closed formulas.

Shapes: M tasks, N states per task, A action dimensions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal distributions per action dimension.

    Attributes:
        mean: shape (M, N, A).
        log_std: shape broadcastable to (M, N, A).
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Actions for standard normal noise, shape (M, N, A)."""
        return torch.addcmul(self.mean, noise, self.log_std.exp())

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density, summed over action dimensions: shape (M, N)."""
        z = (actions - self.mean) * (-self.log_std).exp()
        constant = self.log_std.sum(-1) + 0.5 * _LOG_2PI * self.mean.shape[-1]
        return -0.5 * z.square().sum(-1) - constant

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """KL(self || other) per state: shape (M, N)."""
        ratio = (2.0 * (self.log_std - other.log_std)).exp()
        z = (self.mean - other.mean) * (-other.log_std).exp()
        terms = 0.5 * (ratio + z.square() - 1.0) + other.log_std - self.log_std
        return terms.sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy per state, broadcastable to (M, N)."""
        return (self.log_std + 0.5 * (_LOG_2PI + 1.0)).sum(-1)

    def fisher(self, tangent: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Fisher information times a tangent of (mean, log_std), per state and dimension.

        The Hessian of KL(self || other) in other at self: 1/std^2 for the mean, 2 for log_std.
        """
        mean_dot, log_std_dot = tangent
        return mean_dot * (-2.0 * self.log_std).exp(), 2.0 * log_std_dot
