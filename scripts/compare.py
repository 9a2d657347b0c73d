"""Train several methods over several seeds, and print one table of how they adapt.

python scripts/compare.py configs/point_navigation/*.yaml --seeds 0 1 2 --run-dir runs/compare

Every run is a run folder of its own, `CONFIG-seedN`; runs that are already there are not repeated.
What it came to on every split is kept in `RESULTS/CONFIG-seedN.json.gz`. The interquartile mean is
over all seeds, tasks and episodes; its interval is over new seeds and new tasks
(docs/statistics.md). With fewer than five seeds, each one's own interquartile mean stands beside
it. Then come the mean differences to the first method, paired by seed and task.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

import metarl
from metarl import ExperimentConfig
from metarl.command_line import run
from metarl.environments.make import make_env
from metarl.errors import ConfigError
from metarl.evaluation.result import MOST_DIVERGED
from metarl.evaluation.statistics import interquartile_mean, paired_difference
from metarl.experiment.config import first_difference, parse_config
from metarl.experiment.run_figures import common_splits, figure, mean_cost, seeds_scores
from metarl.experiment.run_record import RunRecord, record_run
from metarl.experiment.trust import named_modules

_MANY_SEEDS, _DIGITS = 5, 4
_NO_MATTER = frozenset({"checkpoint", "num_threads", "device"})  # to what a run comes to


def main() -> None:
    """Parse, train what is missing, print."""
    parser = argparse.ArgumentParser(description="Compare methods.")
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--results", type=Path, help="default: RUN_DIR/results")
    parser.add_argument("--splits", nargs="+", help="default: all that results are reported on")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="for all")
    arguments = parser.parse_args()
    names = [path.stem for path in arguments.configs]
    for what, values in (("configs of one name", names), ("seeds", arguments.seeds)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{what} occur twice in {', '.join(map(str, values))}")
    configs = {
        path.stem: [
            metarl.load_config(path, [*arguments.set, f"seed={seed}"]) for seed in arguments.seeds
        ]
        for path in arguments.configs
    }
    if arguments.splits:
        for same in configs.values():
            _check_splits(same[0], arguments.splits)
    records = {
        name: [_record(name, config, arguments) for config in same]
        for name, same in configs.items()
    }
    for split in common_splits(record for same in records.values() for record in same):
        print(f"\n{split}\n")
        _print_table(records, split)
        print()
        _print_differences(records, split)


def _check_splits(config: ExperimentConfig, splits: Sequence[str]) -> None:
    with closing(make_env(config.env, 1, config.horizon)) as env:
        for split in splits:
            env.task_distribution(split)


def _record(name: str, config: ExperimentConfig, arguments: argparse.Namespace) -> RunRecord:
    """What a config came to; trained and evaluated unless that is already known."""
    name = f"{name}-seed{config.seed}"
    file = (arguments.results or arguments.run_dir / "results") / f"{name}.json.gz"
    if file.is_file():
        record = RunRecord.read(file)
        _check_same(file, parse_config(record.config), config)
        if set(arguments.splits or ()) <= set(record.evaluations):
            return record
    folder = arguments.run_dir / name
    if (folder / "evaluation.json").is_file():
        _check_same(folder, metarl.load_config(folder / "config.yaml"), config)
    else:
        metarl.train(config, folder, resume=True, console=Console(stderr=True))
    record = record_run(folder, arguments.splits, named_modules(config.env))
    record.save(file)
    return record


def _check_same(path: Path, old: ExperimentConfig, new: ExperimentConfig) -> None:
    difference = first_difference(old, new, _NO_MATTER)
    if difference is not None:
        raise ConfigError(
            f"{path} is of another config: {difference}; move it away, or name other folders"
        )


def _print_table(records: dict[str, list[RunRecord]], split: str) -> None:
    rows = [_row(name, runs, split) for name, runs in records.items()]
    steps = max(len(row) for row in rows) - 4
    print("| method | seeds | env steps | minutes | " + " | ".join(map(str, range(steps))) + " |")
    print("|" + "---|" * (steps + 4))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _row(name: str, runs: Sequence[RunRecord], split: str) -> list[str]:
    scores_SKME = seeds_scores(name, runs, split)
    cells = [seeds_cell(scores_SKME[:, step]) for step in range(scores_SKME.shape[1])]
    steps, minutes = mean_cost(runs)
    return [name, str(len(runs)), f"{steps / 1e6:.1f} M", f"{minutes:.1f}", *cells]


def seeds_cell(scores_SME: np.ndarray) -> str:
    """Interquartile mean after one step, its interval, and few seeds' own values."""
    cell = figure(scores_SME, _DIGITS)
    if not 1 < len(scores_SME) < _MANY_SEEDS:
        return cell
    own = (interquartile_mean(scores_ME) for scores_ME in scores_SME)
    return f"{cell} ({', '.join(f'{value:.{_DIGITS}g}' for value in own)})"


def _print_differences(records: dict[str, list[RunRecord]], split: str) -> None:
    """Mean differences to the first method on the same tasks, seed by seed and task by task."""
    (first_name, first_runs), *others = records.items()
    first = seeds_scores(first_name, first_runs, split)
    for name, runs in others:
        pairs = zip(first_runs, runs, strict=True)
        if any(a.evaluations[split]["tasks"] != b.evaluations[split]["tasks"] for a, b in pairs):
            print(f"{name} was measured on other tasks than {first_name}: no differences")
            continue
        scores = seeds_scores(name, runs, split)
        cells = []
        for step in range(min(first.shape[1], scores.shape[1])):
            lost = max(np.isnan(part[:, step]).mean() for part in (first, scores))
            value, (low, high) = paired_difference(first[:, step], scores[:, step])
            known = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells.append("none" if lost > MOST_DIVERGED else known)
        print(f"| {name} - {first_name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    run(main)
