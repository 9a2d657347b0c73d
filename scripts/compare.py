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
from pathlib import Path

import numpy as np
from rich.console import Console

import metarl
from metarl.command_line import run
from metarl.evaluation.statistics import estimate, interquartile_mean, paired_difference
from metarl.experiment.run_record import RunRecord, record_run

_MANY_SEEDS = 5


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
    records = {
        path.stem: [_record(path, seed, arguments) for seed in arguments.seeds]
        for path in arguments.configs
    }
    for split in next(iter(records.values()))[0].evaluations:
        print(f"\n{split}\n")
        _print_table(records, split)
        print()
        _print_differences(records, split)


def _record(path: Path, seed: int, arguments: argparse.Namespace) -> RunRecord:
    """What a config and seed came to; trained and evaluated unless that is already known."""
    name = f"{path.stem}-seed{seed}"
    file = (arguments.results or arguments.run_dir / "results") / f"{name}.json.gz"
    if file.is_file():
        return RunRecord.read(file)
    folder = arguments.run_dir / name
    if not (folder / "evaluation.json").is_file():
        config = metarl.load_config(path, [*arguments.set, f"seed={seed}"])
        resume = (folder / "checkpoints").is_dir()
        metarl.train(config, folder, resume=resume, console=Console(stderr=True))
    record = record_run(folder, arguments.splits)
    record.save(file)
    return record


def _print_table(records: dict[str, list[RunRecord]], split: str) -> None:
    rows = [_row(name, runs, split) for name, runs in records.items()]
    steps = max(len(row) for row in rows) - 4
    print("| method | seeds | env steps | minutes | " + " | ".join(map(str, range(steps))) + " |")
    print("|" + "---|" * (steps + 4))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _row(name: str, runs: Sequence[RunRecord], split: str) -> list[str]:
    scores_SKME = np.stack([record.scores(split) for record in runs])
    cells = [seeds_cell(scores_SKME[:, step]) for step in range(scores_SKME.shape[1])]
    steps = np.mean([record.env_steps for record in runs])
    minutes = np.mean([record.seconds for record in runs]) / 60
    return [name, str(len(runs)), f"{steps / 1e6:.1f} M", f"{minutes:.1f}", *cells]


def seeds_cell(returns_SME: np.ndarray) -> str:
    """Interquartile mean after one step, its interval, and few seeds' own values."""
    value, (low, high) = estimate(returns_SME)
    cell = f"{value:.1f} [{low:.1f}, {high:.1f}]"
    if len(returns_SME) >= _MANY_SEEDS:
        return cell
    own = (interquartile_mean(returns_ME) for returns_ME in returns_SME)
    return f"{cell} ({', '.join(f'{value:.1f}' for value in own)})"


def _print_differences(records: dict[str, list[RunRecord]], split: str) -> None:
    """Mean differences to the first method on the same tasks, seed by seed and task by task."""
    (first_name, first_runs), *others = records.items()
    first = np.stack([record.scores(split) for record in first_runs])
    for name, runs in others:
        if runs[0].evaluations[split]["tasks"] != first_runs[0].evaluations[split]["tasks"]:
            print(f"{name} was measured on other tasks than {first_name}: no differences")
            continue
        scores = np.stack([record.scores(split) for record in runs])
        cells = []
        for step in range(min(first.shape[1], scores.shape[1])):
            value, (low, high) = paired_difference(first[:, step], scores[:, step])
            cells.append(f"{value:+.1f} [{low:+.1f}, {high:+.1f}]")
        print(f"| {name} - {first_name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    run(main)
