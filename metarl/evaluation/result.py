"""What an evaluation found, and its forms: JSON, console table, adaptation curve.

Shapes: first axis K+1 adaptation steps, M tasks, E episodes.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from metarl.evaluation.statistics import StepSummary, summarize
from metarl_envs.tasks.batches import Tasks, to_json


@dataclass(frozen=True)
class EvaluationResult:
    """Returns of every episode of every task, before and after each adaptation step.

    Attributes:
        env: Gymnasium id.
        split: task split the tasks were drawn from.
        seed: seed of tasks, initial states and action noise.
        tasks: the M tasks.
        returns: shape (K+1, M, E).
        success: bool, shape (K+1, M, E), or None where the environment reports none.
        env_steps: environment steps taken.
        checkpoint: where the learner came from, or None.
        held_out: False if these tasks also occur in training (two-task distributions).
    """

    env: str
    split: str
    seed: int
    tasks: Tasks
    returns: np.ndarray
    success: np.ndarray | None
    env_steps: int
    checkpoint: str | None = None
    held_out: bool = True

    @cached_property
    def summary(self) -> list[StepSummary]:
        """Statistics per adaptation step."""
        return summarize(self.returns, self.seed)

    def to_json(self) -> dict[str, Any]:
        """The result as plain lists and numbers."""
        return {
            "env": self.env,
            "split": self.split,
            "held_out": self.held_out,
            "seed": self.seed,
            "tasks": to_json(self.tasks),
            "returns": self.returns.tolist(),
            "success": None if self.success is None else self.success.tolist(),
            "summary": [step._asdict() for step in self.summary],
            "env_steps": self.env_steps,
            "checkpoint": self.checkpoint,
        }

    def save_json(self, path: str | Path) -> None:
        """Write `to_json`, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.writing")
        temporary.write_text(json.dumps(self.to_json()))
        os.replace(temporary, path)

    def table(self) -> Table:
        """The summary for a console."""
        _, num_tasks, episodes = self.returns.shape
        tasks = "held-out tasks" if self.held_out else "tasks that training also saw"
        table = Table(
            title=f"{self.env}: {num_tasks} {tasks} ({self.split}), {episodes} episodes per step"
        )
        for column in ("adaptation step", "mean return", "IQM", "95 % interval of the IQM"):
            table.add_column(column, justify="right")
        if self.success is not None:
            table.add_column("success", justify="right")
        for step in self.summary:
            interval = f"[{step.ci_low:.1f}, {step.ci_high:.1f}]"
            cells = [str(step.step), f"{step.mean:.1f}", f"{step.iqm:.1f}", interval]
            if self.success is not None:
                cells.append(f"{100 * self.success[step.step].mean():.1f} %")
            table.add_row(*cells)
        return table

    def plot(self, path: str | Path) -> None:
        """Write the adaptation curve as PNG: return against adaptation step.

        One thin line per task (mean over its episodes), the interquartile mean in bold, its
        interval shaded.
        """
        from matplotlib.figure import Figure

        steps = np.arange(len(self.returns))
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, self.returns.mean(axis=2), color="0.6", linewidth=0.5, alpha=0.7)
        low, high = ([getattr(s, k) for s in self.summary] for k in ("ci_low", "ci_high"))
        axes.fill_between(steps, low, high, color="tab:blue", alpha=0.35, linewidth=0)
        iqm = [step.iqm for step in self.summary]
        axes.plot(steps, iqm, color="tab:blue", marker="o", linewidth=2, label="IQM, 95 % interval")
        axes.plot([], [], color="0.6", linewidth=0.5, label="one task")
        axes.set_xticks(steps)
        axes.set_xlabel("adaptation step")
        axes.set_ylabel("return")
        axes.set_title(f"{self.env}, {self.returns.shape[1]} tasks ({self.split})", fontsize=10)
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=150)
