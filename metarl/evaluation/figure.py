"""The adaptation curve as a picture.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from metarl.evaluation.statistics import task_means
from metarl.evaluation.step_summary import StepSummary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def adaptation_figure(
    scores_KME: np.ndarray, summary: Sequence[StepSummary], title: str
) -> "Figure":
    """Return against adaptation step, see `EvaluationResult.plot`."""
    from matplotlib.figure import Figure

    steps = np.arange(len(scores_KME))
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    means_KM = np.stack([task_means(scores_ME[None]) for scores_ME in scores_KME])
    axes.plot(steps, means_KM, color="0.6", linewidth=0.5, alpha=0.7)
    low, high = zip(*(step.iqm.interval for step in summary), strict=True)
    axes.fill_between(steps, low, high, color="tab:blue", alpha=0.35, linewidth=0)
    iqm = [step.iqm.value for step in summary]
    axes.plot(steps, iqm, color="tab:blue", marker="o", linewidth=2, label="IQM, 95 % interval")
    axes.plot([], [], color="0.6", linewidth=0.5, label="one task")
    axes.set_xticks(steps, [f"{s.step}\n{s.episodes} ep." for s in summary])
    axes.set_xlabel("adaptation steps, and episodes of experience per task")
    axes.set_ylabel("return")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
