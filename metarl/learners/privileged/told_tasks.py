"""Tasks as numbers that a network can be told: shifted and scaled by what training has met.

Values that are not scaled let an encoder collapse: forces in newtons drown frictions of one.
Shapes: M tasks, P numbers of a task.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.params import Params, sum_of_rows
from metarl.policies.arrays import to_tensor
from metarl_envs.tasks.batches import Tasks, rows_of

PREFIX = "told."
_LEAST_STD = 1e-6


class ToldTasks:
    """Running means and deviations of the numbers of all training tasks.

    Args:
        size: P.
        device: where they live.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        zeros = torch.zeros(size, dtype=torch.float64, device=device)
        self._sums = {"count": zeros[:1].clone(), "sum": zeros, "square": zeros.clone()}

    def take_in(self, tasks_MP: Tensor) -> None:
        """Tasks of all processes join the statistics."""
        values_MP = tasks_MP.double()
        self._sums["count"] = self._sums["count"] + len(values_MP)
        self._sums["sum"] = self._sums["sum"] + sum_of_rows(values_MP)
        self._sums["square"] = self._sums["square"] + sum_of_rows(values_MP.square())

    @property
    def mean(self) -> Tensor:
        """Of what has been met, zeros before: float64, shape (P,)."""
        return self._sums["sum"] / self._sums["count"].clamp(min=1.0)

    def scaled(self, tasks_MP: Tensor, dtype: torch.dtype) -> Tensor:
        """Zero mean and unit deviation over what has been met; what never varies is zero."""
        count = self._sums["count"].clamp(min=1.0)
        mean = self.mean
        std = (self._sums["square"] / count - mean.square()).clamp(min=0.0).sqrt()
        varies = std > _LEAST_STD * (1.0 + mean.abs())
        scaled_MP = (tasks_MP.double() - mean) / torch.where(varies, std, 1.0)
        return torch.where(varies, scaled_MP, 0.0).to(dtype)

    def state(self) -> Params:
        """The statistics, to be saved beside the parameters."""
        return {f"{PREFIX}{name}": value for name, value in self._sums.items()}

    def load(self, params: Mapping[str, Tensor]) -> Params:
        """Take the statistics out of saved parameters; returns the others."""
        for name, own in self._sums.items():
            self._sums[name] = params[f"{PREFIX}{name}"].to(own).clone()
        return {name: v for name, v in params.items() if not name.startswith(PREFIX)}


def numbers_of(tasks: Tasks, device: torch.device) -> Tensor:
    """All numbers of each task, keys in alphabetical order: float64, shape (M, P)."""
    return to_tensor(rows_of(tasks), device).double()
