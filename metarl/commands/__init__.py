"""The commands: `metarl train ...`, or `python scripts/train.py ...` in the repository."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from metarl.command_line import run
from metarl.commands.arguments import COMMANDS, parser_of


def run_script(name: str) -> None:
    """Be the script of a command."""
    run(lambda: _call(name, f"python scripts/{name}.py", sys.argv[1:]))


def console() -> None:
    """Be the console command."""
    parser = console_parser()
    arguments = parser.parse_args(sys.argv[1:2])
    if arguments.command is None:
        parser.print_help()
        return
    run(lambda: _call(arguments.command, f"metarl {arguments.command}", sys.argv[2:]))


def console_parser() -> argparse.ArgumentParser:
    """The parser of the command's first word; the rest belongs to that word."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {c.summary}" for name, c in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="metarl",
        usage="metarl COMMAND ...",
        description="Meta-train policies that adapt to new tasks in a few rollouts.",
        epilog=f"commands:\n{listed}\n\n`metarl COMMAND --help` tells more of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND")
    return parser


def _call(name: str, prog: str, argv: Sequence[str]) -> None:
    arguments = parser_of(name, prog).parse_intermixed_args(argv)
    _find_modules(arguments, argv)
    import_module(f"metarl.commands.{name}").main(arguments)


def _find_modules(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    """Let what is typed name modules that lie beside a config, or in the current folder.

    A folder is searched only for the sake of a module of it that the config, an override or an
    argument names, and behind everything else: its other files are nobody's word.
    """
    named = [getattr(arguments, "config", None), *getattr(arguments, "configs", [])]
    files = [Path(path) for path in named if path is not None and Path(path).is_file()]
    said = "\n".join([*(file.read_text(errors="replace") for file in files), *argv])
    allowed = {name.partition(".")[0] for name in getattr(arguments, "allow_import", [])}
    for folder in (*(file.parent for file in files), Path.cwd()):
        here = {path.stem for path in folder.glob("*.py")}
        here |= {path.parent.name for path in folder.glob("*/__init__.py")}
        wanted = {
            n for n in here if n in allowed or re.search(rf"\b{re.escape(n)}(\.\w+)*:\w", said)
        }
        if wanted - sys.stdlib_module_names and str(folder.resolve()) not in sys.path:
            sys.path.append(str(folder.resolve()))
