"""Returns and advantages: pure functions over (M, E, H) arrays with a validity mask.

Shapes: M tasks, E episodes per task, H steps. `valid_MEH` is True for the steps of an episode and
False after its end; an episode's steps are contiguous from step 0.
"""

import torch
from torch import Tensor

_BLOCK = 128  # steps that are summed by one matrix product


def discounted_returns(rewards_MEH: Tensor, valid_MEH: Tensor, discount: float) -> Tensor:
    """G_t = r_t + discount * G_{t+1}, zero where not valid: shape (M, E, H)."""
    rewards = rewards_MEH * valid_MEH
    returns = torch.empty_like(rewards)
    following_ME1 = torch.zeros_like(rewards[..., :1])
    for first in reversed(range(0, rewards.shape[-1], _BLOCK)):
        block = rewards[..., first : first + _BLOCK]
        steps = torch.arange(block.shape[-1], device=block.device)
        later = (steps[:, None] - steps).clamp(min=0)  # from the column's step to the row's
        weights = torch.tril(discount ** later.to(block.dtype))
        rest = discount ** (len(steps) - steps).to(block.dtype)
        block_returns = block @ weights + following_ME1 * rest
        returns[..., first : first + _BLOCK] = block_returns
        following_ME1 = block_returns[..., :1]
    return returns


def generalized_advantages(
    rewards_MEH: Tensor,
    values_MEH: Tensor,
    last_values_ME: Tensor,
    valid_MEH: Tensor,
    terminated_ME: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    A_t = delta_t + discount * lambda * A_{t+1}, delta_t = r_t + discount * V(s_{t+1}) - V(s_t).
    After an episode's last step V is 0 if it terminated, and `last_values_ME` if it was cut off.

    Returns:
        Advantages, zero where not valid: shape (M, E, H).
    """
    valid = valid_MEH.to(rewards_MEH.dtype)
    bootstrap_ME = last_values_ME * (~terminated_ME)
    next_valid_MEH = torch.cat([valid[..., 1:], torch.zeros_like(valid[..., :1])], dim=-1)
    shifted = torch.cat([values_MEH[..., 1:], torch.zeros_like(values_MEH[..., :1])], dim=-1)
    next_values = next_valid_MEH * shifted + (1.0 - next_valid_MEH) * bootstrap_ME.unsqueeze(-1)
    deltas = (rewards_MEH + discount * next_values - values_MEH) * valid
    return discounted_returns(deltas, valid_MEH, discount * gae_lambda)


def normalize(advantages_MEH: Tensor, valid_MEH: Tensor) -> tuple[Tensor, Tensor]:
    """Mean 0 and standard deviation 1 over the valid steps of each task; zero elsewhere.

    Returns:
        The advantages (M, E, H), and what they were divided by (M,).
    """
    valid = valid_MEH.to(advantages_MEH.dtype)
    count_M = valid.sum((1, 2), keepdim=True).clamp(min=1.0)
    mean = (advantages_MEH * valid).sum((1, 2), keepdim=True) / count_M
    centred = (advantages_MEH - mean) * valid
    std = (centred.square().sum((1, 2), keepdim=True) / count_M).sqrt()
    scale = std + 1e-8
    return centred / scale, scale[:, 0, 0]


def step_weights(valid_MEH: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights that sum to one over the valid steps of each task: shape (M, E, H)."""
    valid = valid_MEH.to(dtype)
    return valid / valid.sum((1, 2), keepdim=True).clamp(min=1.0)
