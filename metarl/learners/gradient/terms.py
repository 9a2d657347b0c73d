"""Terms of the outer objective on support rollouts, which methods add to it.

Shapes: M tasks of a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from metarl.estimators.advantages import Samples
from metarl.policies.distributions import Distribution


@dataclass(frozen=True)
class SupportStep:
    """The support rollouts of one adaptation step, for a chunk of tasks.

    Attributes:
        samples: the rollouts.
        policy: action distributions at their states, at the parameters looked at.
        sampler: those of the policies that collected the rollouts.
        tasks: which tasks of the meta-batch these are.
    """

    samples: Samples
    policy: Distribution
    sampler: Callable[[], Distribution]
    tasks: slice


class SupportTerm(Protocol):
    """A function of the policies at one adaptation step, added to every task's objective."""

    def __call__(self, step: SupportStep) -> Tensor:
        """Its value for every task: shape (M,)."""
        ...


def mean_kl(old: Distribution, new: Distribution, samples: Samples) -> Tensor:
    """Weighted mean over states of KL(old || new): shape (M,)."""
    weights_MEH = samples.weights_MEH
    return (weights_MEH * old.kl(new).view_as(weights_MEH)).sum((1, 2))
