"""Measure how fast a trained meta-learner adapts to held-out tasks.

metarl evaluate runs/x --split test --num-tasks 40 --adaptation-steps 3 --json out.json
"""

import argparse
from collections.abc import Mapping

import numpy as np
from rich.console import Console

import metarl
from metarl.command_line import parsed_json, working
from metarl.evaluation.task_distances import ComparesTasks
from metarl.experiment.cpu_share import shared_cpus
from metarl.experiment.world import this_world
from metarl.reports.plot import plot_adaptation
from metarl.reports.table import adaptation_table
from metarl.reports.task_map import plot_task_distances


def main(arguments: argparse.Namespace) -> None:
    """Parse, load, evaluate, report."""
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    assert learner.trained_on is not None
    names = ("split", "num_tasks", "episodes", "support_episodes", "adaptation_steps", "seed")
    chosen = {name: getattr(arguments, name) for name in names}
    if arguments.demonstrations is not None:
        shown = metarl.load_demonstrations(arguments.demonstrations, learner)
        chosen["demonstrations"] = shown
    for name in ("tasks", "env_kwargs"):
        if getattr(arguments, name) is not None:
            chosen[name] = parsed_json(f"--{name.replace('_', '-')}", getattr(arguments, name))
    world = this_world()
    env = arguments.env or learner.trained_on.env.id
    with shared_cpus(), working("evaluating"):
        result = metarl.evaluate(learner, env, **chosen, world=world)
    if world.rank > 0:
        return
    Console().print(adaptation_table(result))
    if arguments.json is not None:
        result.save_json(arguments.json)
        plot_adaptation(result, arguments.json.with_suffix(".png"))
        if isinstance(learner, ComparesTasks):
            distances = metarl.task_distances(learner, result.env, result.tasks)
            name = f"{arguments.json.stem}_distances.png"
            plot_task_distances(distances, arguments.json.with_name(name), _numbers(result.tasks))


def _numbers(tasks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first number of each task."""
    values = np.asarray(next(iter(tasks.values())), float)
    return values.reshape(len(values), -1)[:, 0]
