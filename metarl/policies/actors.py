"""Acting with fixed parameters: arrays in, arrays out, on the CPU.

Between two physics steps the caches hold physics, and what counts is the amount of code that a
choice of actions runs through, not its arithmetic: the usual networks act in NumPy, in a third of
torch's time (a tenth for a single task), whatever the learner's device.

Shapes: M tasks, E episodes per task, O observation, A action, N numbers of noise, F inputs of a
network, I and J layer sizes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from metarl.policies.arrays import to_array, to_tensor
from metarl.policies.distributions import Categorical, Distribution

S_co = TypeVar("S_co", covariant=True)


class Percept(NamedTuple):
    """What an actor is told before each action; arrays of the learner's dtype.

    In the first step of an episode previous action and reward are zero. The numbers of the task in
    force, `told_MEP`, are there in training alone, for learners that are told (see `collect`).
    """

    obs_MEO: np.ndarray
    previous_actions_MEA: np.ndarray
    previous_rewards_ME: np.ndarray
    first_ME: np.ndarray
    told_MEP: np.ndarray | None = None


class ActionStep(NamedTuple):
    """Actions, and what is recorded beside them.

    Attributes:
        actions_MEA: as the policy gives them, before any clipping.
        log_probs_ME: their log-probabilities, or None where a learner has none.
        extras: further arrays with leading axes M, E: latents, beliefs.
    """

    actions_MEA: np.ndarray
    log_probs_ME: np.ndarray | None = None
    extras: Mapping[str, np.ndarray] = MappingProxyType({})


class Actor(Protocol[S_co]):
    """The machine made from a learner's state; it may change itself while acting."""

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        """Choose actions; the noise is standard normal, None asks for the most likely ones."""
        ...

    @property
    def state(self) -> S_co:
        """The state as it is now, as data."""
        ...


# (observations or outputs (M, E, ...), noise_MEA) -> actions; no noise: the most likely ones
Chooser = Callable[[np.ndarray, np.ndarray | None], ActionStep]


def action_step(distribution: Distribution, noise_MEA: np.ndarray | None) -> ActionStep:
    """Actions sampled with standard normal noise, or the most likely ones without."""
    mode = distribution.mode
    if noise_MEA is None:
        return ActionStep(to_array(mode), to_array(distribution.log_prob(mode)))
    actions, log_probs = distribution.sample(to_tensor(noise_MEA).to(mode))
    return ActionStep(to_array(actions), to_array(log_probs))


class PolicyChooser:
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
        obs = to_tensor(obs_MEO, self._device)
        return action_step(self._policy(self._params_M, obs), noise_MEA)


class GaussianChoice:
    """Actions of a diagonal Gaussian.

    Args:
        log_std_MA: of the Gaussian; M may be 1 for all tasks.
    """

    def __init__(self, log_std_MA: Tensor) -> None:
        log_std_M1A = to_array(log_std_MA)[:, None]
        self._std_M1A = np.exp(log_std_M1A)
        self._halves_A = np.full_like(log_std_M1A[0, 0], -0.5)
        constant = 0.5 * math.log(2.0 * math.pi) * log_std_M1A.shape[-1]
        self._log_normalizer_M1 = log_std_M1A.sum(-1) + constant

    def __call__(self, means_MEA: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
        """Actions for these means, which they replace."""
        if noise_MEA is None:
            log_probs = np.broadcast_to(-self._log_normalizer_M1, means_MEA.shape[:-1]).copy()
        else:
            means_MEA += noise_MEA * self._std_M1A
            log_probs = np.square(noise_MEA) @ self._halves_A
            log_probs -= self._log_normalizer_M1
        return ActionStep(means_MEA, log_probs)


class GaussianTanhChooser:
    """A diagonal Gaussian whose mean is a tanh network.

    Args:
        layers: weight (M, I, J) and bias (M, J) of each layer.
        log_std_MA: of the Gaussian.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], log_std_MA: Tensor) -> None:
        arrays = [(to_array(weight), to_array(bias)[:, None]) for weight, bias in layers]
        *self._body, self._head = arrays
        self._choose = GaussianChoice(log_std_MA)

    def __call__(self, obs_MEO: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
        """Actions at all states."""
        hidden = obs_MEO
        for weight, bias in self._body:
            hidden = np.matmul(hidden, weight)
            hidden += bias
            np.tanh(hidden, out=hidden)
        weight, bias = self._head
        means = np.matmul(hidden, weight)
        means += bias
        return self._choose(means, noise_MEA)


def output_choice(log_std_A: Tensor | None) -> Chooser:
    """Actions for outputs: means of a Gaussian of this deviation, or logits if there is none."""
    return _choose_category if log_std_A is None else GaussianChoice(log_std_A[None])


def _choose_category(logits_MEA: np.ndarray, noise_MEA: np.ndarray | None) -> ActionStep:
    return action_step(Categorical(to_tensor(logits_MEA)), noise_MEA)
