"""Replay: what was lived through in each task, to be learned from again.

Shapes: M tasks, N transitions of one task, B drawn rows, O observation, A action.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl.interaction.rollouts import Rollouts, Transitions
from metarl.params import Params

_FIELDS = Transitions._fields


class TaskReplay:
    """The newest transitions of every task, by its key.

    Args:
        capacity: transitions kept per task.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: dict[int, Transitions] = {}

    @property
    def keys(self) -> list[int]:
        """Keys of the tasks that have transitions, in ascending order."""
        return sorted(self._kept)

    def add(self, keys: Sequence[int], rollouts: Rollouts) -> None:
        """Take in the valid steps of rollouts whose numbers are finite, one key per task."""
        for index, key in enumerate(keys):
            new, kept = rollouts.transitions(index), self._kept.get(key)
            sound_N = torch.stack([v.isfinite().all(1) for v in _numbers(new)]).all(0)
            new = Transitions(*(values[sound_N] for values in new))
            if not len(new.rewards_N):
                continue
            if kept is not None:
                new = Transitions(*(torch.cat(pair) for pair in zip(kept, new, strict=True)))
            self._kept[key] = Transitions(*(values[-self.capacity :].clone() for values in new))

    def clear(self, keys: Sequence[int]) -> None:
        """Forget the transitions of some tasks."""
        for key in keys:
            self._kept.pop(key, None)

    def sample(self, keys: Sequence[int], rows: int, generator: torch.Generator) -> Transitions:
        """Rows of each task, drawn with replacement: shapes (M, B, ...)."""
        drawn = list[Transitions]()
        for key in keys:
            kept = self._kept[key]
            chosen = torch.randint(len(kept.rewards_N), (rows,), generator=generator, device="cpu")
            drawn.append(Transitions(*(v[chosen.to(v.device)] for v in kept)))
        return Transitions(*(torch.stack(parts) for parts in zip(*drawn, strict=True)))

    def tensors(self, prefix: str) -> Params:
        """Everything, by name, for checkpoints."""
        return {
            f"{prefix}.{key}.{name}": value
            for key, kept in self._kept.items()
            for name, value in zip(_FIELDS, kept, strict=True)
        }

    def load(self, prefix: str, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `tensors` gave.

        Raises:
            ValueError: if the tensors of a task differ in length.
            TypeError: if some are missing.
        """
        found: dict[int, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            start, key, name = path.split(".")
            if start == prefix:
                found.setdefault(int(key), {})[name] = value.to(device).clone()
        kept = {key: Transitions(**found[key]) for key in sorted(found)}
        if any(len({len(values) for values in rows}) > 1 for rows in kept.values()):
            raise ValueError("the tensors of a task differ in length")
        self._kept = kept


def _numbers(rows: Transitions) -> list[Tensor]:
    """All fields as (N, size)."""
    return [values.reshape(len(values), -1) for values in rows]
