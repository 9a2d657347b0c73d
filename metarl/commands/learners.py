"""List the learners, or the config keys of one."""

import argparse

from rich.console import Console
from rich.table import Table

from metarl.errors import ConfigError, did_you_mean
from metarl.experiment.config_reference import keys_of
from metarl.learners import LEARNERS


def main(arguments: argparse.Namespace) -> None:
    """Print all of them, or one."""
    name = arguments.name
    if name is None:
        table = Table("learner", "what it is", box=None)
        for key, learner in LEARNERS.items():
            table.add_row(key, (learner.__doc__ or "").strip().splitlines()[0])
        Console().print(table)
        return
    if name not in LEARNERS:
        known = ", ".join(LEARNERS)
        raise ConfigError(f"unknown learner {name!r}{did_you_mean(name, LEARNERS)}; known: {known}")
    table = Table(box=None)
    for column in ("key", "allowed", "default", "meaning"):
        table.add_column(column, no_wrap=column == "key")
    learner = LEARNERS[name]
    for section, model in (("learner.", learner.Config), ("policy.", learner.PolicyConfig)):
        for row in keys_of(model, section):
            table.add_row(*row)
    Console().print(table)
