"""Sizes that this machine cannot hold, refused before they are allocated."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from metarl_envs.errors import UserError

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GIB = 2**30
_less: ContextVar[tuple[float, str] | None] = ContextVar("less", default=None)


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


@contextmanager
def memory_limit(num_bytes: float, whose: str) -> Iterator[None]:
    """Inside, `require_memory` refuses to store more than `num_bytes`, which `whose` has."""
    token = _less.set((num_bytes, whose))
    try:
        yield
    finally:
        _less.reset(token)


def require_memory(what: str, num_bytes: float, *, stored: bool = True) -> None:
    """Refuse what this machine's memory cannot hold.

    Args:
        what: needs it; begins the sentence, a plural.
        num_bytes: a lower estimate.
        stored: whether it would stand in a file of weights; if not, only the machine limits it.

    Raises:
        MemoryNeedError: with the estimate.
    """
    less = _less.get() if stored else None
    limits = [(float(machine_memory()), "this machine"), *filter(None, [less])]
    have, whose = min(limits)
    if num_bytes > have:
        raise MemoryNeedError(
            f"{what} need {num_bytes / _GIB:,.1f} GiB of memory or more; "
            f"{whose} has {have / _GIB:,.3g}"
        )
