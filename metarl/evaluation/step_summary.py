"""Statistics after some adaptation steps."""

from typing import NamedTuple

import numpy as np

from metarl.evaluation.statistics import Estimate, Interval


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

    def flat(self) -> dict[str, float | None]:
        """All numbers by name, None for those there are not."""
        values = {
            "step": self.step,
            "episodes": self.episodes,
            "env_steps": self.env_steps,
            "diverged": self.diverged,
            "iqm": self.iqm.value,
            "ci_low": self.iqm.interval.low,
            "ci_high": self.iqm.interval.high,
            "mean_low": self.mean_interval.low,
            "mean_high": self.mean_interval.high,
            "gain": self.gain.value,
            "gain_low": self.gain.interval.low,
            "gain_high": self.gain.interval.high,
            **self.metrics,
        }
        return {name: None if np.isnan(value) else value for name, value in values.items()}
