"""Completion of the console command, by shtab."""

import argparse

from metarl.commands.arguments import COMMANDS
from metarl.errors import ConfigError


def main(arguments: argparse.Namespace) -> None:
    """Print the script that a shell reads."""
    try:
        import shtab
    except ImportError:
        raise ConfigError(
            "completion needs shtab: pip install metarl-robotics[completion]"
        ) from None
    parser = argparse.ArgumentParser(prog="metarl")
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        command.add(commands.add_parser(name, help=command.summary))
    print(shtab.complete(parser, shell=arguments.shell))
