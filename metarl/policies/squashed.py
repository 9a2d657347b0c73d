"""Gaussians squashed by tanh into the action space (Haarnoja et al. 2018, appendix C).

Shapes: A action; log-probabilities are summed over it.
"""

import math

import torch
from torch import Tensor, nn

from metarl.environments.fit import Spec

_LOW, _HIGH = -20.0, 2.0  # of the log standard deviation
_LOG_2PI = math.log(2.0 * math.pi)


class ActionRange:
    """The affine map of (-1, 1) onto the action space.

    Args:
        spec: its bounds.
        like: a tensor of the dtype and device wanted.
    """

    def __init__(self, spec: Spec, like: Tensor) -> None:
        low, high = like.new_tensor(spec.action_low), like.new_tensor(spec.action_high)
        self.middle_A, self.half_A = (high + low) / 2, (high - low) / 2
        self._log_volume = float(self.half_A.log().sum())

    def sample(self, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions, and their log-probabilities, from a network's means and log deviations."""
        mean, log_std = outputs.chunk(2, dim=-1)
        log_std = log_std.clamp(_LOW, _HIGH)
        raw = mean + log_std.exp() * noise
        gaussian = -0.5 * (noise.square() + _LOG_2PI) - log_std
        # log(1 - tanh(x)^2), without its underflow
        stretch = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        log_probs = (gaussian - stretch).sum(-1) - self._log_volume
        return self.middle_A + self.half_A * torch.tanh(raw), log_probs
