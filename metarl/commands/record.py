"""Film a trained meta-learner on one task, before and after adapting to it, side by side.

metarl record runs/x --task '{"target_velocity": 2.0}' --output clip.mp4
metarl record runs/x runs/y --task '{"target_velocity": 2.0}' --output both.mp4

Without a screen the first of EGL and OSMesa that works draws, or the one that MUJOCO_GL names.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import metarl
from metarl.command_line import names_of, parsed_json, working
from metarl.errors import ConfigError
from metarl.reports.video import Filmed, record_grid, record_methods


def main(arguments: argparse.Namespace) -> None:
    """Parse, load, adapt, film."""
    tasks, kwargs = [parsed_json("--task", text) for text in arguments.task], None
    if arguments.env_kwargs is not None:
        kwargs = parsed_json("--env-kwargs", arguments.env_kwargs)
    if len(arguments.paths) > 1:
        return _methods(arguments, tasks, kwargs)
    if arguments.sampled:
        raise ConfigError("--sampled is for several runs beside each other")
    learner = metarl.load(arguments.paths[0], trust_imports=arguments.allow_import)
    with working("filming"):
        found = record_grid(
            learner,
            tasks,
            arguments.output,
            adaptation_steps=arguments.adaptation_steps,
            episodes=arguments.episodes,
            seed=arguments.seed,
            env_kwargs=kwargs,
        )
    for text, returns in zip(arguments.task, found, strict=True):
        about = f"{text}: " if len(found) > 1 else ""
        for step, value in returns.items():
            print(f"{about}return after {step} adaptation steps: {value:.1f}")
    print(f"wrote {arguments.output}")


def _methods(
    arguments: argparse.Namespace,
    tasks: Sequence[Mapping[str, Any]],
    kwargs: Mapping[str, Any] | None,
) -> None:
    """Film one task with each run."""
    if len(tasks) != 1:
        raise ConfigError("several runs are filmed on one task: give --task once")
    settings = (arguments.adaptation_steps, arguments.episodes)
    methods = {
        name: Filmed(metarl.load(path, trust_imports=arguments.allow_import), *settings)
        for name, path in zip(names_of(arguments.paths), arguments.paths, strict=True)
    }
    with working("filming"):
        returns = record_methods(
            methods,
            tasks[0],
            arguments.output,
            seed=arguments.seed,
            env_kwargs=kwargs,
            sampled=arguments.sampled,
        )
    for name, value in returns.items():
        print(f"{name}: return {value:.1f}")
    print(f"wrote {arguments.output}")
