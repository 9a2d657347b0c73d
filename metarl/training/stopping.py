"""Signals that end a training: the first one after the iteration under way, the second at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from metarl.errors import TrainingStopped

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StopRequest:
    """Whether somebody has asked the training to stop."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.signal: signal.Signals | None = None
        self._tell = tell

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        if self.signal is not None:
            raise TrainingStopped("stopped at once", number)
        self.signal = signal.Signals(number)
        self._tell(f"{self.signal.name}: stopping after this iteration; once more stops at once")


@contextmanager
def listening(tell: Callable[[str], None]) -> Iterator[StopRequest]:
    """Handle the signals while inside; only the main thread can.

    Args:
        tell: prints a line.
    """
    request = StopRequest(tell)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
