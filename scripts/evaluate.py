"""Measure how fast a trained meta-learner adapts to held-out tasks.

python scripts/evaluate.py runs/x --split test --num-tasks 40 --adaptation-steps 3 --json out.json
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console

import metarl
from metarl.command_line import allow_imports, run
from metarl.evaluation.task_distances import ComparesTasks
from metarl.reports.plot import plot_adaptation
from metarl.reports.table import adaptation_table
from metarl.reports.task_map import plot_task_distances


def main() -> None:
    """Parse, load, evaluate, report."""
    arguments = _parse()
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    assert learner.trained_on is not None
    names = ("split", "num_tasks", "episodes", "support_episodes", "adaptation_steps", "seed")
    chosen = {name: getattr(arguments, name) for name in names}
    if arguments.demonstrations is not None:
        shown = metarl.load_demonstrations(arguments.demonstrations, learner)
        chosen["demonstrations"] = shown
    result = metarl.evaluate(learner, arguments.env or learner.trained_on.env.id, **chosen)
    Console().print(adaptation_table(result))
    if arguments.json is not None:
        result.save_json(arguments.json)
        plot_adaptation(result, arguments.json.with_suffix(".png"))
        if isinstance(learner, ComparesTasks):
            distances = metarl.task_distances(learner, result.env, result.tasks)
            name = f"{arguments.json.stem}_distances.png"
            plot_task_distances(distances, arguments.json.with_name(name), _numbers(result.tasks))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate adaptation on held-out tasks.")
    parser.add_argument("path", type=Path, help="run folder, checkpoint folder or zoo:ENV/METHOD")
    parser.add_argument("--env", help="another environment id than the one trained on")
    parser.add_argument(
        "--split", default="test", help="test, gap, extrapolation, validation or train"
    )
    parser.add_argument("--num-tasks", type=int, default=40)
    parser.add_argument("--episodes", type=int, default=20, help="per task, to measure each step")
    parser.add_argument(
        "--support-episodes", type=int, help="per task, to adapt on; by default the measured ones"
    )
    parser.add_argument("--adaptation-steps", type=int, default=3)
    parser.add_argument("--demonstrations", help="folder, for a learner that adapts to them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result here, and plots beside it")
    allow_imports(parser)
    return parser.parse_args()


def _numbers(tasks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first number of each task."""
    values = np.asarray(next(iter(tasks.values())), float)
    return values.reshape(len(values), -1)[:, 0]


if __name__ == "__main__":
    run(main)
