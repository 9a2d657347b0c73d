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
from metarl.policies.networks.belief_head import TanhHead
from metarl.policies.networks.outputs import ActionOutputs
from metarl.policies.policy import ActionNoiseConfig


@dataclass(frozen=True)
class Placed:
    """Where tasks lie, as far as is known.

    Attributes:
        sums_MD: of the embeddings of all transitions so far.
        counts_M: of those transitions.
        contexts_MD: that the policy takes, once a task is placed.
    """

    sums_MD: Tensor
    counts_M: Tensor
    contexts_MD: Tensor

    def of_tasks(self, tasks: slice) -> "Placed":
        """Of some tasks."""
        return Placed(self.sums_MD[tasks], self.counts_M[tasks], self.contexts_MD[tasks])

    @property
    def known_M(self) -> Tensor:
        """Whether anything is known of a task."""
        return self.counts_M > 0

    @staticmethod
    def concatenate(parts: "Sequence[Placed]") -> "Placed":
        """Of the tasks of all parts."""
        columns = [(p.sums_MD, p.counts_M, p.contexts_MD) for p in parts]
        return Placed(*(torch.cat(column) for column in zip(*columns, strict=True)))


class ContextActor:
    """Explores, or acts on the observation and its task's context; acting changes nothing."""

    def __init__(self, policy: "ContextPolicy", state: Placed) -> None:
        self._head, self._choose = policy.head.on_arrays(), policy.choice_in(state)
        self._state, self._contexts_M1D = state, to_array(state.contexts_MD)[:, None]
        self._explores_M11 = to_array(state.counts_M)[:, None, None] == 0

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        shape = seen.obs_MEO.shape[:2]
        contexts = np.broadcast_to(self._contexts_M1D, (*shape, self._contexts_M1D.shape[-1]))
        flat = (part.reshape(-1, part.shape[-1]) for part in (contexts, seen.obs_MEO))
        outputs = self._head(*map(whole_rows, flat))[: shape[0] * shape[1]].reshape(*shape, -1)
        return self._choose(np.where(self._explores_M11, 0.0, outputs), noise_MEN)

    @property
    def state(self) -> Placed:
        return self._state


class ContextPolicy(ActionOutputs):
    """pi(a | s, context), and the library that contexts come from.

    Support episodes explore: noise of the initial standard deviation around zero. A policy that is
    trained to do without knowing the task waits where all of them are near, and what it meets
    there tells them apart badly.
    """

    support_log_std: Tensor

    def __init__(
        self, head: TanhHead, library: TaskLibrary, noise: ActionNoiseConfig, spec: Spec
    ) -> None:
        super().__init__(noise, spec)
        self.head, self.library = head, library
        initial = torch.zeros(0) if spec.num_actions else self.log_std.detach().clone()
        self.register_buffer("support_log_std", initial)

    def choice_in(self, state: Placed) -> Chooser:
        """Actions for outputs (M, E, ...)."""
        if self._discrete:
            return self.choice()
        own, support = self.bounded_log_std(), self.support_log_std
        return GaussianChoice(torch.where(state.known_M.unsqueeze(-1), own, support))
