"""What a network's outputs mean: action distributions, in torch and for acting."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from metarl.environments.fit import Spec
from metarl.policies.actors import ActionStep, output_choice
from metarl.policies.distributions import Categorical, DiagonalGaussian, Distribution
from metarl.policies.policy import ActionNoiseConfig


class ActionOutputs(nn.Module):
    """Base of networks whose outputs are the means of Gaussians, or logits of discrete actions.

    Args:
        noise: initial and smallest standard deviation.
        spec: sizes of observations and actions.
    """

    def __init__(self, noise: ActionNoiseConfig, spec: Spec) -> None:
        super().__init__()
        self._discrete = bool(spec.num_actions)
        self._min_log_std = float(np.log(noise.min_std))
        if not self._discrete:
            log_std = torch.full((spec.action_size,), float(np.log(noise.init_std)))
            self.log_std = nn.Parameter(log_std)

    def distribution(self, outputs: Tensor) -> Distribution:
        """The action distributions that outputs stand for."""
        if self._discrete:
            return Categorical(outputs)
        return DiagonalGaussian(outputs, self.bounded_log_std())

    def bounded_log_std(self) -> Tensor:
        """The Gaussian's log standard deviation: shape (A,)."""
        return self.log_std.clamp(min=self._min_log_std)

    def choice(self) -> Callable[[np.ndarray, np.ndarray | None], ActionStep]:
        """Actions for outputs (M, E, ...), with the parameters as they are now."""
        return output_choice(None if self._discrete else self.bounded_log_std())
