"""Write one page about one run or several: figures, charts, and the robot before and after.

metarl report runs/half_cheetah_vel/rl2-seed0 runs/half_cheetah_vel/maml_trpo-seed0 \
    --output report.html

The page asks no network for anything. Runs stand side by side if they are of one environment and
were evaluated on the same tasks. Needs `pip install metarl-robotics[report]`.
"""

import argparse
import sys
from pathlib import Path

from metarl.command_line import names_of, working
from metarl.errors import ConfigError
from metarl.files import require_writable


def main(arguments: argparse.Namespace) -> None:
    """Read, write."""
    require_page(arguments.output)
    from metarl.reports.html.page import write_report
    from metarl.reports.html.runs import read_run

    behind = [argument for argument in sys.argv[1:] if argument != "report"]
    with working("evaluating and drawing"):
        named = zip(arguments.runs, names_of(arguments.runs), strict=True)
        runs = [read_run(folder, arguments.allow_import, name) for folder, name in named]
        write_report(runs, arguments.output, ["metarl", "report", *behind], not arguments.no_replay)
    size = arguments.output.stat().st_size / 2**20
    print(f"wrote {arguments.output}, {size:.1f} MiB")


def require_page(path: Path) -> None:
    """Refuse a page that could not be written.

    Raises:
        ConfigError: if its name, its folder or a package does not serve.
    """
    if path.suffix != ".html":
        raise ConfigError(f"the page must end in .html, got {path.name!r}")
    try:
        import metarl.reports.html.page  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"reports need {error.name}: pip install metarl-robotics[report]"
        ) from None
    require_writable(path)
