"""Whoever wants to see how far rollouts are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[int, int], None]  # (steps taken, of at most so many)


def _nobody(steps: int, horizon: int) -> None:
    """What is told to nobody."""


_watcher: ContextVar[Watcher] = ContextVar("watcher", default=_nobody)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell somebody of every step of all rollouts made inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def watcher() -> Watcher:
    """Whom to tell."""
    return _watcher.get()
