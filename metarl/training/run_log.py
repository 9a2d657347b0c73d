"""Where a run's metrics go: console, `progress.csv` and TensorBoard.

The outputs are stable-baselines3's (its Logger); this is the one file of the library that
imports it.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.logger import (
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
)
from torch.utils.tensorboard import SummaryWriter

from metarl.training.rows import Rows

_CSV = "progress.csv"
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
        self._hook = threading.excepthook
        threading.excepthook = self._but_for_full_disks
        tensorboard = TensorBoardOutputFormat(str(folder))
        tensorboard.writer.close()
        # steps of an interrupted run, after the checkpoint that goes on, are not shown twice
        tensorboard.writer = SummaryWriter(str(folder), purge_step=start_iteration)
        rows = _CsvRows(Rows(folder / _CSV, start_iteration))
        outputs = [rows, tensorboard, _ConsoleLines(console)]
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
        try:
            self._logger.close()
        finally:
            threading.excepthook = self._hook

    def _but_for_full_disks(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread prints what its writer then raises in the main one as well."""
        if not isinstance(failure.exc_value, OSError):
            self._hook(failure)


class _CsvRows(KVWriter):
    """One row per written iteration."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        shown = {k: v for k, v in key_values.items() if "csv" not in (key_excluded[k] or ())}
        self._rows.add(shown)

    def close(self) -> None:
        """Nothing stays open."""


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
        if "train/cloning_loss" in key_values:
            parts.append(f"cloning loss {key_values['train/cloning_loss']:.4g}")
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
