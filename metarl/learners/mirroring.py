"""Symmetry: a policy does in the mirror what a mirror would show.

The mirror symmetry loss of Yu, Turk and Liu 2018, arXiv 1801.08093: the squared distance between
what the policy does on the image of an observation (told the image of the task), and the image of
what it does on the original. What one leg has found out, the other one learns by it. Images of
rollouts as further samples would do less: once the policy differs from its image, their ratios lie
outside the clip, and PPO takes nothing from them.
Shapes: M tasks, E episodes, T steps, N = M E, O observation, P numbers of a task.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from metarl.learners.base import Metrics, World
from metarl.learners.clipped_ppo import ClippedPPO, ClippedPPOConfig
from metarl.policies.distributions import Distribution
from metarl_envs.mirror import Exchange

IMAGE = "image."  # before the names of a step's images


class SymmetricPPOConfig(ClippedPPOConfig):
    """Base of the configs of learners whose policy may be held symmetric."""

    mirror_loss: float = Field(0.0, ge=0.0)
    """Weight of how far the policy is from its mirror image; needs an environment that has one."""


def image(values: Tensor, exchange: Exchange) -> Tensor:
    """The mirror image, over any leading axes."""
    source = torch.as_tensor(exchange.source, device=values.device)
    return values[..., source] * torch.as_tensor(exchange.sign).to(values)


class SymmetricPPO(ClippedPPO):
    """PPO that adds the mirror loss, where steps come with their images.

    Attributes:
        action_image: of actions; None without images.
    """

    config: SymmetricPPOConfig
    action_image: Exchange | None = None

    def improve(self, data: dict[str, Tensor], generator: torch.Generator, world: World) -> Metrics:
        metrics = super().improve(data, generator, world)
        if self.action_image is None:
            return metrics
        with torch.no_grad():
            error = self._asymmetry(data, self.distribution(data), self.action_image)
        valid = data["valid"].squeeze(-1)
        asymmetry = float((error * valid).sum() / valid.sum().clamp(min=1.0))
        return {**metrics, "train/asymmetry": asymmetry}

    def further_loss(self, data: Mapping[str, Tensor], distribution: Distribution) -> Tensor | None:
        if self.action_image is None:
            return None
        return self.config.mirror_loss * self._asymmetry(data, distribution, self.action_image)

    def _asymmetry(
        self, data: Mapping[str, Tensor], distribution: Distribution, of_actions: Exchange
    ) -> Tensor:
        """Squared distance between action of the image and image of the action: shape (T, N)."""
        images = {n.removeprefix(IMAGE): v for n, v in data.items() if n.startswith(IMAGE)}
        there = self.distribution(images).mode
        return (there - image(distribution.mode, of_actions)).square().sum(-1)
