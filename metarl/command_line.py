"""What the scripts share: one sentence on stderr, and the exit status.

2 for a user's mistake, 3 for a fault of the machine, 128 plus its number for a signal.
"""

import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metarl.errors import ConfigError, MachineError, TrainingStopped, UserError

_DEBUG = "--debug"
_USER_STATUS, _MACHINE_STATUS = 2, 3
_SIGNAL_STATUS = 128  # plus the number of the signal, as shells have it


def parsed_json(option: str, text: str) -> dict[str, Any]:
    """The mapping that an option gives.

    Raises:
        ConfigError: if it is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{option} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f'{option} must be a mapping, such as {{"goal": [0.3, 0.2]}}')
    return document


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something takes its time, and how far its rollouts are."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    from metarl.watching import watched_by

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        shown, rollouts = bar.add_task(f"{what} ...", total=None), 0

        def tell(steps: int, horizon: int) -> None:
            nonlocal rollouts
            rollouts += steps == 1
            about = f"{what}: rollouts {rollouts}, step {steps} of {horizon}"
            bar.update(shown, description=about, completed=steps, total=horizon)

        with watched_by(tell):
            yield


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


def names_of(runs: Sequence[str | Path]) -> list[str]:
    """Names of runs, as short as they can be told apart: the ends of their paths.

    Raises:
        ConfigError: if one is named twice.
    """
    paths = [str(run) if str(run).startswith("zoo:") else str(Path(run).resolve()) for run in runs]
    if len(set(paths)) < len(paths):
        raise ConfigError(f"every run once, please, got {', '.join(map(str, runs))}")
    parts = [path.strip("/").split("/") for path in paths]
    lengths = range(1, max(map(len, parts)) + 1)
    ends = (["/".join(part[-length:]) for part in parts] for length in lengths)
    return next(names for names in ends if len(set(names)) == len(names))
