"""What an evaluation found, as data; tables and plots of it are made in `reports`.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from metarl.errors import ConfigError
from metarl.evaluation.metrics import METRICS
from metarl.evaluation.statistics import (
    Estimate,
    Interval,
    estimate,
    interquartile_mean,
    mean,
    paired_difference,
)
from metarl_envs.tasks.batches import Tasks, to_json

MOST_DIVERGED = 0.1  # with more of its episodes lost, a step has no figures


class StepSummary(NamedTuple):
    """Statistics after `step` adaptation steps; intervals hold with 95 %, see `statistics`.

    All but the first four are NaN if more than a tenth of the episodes diverged.

    Attributes:
        step: adaptation steps.
        episodes: of experience per task behind this step.
        env_steps: environment steps of experience per task behind it, the mean over tasks.
        diverged: share of the episodes that diverged; they are left out of everything below.
        iqm: interquartile mean of the returns, and its interval.
        mean_interval: that of the mean return, which is one of `metrics`.
        gain: mean difference to step 0, task by task, and its interval.
        metrics: by name, see `METRICS`.
    """

    step: int
    episodes: int
    env_steps: float
    diverged: float
    iqm: Estimate
    mean_interval: Interval
    gain: Estimate
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
        returns: shape (K+1, M, E); those of diverged episodes are of the steps before.
        diverged: bool, shape (K+1, M, E), whether the simulation failed or was not finite.
        success: bool, shape (K+1, M, E), or None where the environment reports none.
        episodes_behind: episodes of experience per task behind each step: shape (K+1,).
        env_steps_behind: environment steps of experience behind each step: shape (K+1, M).
        env_steps: environment steps that the evaluation took.
        checkpoint: where the learner came from, or None.
        held_out: False if the learner's own training distribution contains any of these tasks.
    """

    env: str
    split: str
    seed: int
    tasks: Tasks
    returns: np.ndarray
    diverged: np.ndarray
    success: np.ndarray | None
    episodes_behind: np.ndarray
    env_steps_behind: np.ndarray
    env_steps: int
    checkpoint: str | None = None
    held_out: bool = True

    @cached_property
    def scores(self) -> np.ndarray:
        """Returns of the episodes that gave one, NaN for those that diverged: shape (K+1, M, E)."""
        return np.where(self.diverged, np.nan, self.returns)

    @cached_property
    def summary(self) -> list[StepSummary]:
        """Statistics per adaptation step."""
        lost_K = self.diverged.mean(axis=(1, 2))
        values = {name: m.compute(self.scores, self.success) for name, m in METRICS.items()}
        steps = []
        for step, lost in enumerate(lost_K):
            metrics = {name: float(v[step]) for name, v in values.items() if v is not None}
            scores, start = self.scores[step][None], self.scores[0][None]
            if lost > MOST_DIVERGED:
                metrics = dict.fromkeys(metrics, float("nan"))
                scores = np.full_like(scores, np.nan)
            steps.append(
                StepSummary(
                    step,
                    int(self.episodes_behind[step]),
                    float(self.env_steps_behind[step].mean()),
                    float(lost),
                    estimate(scores, interquartile_mean, self.seed),
                    estimate(scores, mean, self.seed).interval,
                    paired_difference(start, scores, self.seed),
                    metrics,
                )
            )
        return steps

    def to_json(self) -> dict[str, Any]:
        """The result as plain lists and numbers; None stands where an episode diverged."""
        return {
            "env": self.env,
            "split": self.split,
            "held_out": self.held_out,
            "seed": self.seed,
            "tasks": to_json(self.tasks),
            "returns": nested_lists(self.scores),
            "success": None if self.success is None else self.success.tolist(),
            "diverged": int(self.diverged.sum()),
            "summary": [_flat(step) for step in self.summary],
            "env_steps": self.env_steps,
            "checkpoint": self.checkpoint,
        }

    def save_json(self, path: str | Path) -> None:
        """Write `to_json`, whole or not at all."""
        write_whole(Path(path), json.dumps(self.to_json()).encode())


def require_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Its folder is made.

    Raises:
        ConfigError: if it is a folder, or may not be written.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _flat(step: StepSummary) -> dict[str, float | None]:
    values = {
        "step": step.step,
        "episodes": step.episodes,
        "env_steps": step.env_steps,
        "diverged": step.diverged,
        "iqm": step.iqm.value,
        "ci_low": step.iqm.interval.low,
        "ci_high": step.iqm.interval.high,
        "mean_low": step.mean_interval.low,
        "mean_high": step.mean_interval.high,
        "gain": step.gain.value,
        "gain_low": step.gain.interval.low,
        "gain_high": step.gain.interval.high,
        **step.metrics,
    }
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def nested_lists(values: np.ndarray) -> list[Any]:
    """The values as lists, None for NaN: JSON has none."""
    cells = values.astype(object)
    cells[np.isnan(values)] = None
    plain: list[Any] = cells.tolist()
    return plain
