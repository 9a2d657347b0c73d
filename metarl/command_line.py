"""What the scripts share: a user's mistake is one sentence on stderr and exit status 2."""

import sys
from collections.abc import Callable

from metarl.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Run a script's main function."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
