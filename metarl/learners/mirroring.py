"""Learning from what a mirror would have shown as well: left and right exchanged.

A robot whose left and right are alike has twice the experience, and learns to do on one side what
it can do on the other. As in Mittal et al. 2024, arXiv 2403.04359: an image counts with the
probability that its original was sampled with, which is its own while the policy is symmetric. The
more the policy differs from its image, the fewer images lie within PPO's clip: a training that
starts from a policy that never saw images gains nothing from them.
Shapes: M tasks, P numbers of a task.
"""

from dataclasses import replace

import torch
from torch import Tensor

from metarl.interaction.rollouts import TOLD, Rollouts
from metarl.learners.clipped_ppo import ClippedPPOConfig
from metarl_envs.mirror import Exchange, Mirror


class MirroringConfig(ClippedPPOConfig):
    """Base of the configs of learners that may learn from mirror images."""

    mirror: bool = False
    """Whether mirror images are learned from too; needs an environment that has them."""


def image(values: Tensor, exchange: Exchange) -> Tensor:
    """The mirror image, over any leading axes."""
    source = torch.as_tensor(exchange.source, device=values.device)
    return values[..., source] * torch.as_tensor(exchange.sign).to(values)


def with_images(values_MX: Tensor, exchange: Exchange | None) -> Tensor:
    """Of M tasks, and behind them the images: shape (2 M, ...); as they are without an exchange."""
    return values_MX if exchange is None else torch.cat([values_MX, image(values_MX, exchange)])


def mirrored_too(rollouts: Rollouts, mirror: Mirror | None) -> Rollouts:
    """Rollouts of M tasks, and behind them their images: 2 M tasks; without a mirror the same."""
    if mirror is None:
        return rollouts
    doubled = rollouts.map(lambda values: torch.cat([values, values]))
    extras = dict(doubled.extras)
    if TOLD in extras:
        extras[TOLD] = with_images(rollouts.extras[TOLD], mirror.task)
    return replace(
        doubled,
        extras=extras,
        obs_MEHO=with_images(rollouts.obs_MEHO, mirror.obs),
        last_obs_MEO=with_images(rollouts.last_obs_MEO, mirror.obs),
        actions_MEHA=with_images(rollouts.actions_MEHA, mirror.action),
    )
