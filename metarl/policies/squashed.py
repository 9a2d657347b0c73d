"""Gaussians squashed by tanh into the action space (Haarnoja et al. 2018, appendix C).

Shapes: A action; log-probabilities are summed over it.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.errors import ConfigError

_LOW, _HIGH = -20.0, 2.0  # of the log standard deviation
_LOG_2PI = math.log(2.0 * math.pi)


def require_widths(spec: Spec) -> None:
    """Refuse an action space that nothing can be squashed into.

    Raises:
        ConfigError: if bounds are not finite, or not apart from each other.
    """
    with np.errstate(over="ignore"):
        widths = np.subtract(spec.action_high, spec.action_low, dtype=np.float32)
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ConfigError(
            "this learner needs actions between finite bounds, apart from each other; these are "
            f"{spec.action_low} and {spec.action_high}"
        )


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
        unit, log_probs = sample_unit(outputs, noise)
        return self.middle_A + self.half_A * unit, log_probs - self._log_volume

    def to_unit(self, actions: Tensor) -> Tensor:
        """Where actions lie between their bounds, -1 and 1."""
        return (actions - self.middle_A) / self.half_A


def sample_unit(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions in (-1, 1), and their log-probabilities there, from means and log deviations."""
    mean, log_std = outputs.chunk(2, dim=-1)
    log_std = log_std.clamp(_LOW, _HIGH)
    raw = mean + log_std.exp() * noise
    gaussian = -0.5 * (noise.square() + _LOG_2PI) - log_std
    # log(1 - tanh(x)^2), without its underflow; softplus rounds the ends of arrays otherwise
    stretch = 2.0 * (math.log(2.0) - raw + nn.functional.logsigmoid(2.0 * raw))
    return torch.tanh(raw), (gaussian - stretch).sum(-1)
