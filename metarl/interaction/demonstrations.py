"""Episodes of experts, task by task: data only.

Shapes: M tasks, E episodes per task, H steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from metarl.interaction.rollouts import Rollouts
from metarl_envs.tasks.batches import Tasks, num_tasks, take

UNKNOWN_SPLIT = "demonstrated"


@dataclass(frozen=True)
class Demonstrations:
    """What experts did on some tasks.

    Attributes:
        tasks: the M tasks.
        rollouts: E episodes of each; actions as the environment took them.
        split: that the tasks come from, if that is known.
    """

    tasks: Tasks
    rollouts: Rollouts
    split: str = UNKNOWN_SPLIT

    @property
    def num_tasks(self) -> int:
        """M."""
        return num_tasks(self.tasks)

    @property
    def episodes(self) -> int:
        """E."""
        return int(self.rollouts.valid_MEH.shape[1])

    def of_tasks(self, index: Sequence[int]) -> "Demonstrations":
        """Those of some tasks, in that order."""
        rows = torch.as_tensor(
            list(index), dtype=torch.int64, device=self.rollouts.valid_MEH.device
        )
        tasks = take(self.tasks, list(index))
        return replace(self, tasks=tasks, rollouts=self.rollouts.map(lambda v: v[rows]))

    def of_episodes(self, index: Sequence[int]) -> "Demonstrations":
        """Some episodes of every task, in that order."""
        columns = torch.as_tensor(
            list(index), dtype=torch.int64, device=self.rollouts.valid_MEH.device
        )
        return replace(self, rollouts=self.rollouts.map(lambda v: v[:, columns]))
