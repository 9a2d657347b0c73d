"""What an evaluation found, as data, and as a notebook shows it.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

import html
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.evaluation.figure import adaptation_figure
from metarl.evaluation.metrics import METRICS
from metarl.evaluation.statistics import (
    estimate,
    interquartile_mean,
    mean,
    paired_difference,
)
from metarl.evaluation.step_summary import StepSummary
from metarl.files import write_whole
from metarl_envs.tasks.batches import Tasks, to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DIVERGED = 0.1  # with more of its episodes lost, a step has no figures


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
        step_rewards: mean over episodes of the reward of each step, zero after an episode's end:
            shape (K+1, M, H).
        step_errors: mean over running episodes of the tracking error after each step, NaN where
            none runs or the environment reports none: shape (K+1, M, H).
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
    step_rewards: np.ndarray
    step_errors: np.ndarray
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
            "summary": [step.flat() for step in self.summary],
            "env_steps": self.env_steps,
            "checkpoint": self.checkpoint,
        }

    @property
    def title(self) -> str:
        """Environment, tasks and split in a line, and what diverged."""
        lost = int(self.diverged.sum())
        text = f"{self.env}, {self.returns.shape[1]} tasks ({self.split})"
        return f"{text}, {lost} episodes diverged" if lost else text

    def plot(self) -> "Figure":
        """The adaptation curve: return against adaptation step.

        One thin line per task (mean over its episodes), the interquartile mean in bold, its
        interval for new tasks shaded. Diverged episodes are left out, and counted in the title.
        """
        return adaptation_figure(self.scores, self.summary, self.title)

    def __repr__(self) -> str:
        """A line per adaptation step, as in the table of a notebook."""
        lines = (
            f"  step {step.step}, {step.episodes} episodes: IQM {step.iqm.value:.2f} "
            f"[{step.iqm.interval.low:.2f}, {step.iqm.interval.high:.2f}], "
            f"mean {step.mean:.2f}, gain {step.gain.value:+.2f}"
            for step in self.summary
        )
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        head = "".join(f"<th>{name}</th>" for name in ("step", "episodes", "IQM", "mean", "gain"))
        rows = "".join(
            f"<tr><td>{step.step}</td><td>{step.episodes}</td>"
            f"<td>{step.iqm.value:.2f} [{step.iqm.interval.low:.2f}, "
            f"{step.iqm.interval.high:.2f}]</td>"
            f"<td>{step.mean:.2f}</td><td>{step.gain.value:+.2f}</td></tr>"
            for step in self.summary
        )
        caption = html.escape(self.title)
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{rows}</table>"

    def save_json(self, path: str | Path) -> None:
        """Write `to_json`, whole or not at all."""
        write_whole(Path(path), json.dumps(self.to_json()).encode())


def nested_lists(values: np.ndarray) -> list[Any]:
    """The values as lists, None for NaN: JSON has none."""
    cells = values.astype(object)
    cells[np.isnan(values)] = None
    plain: list[Any] = cells.tolist()
    return plain
