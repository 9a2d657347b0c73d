"""Where a run's metrics go: console, `progress.csv` and TensorBoard.

The outputs are stable-baselines3's (its Logger); this is the one file of the library that
imports it.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
)

from metarl.evaluation.result import write_whole

_CSV, _BACKUP = "progress.csv", ".progress_before.csv"
_SHOW = "show"
# metrics shown step by step, and what they are called
_CURVES = {"train/return_step_": "return", "evaluation/mean_step_": "held-out return"}


class RunLog:
    """One row of metrics per iteration.

    Args:
        folder: the run folder.
        start_iteration: rows of earlier iterations are kept, later ones belong to an
            interrupted run and are dropped.
        console: where lines are printed.
    """

    def __init__(self, folder: Path, start_iteration: int, console: Console) -> None:
        backup = folder / _BACKUP
        if start_iteration and not backup.is_file() and (folder / _CSV).is_file():
            # a kill while rows are written anew loses none of them
            write_whole(backup, (folder / _CSV).read_bytes())
        rows = _rows_before(backup, start_iteration)
        writer = CSVOutputFormat(str(folder / _CSV))
        for row in rows:
            writer.write(row, {key: () for key in row})
        backup.unlink(missing_ok=True)
        outputs = [writer, TensorBoardOutputFormat(str(folder)), _ConsoleLines(console)]
        self._logger = Logger(str(folder), outputs)

    def write(self, iteration: int, metrics: Mapping[str, float | str], show: bool) -> None:
        """Log the metrics of one iteration; on the console only if `show`."""
        self._logger.record("iteration", iteration)
        self._logger.record(_SHOW, float(show), exclude=("csv", "tensorboard"))
        for key, value in metrics.items():
            self._logger.record(key, value)
        self._logger.dump(step=iteration)

    def close(self) -> None:
        """Close all outputs."""
        self._logger.close()


class _ConsoleLines(KVWriter):
    """One line per written iteration: the returns before and after adaptation."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        if not key_values.get(_SHOW):
            return
        parts = [f"iteration {step:>5}"]
        for prefix, name in _CURVES.items():
            returns = {k: v for k, v in key_values.items() if k.startswith(prefix)}
            if returns:
                values = " -> ".join(f"{returns[key]:.1f}" for key in sorted(returns, key=_step))
                parts.append(f"{name} {values}")
        if key_values.get("train/diverged"):
            parts.append(f"{key_values['train/diverged']:.0f} episodes diverged")
        if key_values.get("train/rejected_because"):
            parts.append(f"step rejected: {key_values['train/rejected_because']}")
        speed, physics = key_values["time/env_steps_per_s"], key_values["time/physics"]
        parts.append(f"{speed:,.0f} steps/s" + (f", {physics:.0%} of physics" if physics else ""))
        self._console.print("   ".join(parts), highlight=False)

    def close(self) -> None:
        """The console stays open."""


def _step(key: str) -> int:
    """The number at the end of `group/return_step_10`."""
    return int(key.rpartition("_")[2])


def _rows_before(path: Path, iteration: int) -> list[dict[str, float | int | str]]:
    """Rows of earlier iterations, as they were before they were written."""
    if not path.is_file() or iteration == 0:
        return []
    with path.open(newline="") as file:
        # a kill may leave half a row, which has no number yet or not all of its columns
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    kept = [row for row in rows if row["iteration"] and int(row["iteration"]) < iteration]
    return [{key: _parsed(value) for key, value in row.items()} for row in kept]


def _parsed(text: str) -> float | int | str:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
