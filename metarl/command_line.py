"""What the scripts share: one sentence on stderr, and the exit status.

2 for a user's mistake, 3 for a fault of the machine, 128 plus its number for a signal.
"""

import argparse
import signal
import sys
import traceback
from collections.abc import Callable

from metarl.errors import MachineError, TrainingStopped, UserError

_DEBUG = "--debug"
_USER_STATUS, _MACHINE_STATUS = 2, 3
_SIGNAL_STATUS = 128  # plus the number of the signal, as shells have it


def allow_imports(parser: argparse.ArgumentParser) -> None:
    """The option with which a user trusts the modules that a checkpoint names."""
    parser.add_argument(
        "--allow-import",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that the checkpoint's config may import",
    )


def run(main: Callable[[], None]) -> None:
    """Run a script's main function; `--debug`, anywhere, shows the traceback of an error."""
    debug = _DEBUG in sys.argv
    if debug:
        sys.argv.remove(_DEBUG)
    try:
        main()
    except (UserError, MachineError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_MACHINE_STATUS if isinstance(error, MachineError) else _USER_STATUS)
    except OSError as error:
        if debug:
            traceback.print_exc()
        about = f"{error.strerror}: {error.filename}" if error.strerror else str(error)
        print(f"error: {about}", file=sys.stderr)
        sys.exit(_MACHINE_STATUS)
    except TrainingStopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(_SIGNAL_STATUS + stop.number)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_SIGNAL_STATUS + signal.SIGINT)
