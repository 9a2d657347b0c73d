"""What the scripts share: a user's mistake is one sentence on stderr and exit status 2."""

import signal
import sys
from collections.abc import Callable

from metarl.errors import TrainingStopped, UserError

_SIGNAL_STATUS = 128  # plus the number of the signal, as shells have it


def run(main: Callable[[], None]) -> None:
    """Run a script's main function."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except TrainingStopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(_SIGNAL_STATUS + stop.number)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_SIGNAL_STATUS + signal.SIGINT)
