"""List the environments, or what one has: tasks, splits, arguments."""

import argparse
import inspect
from contextlib import closing

from rich.console import Console
from rich.table import Table

import metarl_envs
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_single, registered_horizon
from metarl_envs.registration import ADAPTERS


def main(arguments: argparse.Namespace) -> None:
    """Print all of them, or one."""
    if arguments.name is None:
        table = Table("environment", "horizon", box=None)
        for env_id, registration in {**metarl_envs.ENVIRONMENTS, **ADAPTERS}.items():
            table.add_row(env_id, str(registration.max_episode_steps))
        Console().print(table)
        return
    horizon = registered_horizon(arguments.name) or 1
    with closing(make_single(EnvConfig(id=arguments.name), None, horizon)) as env:
        batch = env.vector_env
        made = type(batch)
        print(f"{arguments.name}\n\n{inspect.cleandoc(made.__doc__ or '')}\n")
        for name, value in (
            ("task_space", batch.task_space),
            ("observations", env.observation_space),
            ("actions", env.action_space),
            ("splits", ", ".join(batch.task_splits)),
            ("horizon", horizon),
        ):
            print(f"{name}: {value}")
