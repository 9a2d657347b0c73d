"""Action distributions as closed formulas.

Shapes: M tasks, N states per task, A action dimensions.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_LOG_2PI = math.log(2.0 * math.pi)


class Distribution(ABC):
    """Distributions of actions at N states of M tasks."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[Tensor, ...]:
        """What the constructor takes."""

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """The most likely actions, shape (M, N, A)."""

    @abstractmethod
    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (M, N, A) for standard normal noise, and their log-probabilities (M, N)."""

    @abstractmethod
    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability (density) of actions (M, N, A): shape (M, N)."""

    @abstractmethod
    def kl(self, other: Self) -> Tensor:
        """KL(self || other), `other` of the same class: shape (M, N)."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy per state, broadcastable to (M, N)."""

    @abstractmethod
    def fisher(self, tangents: Sequence[Tensor], weights_MN: Tensor) -> tuple[Tensor, ...]:
        """Hessian of sum w KL(self || other) in `other`'s parameters at self, times a tangent."""


@dataclass(frozen=True)
class DiagonalGaussian(Distribution):
    """Independent normal distributions per action dimension.

    Attributes:
        mean: shape (M, N, A).
        log_std: shape broadcastable to (M, N, A).
    """

    mean: Tensor
    log_std: Tensor

    @property
    def parameters(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.log_std

    @property
    def mode(self) -> Tensor:
        return self.mean

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions for standard normal noise (M, N, A), and their log-probabilities."""
        actions = torch.addcmul(self.mean, noise, self.log_std.exp())
        return actions, torch.sub(-self._log_normalizer, noise.square().sum(-1), alpha=0.5)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density, summed over action dimensions: shape (M, N)."""
        z = (actions - self.mean) * (-self.log_std).exp()
        return -0.5 * z.square().sum(-1) - self._log_normalizer

    @property
    def _log_normalizer(self) -> Tensor:
        return self.log_std.sum(-1) + 0.5 * _LOG_2PI * self.mean.shape[-1]

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) per state: shape (M, N)."""
        ratio = (2.0 * (self.log_std - other.log_std)).exp()
        z = (self.mean - other.mean) * (-other.log_std).exp()
        terms = 0.5 * (ratio + z.square() - 1.0) + other.log_std - self.log_std
        return terms.sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy per state, broadcastable to (M, N)."""
        return (self.log_std + 0.5 * (_LOG_2PI + 1.0)).sum(-1)

    def fisher(self, tangents: Sequence[Tensor], weights_MN: Tensor) -> tuple[Tensor, ...]:
        """Weighted sum over states of the Fisher information, times a tangent of `parameters`.

        The Hessian of sum w KL(self || other) in other at self: w/std^2 for the mean, 2 sum w for
        log_std.
        """
        mean_dot, log_std_dot = tangents
        weights_MN1 = weights_MN.unsqueeze(-1)
        precision = (-2.0 * self.log_std).exp()
        total_M11 = weights_MN1.sum(1, keepdim=True)
        return weights_MN1 * precision * mean_dot, 2.0 * total_M11 * log_std_dot


@dataclass(frozen=True)
class Categorical(Distribution):
    """One of K actions, given by its index: an action tensor of shape (M, N, 1).

    Attributes:
        logits: unnormalised log-probabilities, shape (M, N, K).
    """

    logits: Tensor

    @property
    def parameters(self) -> tuple[Tensor]:
        return (self.logits,)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1, keepdim=True).to(self.logits.dtype)

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions for standard normal noise (M, N, K), by the Gumbel-max rule."""
        uniform = torch.special.ndtr(noise.double()).clamp(1e-12, 1.0 - 1e-12)
        gumbel = -(-uniform.log()).log()
        actions = (self.logits + gumbel).argmax(-1, keepdim=True).to(self.logits.dtype)
        return actions, self.log_prob(actions)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability, shape (M, N)."""
        log_probs = self.logits.log_softmax(-1)
        return log_probs.gather(-1, actions.long()).squeeze(-1)

    def kl(self, other: Self) -> Tensor:
        """KL(self || other) per state: shape (M, N)."""
        mine, theirs = self.logits.log_softmax(-1), other.logits.log_softmax(-1)
        return (mine.exp() * (mine - theirs)).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy per state, shape (M, N)."""
        log_probs = self.logits.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def fisher(self, tangents: Sequence[Tensor], weights_MN: Tensor) -> tuple[Tensor, ...]:
        """Weighted Fisher information times a tangent: w (diag(p) - p p^T) z."""
        (tangent,) = tangents
        probabilities = self.logits.softmax(-1)
        centred = tangent - (probabilities * tangent).sum(-1, keepdim=True)
        return (weights_MN.unsqueeze(-1) * probabilities * centred,)
