"""Whether learned distances order tasks as the tasks' own numbers do.

python -m benchmarks.task_distances runs/half_cheetah_vel/prototypes --split validation

Spearman's correlation, over all pairs of tasks, of `metarl.task_distances` with the distance of the
tasks' numbers, each divided by its deviation over these tasks: places and velocities are compared
so, angles are not. And the same once the embedding's axes are scaled to one deviation: what is lost
because some axis is stretched, and not because tasks lie elsewhere.
"""

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

import metarl
from metarl.command_line import run
from metarl.environments.make import make_env
from metarl.errors import ConfigError
from metarl.evaluation.measured_tasks import evaluation_tasks
from metarl.trained_env import training_of
from metarl_envs.tasks.batches import rows_of

_SEED, _FEWEST = 0, 5
_LEAST = 0.01


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Learned distances against the tasks' own.")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num-tasks", type=int, default=30)
    parser.add_argument("--episodes", type=int, nargs="+", default=[1, 10], help="per task")
    args = parser.parse_args()
    if args.num_tasks < _FEWEST:
        raise ConfigError(f"a rank correlation takes --num-tasks {_FEWEST} or more")
    for folder in args.run_dirs:
        learner = metarl.load(folder)
        trained = training_of(learner)
        with closing(make_env(trained.env, args.num_tasks, trained.horizon)) as env:
            tasks = evaluation_tasks(env, args.split, args.num_tasks, _SEED)
        numbers = rows_of(tasks).astype(float)
        true = pdist(numbers / np.maximum(numbers.std(0), 1e-12))
        for episodes in args.episodes:
            learned = metarl.task_distances(learner, trained.env, tasks, episodes=episodes)
            found = spearmanr(true, squareform(learned, checks=False)).statistic
            rounded = spearmanr(true, pdist(_whitened(learned))).statistic
            print(
                f"{folder}, {args.num_tasks} tasks of {args.split}, episodes {episodes}: "
                f"rank correlation {found:.2f}, axes at the same deviation {rounded:.2f}"
            )


def _whitened(distances_MM: np.ndarray) -> np.ndarray:
    """The points with these squared distances, their main axes scaled to the same deviation.

    Classical scaling (Torgerson 1952); axes of less than a hundredth of the largest's variance are
    left out.
    """
    count = len(distances_MM)
    centred = np.eye(count) - 1.0 / count
    variances, axes = np.linalg.eigh(-0.5 * centred @ distances_MM @ centred)
    points: np.ndarray = axes[:, variances > _LEAST * variances.max()]
    return points


if __name__ == "__main__":
    run(main)
