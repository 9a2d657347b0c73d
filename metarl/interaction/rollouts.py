"""Rollouts of all tasks and episodes at once: data only.

Shapes: M tasks, E episodes per task, H steps, O observation, A action, N steps of one task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

TOLD = "told"  # the extra that holds the tasks in force: float64, shape (M, E, H, P)
_TENSORS = (
    "obs_MEHO",
    "actions_MEHA",
    "rewards_MEH",
    "valid_MEH",
    "terminated_ME",
    "diverged_ME",
    "last_obs_MEO",
    "success_ME",
    "log_probs_MEH",
)


def valid_first(valid: Tensor, most: int) -> Tensor:
    """An order of the steps (the last axis): the valid ones first, cut to the most there are."""
    return (~valid).to(torch.int8).argsort(dim=-1, stable=True)[..., : max(1, most)]


def in_order(values: Tensor, order: Tensor) -> Tensor:
    """The steps of `values`, whose leading axes are those of `order`, in that order."""
    axes = order.dim()
    index = order.view(*order.shape, *[1] * (values.dim() - axes))
    return values.gather(axes - 1, index.expand(*order.shape, *values.shape[axes:]))


class Transitions(NamedTuple):
    """The valid steps of one task, one row each."""

    obs_NO: Tensor
    actions_NA: Tensor
    rewards_N: Tensor
    next_obs_NO: Tensor
    terminated_N: Tensor  # bool, True in the last step of an episode that ended by itself


class Extent(NamedTuple):
    """How far the rollouts of several tasks reach.

    Attributes:
        longest: valid steps of the longest episode.
        most: valid steps of the task that has most.
    """

    longest: int
    most: int


class Acted(NamedTuple):
    """An actor that made rollouts.

    Attributes:
        first_state: the learner's state that it was made from.
        actor: the actor.
        final_state: its state after the last step.
    """

    first_state: object
    actor: object
    final_state: object


@dataclass(frozen=True)
class Rollouts:
    """E episodes of each of M tasks.

    Attributes:
        obs_MEHO: observations before each action; the last one, repeated, after an episode's end.
        actions_MEHA: actions as the policy gave them (before any clipping).
        rewards_MEH: rewards; zero where not valid.
        valid_MEH: bool, False after an episode's end and in a step that diverged.
        terminated_ME: bool, True where the episode ended by itself, False where it was cut off.
        diverged_ME: bool, True where the simulation diverged.
        last_obs_MEO: the observation after the last step.
        success_ME: bool, whether any step reported `success`, or the last one `is_success`; never
            where the simulation diverged; None if the environment never reports either.
        log_probs_MEH: log-probabilities of the actions at the parameters that sampled them, or
            None where the learner has none.
        extras: what the actor recorded beside its actions, leading axes M, E, H; and what the
            environment reports of `protocol.PER_STEP_KEYS`.
        acted: who acted, where every episode took all steps: a cache of what can be made again from
            the state before and these rollouts. None else, and in every changed copy.
        beside: how far these rollouts and those of the tasks of other processes reach, where there
            are some: padding changes the last bits of sums, so all are padded alike.
    """

    obs_MEHO: Tensor
    actions_MEHA: Tensor
    rewards_MEH: Tensor
    valid_MEH: Tensor
    terminated_ME: Tensor
    diverged_ME: Tensor
    last_obs_MEO: Tensor
    success_ME: Tensor | None = None
    log_probs_MEH: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    acted: Acted | None = field(default=None, init=False, compare=False)
    beside: Extent | None = None

    def __getstate__(self) -> dict[str, object]:
        """What is pickled: data, not who acted."""
        return {**self.__dict__, "acted": None}

    def with_actor(self, first_state: object, actor: object, final_state: object) -> "Rollouts":
        """The same rollouts, and who made them."""
        copy = replace(self)
        object.__setattr__(copy, "acted", Acted(first_state, actor, final_state))
        return copy

    def among(self, extent: Extent) -> "Rollouts":
        """The same rollouts, beside others that reach so far."""
        copy = replace(self, beside=extent)
        return copy if self.acted is None else copy.with_actor(*self.acted)

    @property
    def extent(self) -> Extent:
        """How far these rollouts reach, and those beside them."""
        if self.beside is not None:
            return self.beside
        lengths_ME = self.lengths_ME
        return Extent(int(lengths_ME.max()), int(lengths_ME.sum(1).max()))

    @property
    def returns_ME(self) -> Tensor:
        """Undiscounted return of every episode."""
        return (self.rewards_MEH * self.valid_MEH).sum(-1)

    @property
    def lengths_ME(self) -> Tensor:
        """Number of valid steps of every episode."""
        return self.valid_MEH.sum(-1)

    @property
    def steps_M(self) -> Tensor:
        """Environment steps that each task took."""
        return self.lengths_ME.sum(-1) + self.diverged_ME.sum(-1)

    @property
    def num_steps(self) -> int:
        """Environment steps that these rollouts took."""
        return int(self.steps_M.sum())

    @property
    def next_obs_MEHO(self) -> Tensor:
        """Observations after each valid step; after the end they are the last ones."""
        shifted = torch.cat([self.obs_MEHO[:, :, 1:], self.last_obs_MEO.unsqueeze(2)], dim=2)
        ends_MEH = self._last_valid_MEH()
        return torch.where(ends_MEH.unsqueeze(-1), self.last_obs_MEO.unsqueeze(2), shifted)

    @property
    def terminated_MEH(self) -> Tensor:
        """True in the last step of an episode that ended by itself."""
        return self._last_valid_MEH() & self.terminated_ME.unsqueeze(-1)

    def _last_valid_MEH(self) -> Tensor:
        steps_H = torch.arange(self.valid_MEH.shape[-1], device=self.valid_MEH.device)
        return steps_H == self.lengths_ME.unsqueeze(-1) - 1

    def transitions(self, task: int) -> Transitions:
        """The valid steps of one task, episode by episode: shapes (N, ...)."""
        valid = self.valid_MEH[task]
        own = self.task_slice(slice(task, task + 1))
        return Transitions(
            own.obs_MEHO[0][valid],
            own.actions_MEHA[0][valid],
            own.rewards_MEH[0][valid],
            own.next_obs_MEHO[0][valid],
            own.terminated_MEH[0][valid],
        )

    def log_probs(self) -> Tensor:
        """`log_probs_MEH` of rollouts that have them."""
        assert self.log_probs_MEH is not None, "these rollouts were made without log-probabilities"
        return self.log_probs_MEH

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rollouts":
        """The same rollouts with `function` applied to every tensor."""
        values = {name: getattr(self, name) for name in _TENSORS}
        changed = {name: function(v) for name, v in values.items() if v is not None}
        extras = {name: function(v) for name, v in self.extras.items()}
        return replace(self, extras=extras, **changed)  # type: ignore[arg-type]

    def cropped(self) -> "Rollouts":
        """The same rollouts up to the end of the longest episode; at least one step."""
        longest = max(1, self.extent.longest)
        if longest == self.valid_MEH.shape[-1]:
            return self
        kept = {
            name: getattr(self, name)[:, :, :longest]
            for name in _TENSORS
            if "H" in name.rpartition("_")[2] and getattr(self, name) is not None
        }
        extras = {name: values[:, :, :longest] for name, values in self.extras.items()}
        return replace(self, extras=extras, **kept)

    def task_slice(self, tasks: slice) -> "Rollouts":
        """The rollouts of some tasks."""
        return self.map(lambda tensor: tensor[tasks])

    def with_success(self) -> "Rollouts":
        """The same rollouts; where no success was reported, there was none."""
        if self.success_ME is not None:
            return self
        return replace(self, success_ME=torch.zeros_like(self.terminated_ME))

    @staticmethod
    def concatenate_episodes(parts: "Sequence[Rollouts]") -> "Rollouts":
        """Rollouts of the same tasks, one after the other along the episode axis."""
        names = parts[0].extras.keys()
        assert all(part.extras.keys() == names for part in parts), "extras differ between episodes"
        if any(part.success_ME is not None for part in parts):
            parts = [part.with_success() for part in parts]
        present = [n for n in _TENSORS if all(getattr(part, n) is not None for part in parts)]
        joined = {n: torch.cat([getattr(part, n) for part in parts], dim=1) for n in present}
        extras = {n: torch.cat([p.extras[n] for p in parts], dim=1) for n in parts[0].extras}
        return Rollouts(**joined, extras=extras)  # type: ignore[arg-type]
