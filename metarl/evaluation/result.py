"""What an evaluation found, as data; tables and plots of it are made in `reports`.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl.evaluation.metrics import METRICS
from metarl.evaluation.statistics import interquartile_interval, interquartile_mean
from metarl_envs.tasks.batches import Tasks, to_json


class StepSummary(NamedTuple):
    """Statistics after `step` adaptation steps.

    Attributes:
        step: adaptation steps.
        episodes: of experience per task behind this step.
        env_steps: environment steps of experience per task behind it, the mean over tasks.
        iqm: interquartile mean of the returns.
        ci_low: lower end of the 95 % interval of the interquartile mean.
        ci_high: its upper end.
        metrics: by name, see `METRICS`.
    """

    step: int
    episodes: int
    env_steps: float
    iqm: float
    ci_low: float
    ci_high: float
    metrics: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean return."""
        return self.metrics["mean"]


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
        episodes_behind: episodes of experience per task behind each step: shape (K+1,).
        env_steps_behind: environment steps of experience behind each step: shape (K+1, M).
        env_steps: environment steps that the evaluation took.
        checkpoint: where the learner came from, or None.
        held_out: False if these tasks also occur in training (two-task distributions).
    """

    env: str
    split: str
    seed: int
    tasks: Tasks
    returns: np.ndarray
    success: np.ndarray | None
    episodes_behind: np.ndarray
    env_steps_behind: np.ndarray
    env_steps: int
    checkpoint: str | None = None
    held_out: bool = True

    @cached_property
    def summary(self) -> list[StepSummary]:
        """Statistics per adaptation step."""
        values = {name: m.compute(self.returns, self.success) for name, m in METRICS.items()}
        return [
            StepSummary(
                step,
                int(self.episodes_behind[step]),
                float(self.env_steps_behind[step].mean()),
                float(interquartile_mean(returns_ME.reshape(-1))),
                *interquartile_interval(returns_ME, self.seed),
                {name: float(v[step]) for name, v in values.items() if v is not None},
            )
            for step, returns_ME in enumerate(self.returns)
        ]

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
            "summary": [_flat(step) for step in self.summary],
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


def _flat(step: StepSummary) -> dict[str, float]:
    values = step._asdict()
    metrics: dict[str, float] = values.pop("metrics")
    return {**values, **metrics}
