"""Rollouts of the tasks of all processes.

Shapes: M tasks.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from metarl.interaction.rollouts import Extent, Rollouts
from metarl.learners.base import World


def among_all(rollouts: Rollouts, world: World) -> Rollouts:
    """Rollouts of this process's tasks, told what those of the others have come to.

    How far they reach, and that some task has reported success, which others then had not.
    """
    reported = rollouts.success_ME is not None
    longest, most, somewhere = world.largest(*rollouts.extent, reported)
    among = rollouts.among(Extent(longest, most))
    return among.with_success() if somewhere else among


def of_all(rollouts: Rollouts, world: World) -> Rollouts:
    """Those that `among_all` gave, of the tasks of all processes, in global task order."""
    if world.size == 1:
        return rollouts
    return replace(rollouts, beside=None).map(world.gather)


def keys_of_all(keys: Sequence[int], world: World) -> list[int]:
    """The global keys of the tasks of all processes, in their order."""
    own = torch.tensor(list(keys), dtype=torch.int64, device="cpu").view(-1, 1)
    found: list[int] = world.gather(own).flatten().tolist()
    return found
