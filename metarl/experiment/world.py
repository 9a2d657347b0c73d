"""All processes that train together: sums and decisions over the tasks of all of them.

Sums are over tasks in global order, in float64, so that they do not depend on how the tasks are
shared out.
"""

import torch
from torch import Tensor


class Alone:
    """The world of a single process."""

    rank = 0
    size = 1

    def gather(self, values_MP: Tensor) -> Tensor:
        """The rows themselves: no other process has any."""
        return values_MP

    def sum_over_tasks(self, values_MP: Tensor) -> Tensor:
        """Row after row, in float64: shape (P,)."""
        total_P = torch.zeros(values_MP.shape[1:], dtype=torch.float64, device=values_MP.device)
        for values_P in values_MP:
            total_P += values_P
        return total_P

    def all(self, flag: bool) -> bool:
        """The flag itself."""
        return flag
