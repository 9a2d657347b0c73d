"""Acting with fixed parameters: arrays in, arrays out, on the CPU.

Between two physics steps the caches hold physics, and what counts is the amount of code that a
choice of actions runs through, not its arithmetic: the usual networks act in NumPy, in a third of
torch's time (a tenth for a single task), whatever the learner's device.

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

    actions_MEA: np.ndarray
    log_probs_ME: np.ndarray


# (obs_MEO, noise_MEA), where noise is standard normal and None asks for the most likely actions
Actor = Callable[[np.ndarray, np.ndarray | None], ActionStep]


def action_step(distribution: Distribution, noise_MEA: np.ndarray | None) -> ActionStep:
    """Actions sampled with standard normal noise, or the most likely ones without."""
    mode = distribution.mode
    if noise_MEA is None:
        return ActionStep(to_array(mode), to_array(distribution.log_prob(mode)))
    actions, log_probs = distribution.sample(torch.from_numpy(noise_MEA).to(mode))
    return ActionStep(to_array(actions), to_array(log_probs))


def to_array(values: Tensor) -> np.ndarray:
    """The values on the CPU."""
    array: np.ndarray = values.detach().cpu().numpy()
    return array


def array_dtype(dtype: torch.dtype) -> np.dtype:
    """NumPy's name of a floating point type."""
    return to_array(torch.empty(0, dtype=dtype)).dtype


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

    def __call__(self, obs_MEO: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
        """Actions at all states."""
        obs = torch.from_numpy(obs_MEO).to(self._device)
        return action_step(self._policy(self._params_M, obs), noise_MEA)


class GaussianTanhActor:
    """A diagonal Gaussian whose mean is a tanh network.

    Args:
        layers: weight (M, I, J) and bias (M, J) of each layer.
        log_std_MA: of the Gaussian.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], log_std_MA: Tensor) -> None:
        arrays = [(to_array(weight), to_array(bias)[:, None]) for weight, bias in layers]
        *self._body, self._head = arrays
        log_std_M1A = to_array(log_std_MA)[:, None]
        self._std_M1A = np.exp(log_std_M1A)
        self._halves_A = np.full_like(log_std_M1A[0, 0], -0.5)
        constant = 0.5 * math.log(2.0 * math.pi) * log_std_M1A.shape[-1]
        self._log_normalizer_M1 = log_std_M1A.sum(-1) + constant

    def __call__(self, obs_MEO: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
        """Actions at all states."""
        hidden = obs_MEO
        for weight, bias in self._body:
            hidden = np.matmul(hidden, weight)
            hidden += bias
            np.tanh(hidden, out=hidden)
        weight, bias = self._head
        actions = np.matmul(hidden, weight)
        actions += bias
        if noise_MEA is None:
            log_probs = np.broadcast_to(-self._log_normalizer_M1, actions.shape[:-1]).copy()
        else:
            actions += noise_MEA * self._std_M1A
            log_probs = np.square(noise_MEA) @ self._halves_A
            log_probs -= self._log_normalizer_M1
        return ActionStep(actions, log_probs)
