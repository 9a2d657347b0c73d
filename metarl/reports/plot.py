"""The result of an evaluation as a picture."""

from pathlib import Path

import numpy as np

from metarl.evaluation.result import EvaluationResult


def plot_adaptation(result: EvaluationResult, path: str | Path) -> None:
    """Write the adaptation curve as PNG: return against adaptation step.

    One thin line per task (mean over its episodes), the interquartile mean in bold, its interval
    shaded.
    """
    from matplotlib.figure import Figure

    steps = np.arange(len(result.returns))
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, result.returns.mean(axis=2), color="0.6", linewidth=0.5, alpha=0.7)
    low, high = ([getattr(s, k) for s in result.summary] for k in ("ci_low", "ci_high"))
    axes.fill_between(steps, low, high, color="tab:blue", alpha=0.35, linewidth=0)
    iqm = [step.iqm for step in result.summary]
    axes.plot(steps, iqm, color="tab:blue", marker="o", linewidth=2, label="IQM, 95 % interval")
    axes.plot([], [], color="0.6", linewidth=0.5, label="one task")
    axes.set_xticks(steps, [f"{s.step}\n{s.episodes} ep." for s in result.summary])
    axes.set_xlabel("adaptation steps, and episodes of experience per task")
    axes.set_ylabel("return")
    axes.set_title(f"{result.env}, {result.returns.shape[1]} tasks ({result.split})", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
