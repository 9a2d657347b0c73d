"""Gaussian beliefs about a task's latent.

Shapes: M tasks, E episodes, N transitions, L latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentBelief:
    """A product of Gaussian factors, one per transition (Rakelly et al. 2019, eq. 2).

    Attributes:
        precision_ML: sum of the factors' precisions; zero where there are none yet.
        weighted_ML: sum of their means, each times its precision.
        latents_MEL: what every episode under way acts on; None before the first step.
    """

    precision_ML: Tensor
    weighted_ML: Tensor
    latents_MEL: Tensor | None = None

    @staticmethod
    def prior(num_tasks: int, size: int, like: Tensor) -> "LatentBelief":
        """No factors: the standard normal."""
        zeros = like.new_zeros(num_tasks, size)
        return LatentBelief(zeros, zeros)

    def with_factors(
        self, mean_MNL: Tensor, variance_MNL: Tensor, valid_MN: Tensor
    ) -> "LatentBelief":
        """The belief after further transitions; order does not matter.

        Factors that are not finite say nothing.
        """
        sound_MN = (mean_MNL / variance_MNL).isfinite().all(-1) & variance_MNL.isfinite().all(-1)
        kept_MN1 = (valid_MN.bool() & sound_MN).unsqueeze(-1)
        # before the division: behind it, gradients of what is not kept would be NaN
        precision_MNL = 1.0 / torch.where(kept_MN1, variance_MNL, 1.0)
        weighted_MNL = precision_MNL * torch.where(kept_MN1, mean_MNL, 0.0)
        return LatentBelief(
            self.precision_ML + (precision_MNL * kept_MN1).sum(1),
            self.weighted_ML + weighted_MNL.sum(1),
        )

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance: shapes (M, L)."""
        empty_ML = self.precision_ML == 0
        precision_ML = torch.where(empty_ML, 1.0, self.precision_ML)
        return self.weighted_ML / precision_ML, 1.0 / precision_ML


def kl_to_standard_normal(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), summed over the last axis."""
    return 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(-1)


def kl_between(belief: Tensor, before: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians, summed over the latent: shape of the leading axes.

    Args:
        belief: q, mean and log-variance side by side: shape (..., 2 L).
        before: p, likewise.
    """
    (mean, log_variance), (mean_before, log_before) = belief.chunk(2, -1), before.chunk(2, -1)
    squares = (mean - mean_before).square() * (-log_before).exp()
    ratio = log_variance - log_before
    return 0.5 * (squares + ratio.exp() - 1.0 - ratio).sum(-1)
