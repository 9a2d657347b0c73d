"""A policy on the observation and a task's context, and what it acts from.

Shapes: M tasks, E episodes, D embedding and context.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.learners.metric.library import TaskLibrary
from metarl.policies.actors import ActionStep, Chooser, GaussianChoice, Percept
from metarl.policies.arrays import to_array, whole_rows
from metarl.policies.distributions import DiagonalGaussian, Distribution
from metarl.policies.networks.belief_head import TanhHead
from metarl.policies.networks.heads import ArrayHead
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.policy import ActionNoiseConfig


@dataclass(frozen=True)
class Placed:
    """Where tasks lie, as far as is known.

    Attributes:
        sums_MD: of the embeddings of all transitions so far.
        counts_M: of those transitions.
        contexts_MD: that the policy takes now.
    """

    sums_MD: Tensor
    counts_M: Tensor
    contexts_MD: Tensor

    def of_tasks(self, tasks: slice) -> "Placed":
        """Of some tasks."""
        return Placed(self.sums_MD[tasks], self.counts_M[tasks], self.contexts_MD[tasks])

    @staticmethod
    def concatenate(parts: "Sequence[Placed]") -> "Placed":
        """Of the tasks of all parts."""
        columns = [(p.sums_MD, p.counts_M, p.contexts_MD) for p in parts]
        return Placed(*(torch.cat(column) for column in zip(*columns, strict=True)))


class ContextActor:
    """Acts on the observation and its task's context, so that acting changes nothing."""

    def __init__(self, head: ArrayHead, choose: Chooser, state: Placed) -> None:
        self._head, self._choose, self._state = head, choose, state
        self._contexts_M1D = to_array(state.contexts_MD)[:, None]

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        shape = seen.obs_MEO.shape[:2]
        contexts = np.broadcast_to(self._contexts_M1D, (*shape, self._contexts_M1D.shape[-1]))
        flat = (part.reshape(-1, part.shape[-1]) for part in (contexts, seen.obs_MEO))
        outputs = self._head(*map(whole_rows, flat))[: shape[0] * shape[1]]
        return self._choose(outputs.reshape(*shape, -1), noise_MEN)

    @property
    def state(self) -> Placed:
        return self._state


class ContextPolicy(ActionOutputs):
    """pi(a | s, context), and the library that contexts come from.

    Support episodes keep the initial standard deviation: what they meet has to tell tasks apart,
    however sure of itself the policy has become.
    """

    support_log_std: Tensor

    def __init__(
        self, head: TanhHead, library: TaskLibrary, noise: ActionNoiseConfig, spec: Spec
    ) -> None:
        super().__init__(noise, spec)
        self.head, self.library = head, library
        initial = torch.zeros(0) if spec.num_actions else self.log_std.detach().clone()
        self.register_buffer("support_log_std", initial)

    def of_phase(self, outputs: Tensor, adapted: Tensor) -> Distribution:
        """Action distributions; `adapted` (..., 1) tells those after support episodes."""
        if self._discrete:
            return self.distribution(outputs)
        log_std = torch.where(adapted, self.bounded_log_std(), self.support_log_std)
        return DiagonalGaussian(outputs, log_std)

    def choice_of_phase(self, adapted_M: Tensor) -> Chooser:
        """Actions for outputs (M, E, ...)."""
        if self._discrete:
            return self.choice()
        own, support = self.bounded_log_std(), self.support_log_std
        return GaussianChoice(torch.where(adapted_M.unsqueeze(-1), own, support))
