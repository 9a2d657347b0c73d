"""Acting with fixed parameters.

Between two physics steps the caches hold physics, and what counts is the amount of code that a
choice of actions runs through, not its arithmetic: the usual networks act in NumPy, in a third of
torch's time (a tenth for a single task), on the CPU whatever the learner's device.

Shapes: M tasks, E episodes per task, O observation, A action, I and J layer sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.distributions import Distribution


class ActionStep(NamedTuple):
    """Actions and their log-probabilities."""

    actions_MEA: Tensor
    log_probs_ME: Tensor


# (obs_MEO, noise_MEA) on the CPU, where noise is standard normal and None asks for the most likely
# actions
Actor = Callable[[Tensor, Tensor | None], ActionStep]


def action_step(distribution: Distribution, noise_MEA: Tensor | None) -> ActionStep:
    """Actions sampled with standard normal noise, or the most likely ones without."""
    if noise_MEA is None:
        return ActionStep(distribution.mode, distribution.log_prob(distribution.mode))
    return ActionStep(*distribution.sample(noise_MEA.to(distribution.mode)))


class PolicyActor:
    """Any policy, through torch.

    Args:
        policy: (params, obs) -> distribution.
        params_M: its parameters, leading axis M.
    """

    def __init__(
        self,
        policy: Callable[[Mapping[str, Tensor], Tensor], Distribution],
        params_M: Mapping[str, Tensor],
    ) -> None:
        self._policy, self._params_M = policy, params_M
        self._device = next(iter(params_M.values())).device

    def __call__(self, obs_MEO: Tensor, noise_MEA: Tensor | None) -> ActionStep:
        """Actions at all states."""
        return action_step(self._policy(self._params_M, obs_MEO.to(self._device)), noise_MEA)


class GaussianTanhActor:
    """A diagonal Gaussian whose mean is a tanh network.

    Args:
        layers: weight (M, I, J) and bias (M, J) of each layer.
        log_std_MA: of the Gaussian.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], log_std_MA: Tensor) -> None:
        self._layers = [(_array(weight), _array(bias)[:, None]) for weight, bias in layers]
        log_std_M1A = _array(log_std_MA)[:, None]
        self._std_M1A = np.exp(log_std_M1A)
        self._log_normalizer_M1 = (
            log_std_M1A.sum(-1) + 0.5 * math.log(2.0 * math.pi) * log_std_M1A.shape[-1]
        )

    def __call__(self, obs_MEO: Tensor, noise_MEA: Tensor | None) -> ActionStep:
        """Actions at all states."""
        hidden = obs_MEO.numpy()
        *body, (weight, bias) = self._layers
        for body_weight, body_bias in body:
            hidden = np.matmul(hidden, body_weight)
            hidden += body_bias
            np.tanh(hidden, out=hidden)
        actions = np.matmul(hidden, weight)
        actions += bias
        if noise_MEA is None:
            log_probs = np.broadcast_to(-self._log_normalizer_M1, actions.shape[:-1]).copy()
        else:
            noise = noise_MEA.numpy()
            actions += noise * self._std_M1A
            log_probs = np.einsum("mea,mea->me", noise, noise)
            log_probs *= -0.5
            log_probs -= self._log_normalizer_M1
        return ActionStep(torch.from_numpy(actions), torch.from_numpy(log_probs))


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().numpy())
