"""Learning from what a mirror would have shown as well: left and right exchanged.

A robot whose left and right are alike has twice the experience, and learns to do on one side what
it can do on the other. As in Mittal et al. 2024, arXiv 2403.04359: an image counts with the
probability that its original was sampled with, which is its own while the policy is symmetric.
Shapes: M tasks, P numbers of a task.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts
from metarl.learners.base import Iteration
from metarl_envs.mirror import Exchange, Mirror


def mirror_of(wanted: bool, work: Iteration[Any]) -> Mirror | None:
    """The environment's mirror, if it is wanted.

    Raises:
        ConfigError: if it is and there is none.
    """
    if wanted and work.mirror is None:
        raise ConfigError(
            "learner.mirror needs an environment that says how left and right are exchanged, and "
            "this one does not; metarl/Quadruped-v0 does for payload, friction, gravity and what "
            "befalls its motors"
        )
    return work.mirror if wanted else None


def image(values: Tensor, exchange: Exchange) -> Tensor:
    """The mirror image, over any leading axes."""
    index = torch.as_tensor(exchange.source, device=values.device)
    return values[..., index] * torch.as_tensor(exchange.sign).to(values)


def with_images(numbers_MP: Tensor, exchange: Exchange | None) -> Tensor:
    """Rows, and behind them their images: shape (2 M, P); without an exchange the rows alone."""
    return numbers_MP if exchange is None else torch.cat([numbers_MP, image(numbers_MP, exchange)])


def mirrored_too(rollouts: Rollouts, mirror: Mirror | None) -> Rollouts:
    """Rollouts of M tasks, and behind them their images: 2 M tasks; without a mirror the same."""
    if mirror is None:
        return rollouts
    return replace(
        rollouts.map(lambda values: torch.cat([values, values])),
        obs_MEHO=with_images(rollouts.obs_MEHO, mirror.obs),
        last_obs_MEO=with_images(rollouts.last_obs_MEO, mirror.obs),
        actions_MEHA=with_images(rollouts.actions_MEHA, mirror.action),
    )
