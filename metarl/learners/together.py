"""Rollouts of the tasks of all processes.

Shapes: M tasks.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from metarl.interaction.rollouts import Extent, Rollouts
from metarl.learners.base import World


def among_all(rollouts: Rollouts, world: World) -> Rollouts:
    """Rollouts of this process's tasks that know how far those of the other ones reach."""
    return rollouts.among(Extent(*world.largest(*rollouts.extent)))


def of_all(rollouts: Rollouts, world: World) -> Rollouts:
    """The rollouts of the tasks of all processes, in global task order."""
    if world.size == 1:
        return rollouts
    if not world.all(rollouts.success_ME is None):  # a task may not have reported any
        rollouts = rollouts.with_success()
    return replace(rollouts, beside=None).map(world.gather)


def keys_of_all(keys: Sequence[int], world: World) -> list[int]:
    """The global keys of the tasks of all processes, in their order."""
    own = torch.tensor(list(keys), dtype=torch.int64, device="cpu").view(-1, 1)
    found: list[int] = world.gather(own).flatten().tolist()
    return found
