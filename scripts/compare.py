"""Train several methods over several seeds, and print one table of how they adapt.

python scripts/compare.py configs/point_navigation/*.yaml --seeds 0 1 2 --run-dir runs/compare

Every run is a run folder of its own; runs that are already there are not repeated. The
interquartile mean is over all seeds, tasks and episodes; its interval resamples seeds. With fewer
than five of them, each seed's own interquartile mean stands beside it.
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
from metarl.evaluation.statistics import interquartile_mean, seed_interval

_MANY_SEEDS = 5


def main() -> None:
    """Parse, train what is missing, print."""
    parser = argparse.ArgumentParser(description="Compare methods.")
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="for all")
    arguments = parser.parse_args()
    rows = [
        _row(path.stem, [_trained(path, seed, arguments) for seed in arguments.seeds])
        for path in arguments.configs
    ]
    steps = max(len(row) for row in rows) - 4
    print("| method | seeds | env steps | minutes | " + " | ".join(map(str, range(steps))) + " |")
    print("|" + "---|" * (steps + 4))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _trained(path: Path, seed: int, arguments: argparse.Namespace) -> Path:
    """The run folder of a config and seed, trained unless it is already there."""
    folder = arguments.run_dir / f"{path.stem}-seed{seed}"
    if not (folder / "evaluation.json").is_file():
        config = metarl.load_config(path, [*arguments.set, f"seed={seed}"])
        resume = (folder / "checkpoints").is_dir()
        metarl.train(config, folder, resume=resume, console=Console(stderr=True))
    return folder


def _row(name: str, folders: Sequence[Path]) -> list[str]:
    documents = [json.loads((folder / "evaluation.json").read_text()) for folder in folders]
    returns = np.stack([document["returns"] for document in documents])  # seeds, K+1, M, E
    cells = [seeds_cell(returns[:, step]) for step in range(returns.shape[1])]
    steps, minutes = np.mean([_cost(folder) for folder in folders], axis=0)
    return [name, str(len(folders)), f"{steps / 1e6:.1f} M", f"{minutes:.1f}", *cells]


def seeds_cell(returns_SME: np.ndarray) -> str:
    """Interquartile mean after one step, its interval over seeds, and few seeds' own values."""
    iqm = float(interquartile_mean(returns_SME.reshape(-1)))
    low, high = seed_interval(returns_SME)
    cell = f"{iqm:.1f} [{low:.1f}, {high:.1f}]"
    if len(returns_SME) >= _MANY_SEEDS:
        return cell
    own = (interquartile_mean(returns_ME.reshape(-1)) for returns_ME in returns_SME)
    return f"{cell} ({', '.join(f'{value:.1f}' for value in own)})"


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
