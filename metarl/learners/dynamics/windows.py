"""What a model of the dynamics learns from: windows of episodes.

Shapes: M tasks, E episodes, R = M E, H and T steps, K transitions of a window, W windows, N kept
episodes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.interaction.rollouts import Rollouts
from metarl.learners.dynamics.model import Transitions
from metarl.params import Params


def episodes_of(rollouts: Rollouts) -> Params:
    """What the model learns from: shapes (R, T, ...); zeros where a number is not finite."""
    data = {
        "obs": rollouts.obs_MEHO,
        "actions": rollouts.actions_MEHA,
        "next_obs": rollouts.next_obs_MEHO,
        "rewards": rollouts.rewards_MEH.unsqueeze(-1),
    }
    sound_MEH = rollouts.valid_MEH.clone()
    for values in data.values():
        sound_MEH &= values.isfinite().all(-1)
    data = {name: values.masked_fill(~sound_MEH[..., None], 0.0) for name, values in data.items()}
    data["valid"] = sound_MEH.unsqueeze(-1).to(rollouts.rewards_MEH.dtype)
    return {name: values.flatten(0, 1) for name, values in data.items()}


def drawn_windows(
    kept: Mapping[str, Tensor], size: int, count: int, generator: torch.Generator
) -> tuple[Transitions, Transitions]:
    """Windows of `size` steps of random episodes, and the `size` steps that follow them.

    The first step that is predicted is any of an episode; before it there may be fewer.

    Args:
        kept: episodes as `episodes_of` gives them, but steps first: shapes (T, N, ...).
        size: K.
        count: W.
        generator: draws.
    """
    valid_TN = kept["valid"].squeeze(-1) > 0
    steps_T1 = torch.arange(1, len(valid_TN) + 1, device=valid_TN.device).unsqueeze(1)
    lengths_N = (valid_TN * steps_T1).amax(0).clamp(min=1)
    device, total = lengths_N.device, len(lengths_N)
    rows_W = torch.randint(total, (count,), generator=generator, device="cpu").to(device)
    shares_W = torch.rand(count, generator=generator, device="cpu").to(device)
    first_W = (shares_W * lengths_N[rows_W]).long()
    at = first_W.unsqueeze(1) + torch.arange(-size, size, device=device)
    inside = (at >= 0) & (at < len(valid_TN))
    at = at.clamp(min=0, max=len(valid_TN) - 1)
    drawn = {name: values[at, rows_W.unsqueeze(1)] for name, values in kept.items()}
    drawn["valid"] = drawn["valid"] * inside.unsqueeze(-1)
    past = {name: values[:, :size] for name, values in drawn.items()}
    future = {name: values[:, size:] for name, values in drawn.items()}
    return transitions(past), transitions(future)


def transitions(steps: Params) -> Transitions:
    """Of rows (R, K, ...) by name."""
    one = (steps["rewards"].squeeze(-1), steps["valid"].squeeze(-1))
    return Transitions(steps["obs"], steps["actions"], steps["next_obs"], *one)
