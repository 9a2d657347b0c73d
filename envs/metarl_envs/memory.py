"""Sizes that this machine cannot hold, refused before they are allocated."""

import os
from pathlib import Path

from metarl_envs.errors import UserError

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GIB = 2**30


class MemoryNeedError(UserError):
    """A size needs more memory than the machine has."""


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's if less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int(_CONTAINER_LIMIT.read_text())
    except (OSError, ValueError):  # no container, or "max"
        return total
    return min(total, limit)


def require_memory(what: str, num_bytes: float) -> None:
    """Refuse what this machine's memory cannot hold.

    Args:
        what: needs it; begins the sentence, a plural.
        num_bytes: a lower estimate.

    Raises:
        MemoryNeedError: with the estimate.
    """
    have = machine_memory()
    if num_bytes > have:
        raise MemoryNeedError(
            f"{what} need {num_bytes / _GIB:,.1f} GiB of memory or more; "
            f"this machine has {have / _GIB:,.1f}"
        )
