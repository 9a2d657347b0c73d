"""Train several methods over several seeds, and print one table of how they adapt.

python scripts/compare.py configs/point_navigation/*.yaml --seeds 0 1 2 --run-dir runs/compare

Every run is a run folder of its own; runs that are already there are not repeated. The
interquartile mean is over all seeds, tasks and episodes; its interval is over new seeds and new
tasks (docs/statistics.md). With fewer than five seeds, each one's own interquartile mean stands
beside it. Then come the mean differences to the first method, paired by seed and task.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

import metarl
from metarl.command_line import run
from metarl.evaluation.statistics import estimate, interquartile_mean, paired_difference

_MANY_SEEDS = 5


def main() -> None:
    """Parse, train what is missing, print."""
    parser = argparse.ArgumentParser(description="Compare methods.")
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="for all")
    arguments = parser.parse_args()
    runs = [
        [_trained(path, seed, arguments) for seed in arguments.seeds] for path in arguments.configs
    ]
    names = [path.stem for path in arguments.configs]
    rows = [_row(name, folders) for name, folders in zip(names, runs, strict=True)]
    steps = max(len(row) for row in rows) - 4
    print("| method | seeds | env steps | minutes | " + " | ".join(map(str, range(steps))) + " |")
    print("|" + "---|" * (steps + 4))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()
    _print_differences(names, runs)


def _trained(path: Path, seed: int, arguments: argparse.Namespace) -> Path:
    """The run folder of a config and seed, trained unless it is already there."""
    folder = arguments.run_dir / f"{path.stem}-seed{seed}"
    if not (folder / "evaluation.json").is_file():
        config = metarl.load_config(path, [*arguments.set, f"seed={seed}"])
        resume = (folder / "checkpoints").is_dir()
        metarl.train(config, folder, resume=resume, console=Console(stderr=True))
    return folder


def _row(name: str, folders: Sequence[Path]) -> list[str]:
    returns_SKME = _returns(folders)
    cells = [seeds_cell(returns_SKME[:, step]) for step in range(returns_SKME.shape[1])]
    steps, minutes = np.mean([_cost(folder) for folder in folders], axis=0)
    return [name, str(len(folders)), f"{steps / 1e6:.1f} M", f"{minutes:.1f}", *cells]


def _returns(folders: Sequence[Path]) -> np.ndarray:
    """Returns of every seed's evaluation, NaN where an episode diverged."""
    documents = [json.loads((folder / "evaluation.json").read_text()) for folder in folders]
    return np.stack([np.array(document["returns"], float) for document in documents])


def seeds_cell(returns_SME: np.ndarray) -> str:
    """Interquartile mean after one step, its interval, and few seeds' own values."""
    value, (low, high) = estimate(returns_SME)
    cell = f"{value:.1f} [{low:.1f}, {high:.1f}]"
    if len(returns_SME) >= _MANY_SEEDS:
        return cell
    own = (interquartile_mean(returns_ME) for returns_ME in returns_SME)
    return f"{cell} ({', '.join(f'{value:.1f}' for value in own)})"


def _print_differences(names: Sequence[str], runs: Sequence[Sequence[Path]]) -> None:
    """Mean differences to the first method on the same tasks, seed by seed and task by task."""
    first, *others = (_returns(folders) for folders in runs)
    tasks = [json.loads((folders[0] / "evaluation.json").read_text())["tasks"] for folders in runs]
    for name, returns, own in zip(names[1:], others, tasks[1:], strict=True):
        if own != tasks[0] or returns.shape[0] != first.shape[0]:
            print(f"{name} was measured on other tasks than {names[0]}: no differences")
            continue
        cells = []
        for step in range(min(first.shape[1], returns.shape[1])):
            value, (low, high) = paired_difference(first[:, step], returns[:, step])
            cells.append(f"{value:+.1f} [{low:+.1f}, {high:+.1f}]")
        print(f"| {name} - {names[0]} | " + " | ".join(cells) + " |")


def _cost(folder: Path) -> tuple[float, float]:
    """Environment steps and minutes of training."""
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    totals = [0.0, *(float(row["time/env_steps"]) for row in rows)]
    speeds = [float(row["time/env_steps_per_s"]) for row in rows]
    seconds = sum(np.diff(totals) / np.asarray(speeds))
    return totals[-1], float(seconds) / 60


if __name__ == "__main__":
    run(main)
