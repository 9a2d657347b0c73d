"""The newest trials, to learn from again.

Shapes: T steps of a trial, N trials, B drawn trials.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.params import Params, without_prefix


class TrialBuffer:
    """Keeps whole trials, the newest ones.

    Args:
        capacity: trials.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: Params = {}

    def __len__(self) -> int:
        return 0 if not self._kept else next(iter(self._kept.values())).shape[1]

    def add(self, trials_TN: Mapping[str, Tensor]) -> None:
        """Take in trials: shapes (T, N, ...); shorter ones are padded with zeros at their end."""
        if not len(self):
            joined = dict(trials_TN)
        else:
            joined = {
                name: torch.cat([*_of_one_length(self._kept[name], new)], dim=1)
                for name, new in trials_TN.items()
            }
        self._kept = {name: values[:, -self.capacity :].clone() for name, values in joined.items()}

    def sample(self, count: int, generator: torch.Generator) -> Params:
        """Different trials, all of them if there are fewer: shapes (T, B, ...)."""
        order = torch.randperm(len(self), generator=generator, device="cpu")[:count]
        return {name: v.index_select(1, order.to(v.device)) for name, v in self._kept.items()}

    def tensors(self, prefix: str) -> Params:
        """Everything, by name, for checkpoints."""
        return {f"{prefix}.{name}": value for name, value in self._kept.items()}

    def load(
        self,
        prefix: str,
        tensors: Mapping[str, Tensor],
        sizes: Mapping[str, int],
        device: torch.device,
    ) -> None:
        """Restore what `tensors` gave.

        Args:
            prefix: of the names.
            tensors: all of a checkpoint, or none.
            sizes: of the last axis of each, by name; "valid" among them.
            device: where they go.

        Raises:
            ValueError: if the tensors are not those of the same trials, or of other sizes.
        """
        found = {name: values.shape[-1] for name, values in tensors.items()}
        if found and found != {f"{prefix}.{name}": size for name, size in sizes.items()}:
            raise ValueError("its tensors are not those of trials of this environment")
        own = without_prefix(tensors, f"{prefix}.")
        if own and not (own["valid"] * (own["valid"] - 1) == 0).all():
            raise ValueError("a step is valid or not")
        kept = {name: value.to(device).clone() for name, value in own.items()}
        if len({values.shape[:2] for values in kept.values()}) > 1:
            raise ValueError("its tensors differ in their trials")
        self._kept = kept


def _of_one_length(*parts: Tensor) -> list[Tensor]:
    longest = max(len(part) for part in parts)
    return [
        torch.cat([part, part.new_zeros(longest - len(part), *part.shape[1:])]) for part in parts
    ]
