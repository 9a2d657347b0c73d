"""The result of an evaluation as a picture."""

from pathlib import Path

import numpy as np

from metarl.evaluation.result import EvaluationResult
from metarl.evaluation.statistics import task_means


def plot_adaptation(result: EvaluationResult, path: str | Path) -> None:
    """Write the adaptation curve as PNG: return against adaptation step.

    One thin line per task (mean over its episodes), the interquartile mean in bold, its interval
    for new tasks shaded. Diverged episodes are left out, and counted in the title.
    """
    from matplotlib.figure import Figure

    steps = np.arange(len(result.returns))
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    means_KM = np.stack([task_means(scores_ME[None]) for scores_ME in result.scores])
    axes.plot(steps, means_KM, color="0.6", linewidth=0.5, alpha=0.7)
    low, high = zip(*(step.iqm.interval for step in result.summary), strict=True)
    axes.fill_between(steps, low, high, color="tab:blue", alpha=0.35, linewidth=0)
    iqm = [step.iqm.value for step in result.summary]
    axes.plot(steps, iqm, color="tab:blue", marker="o", linewidth=2, label="IQM, 95 % interval")
    axes.plot([], [], color="0.6", linewidth=0.5, label="one task")
    axes.set_xticks(steps, [f"{s.step}\n{s.episodes} ep." for s in result.summary])
    axes.set_xlabel("adaptation steps, and episodes of experience per task")
    axes.set_ylabel("return")
    lost = int(result.diverged.sum())
    title = f"{result.env}, {result.returns.shape[1]} tasks ({result.split})"
    axes.set_title(f"{title}, {lost} episodes diverged" if lost else title, fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
