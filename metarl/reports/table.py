"""The result of an evaluation for a console."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table

from metarl.evaluation.metrics import METRICS
from metarl.evaluation.result import EvaluationResult
from metarl.evaluation.statistics import Estimate


def adaptation_table(result: EvaluationResult) -> Table:
    """One row per adaptation step; intervals resample tasks, see `evaluation.statistics`."""
    _, num_tasks, episodes = result.returns.shape
    tasks = "held-out tasks" if result.held_out else "tasks that training may have seen"
    table = Table(
        title=f"{result.env}: {num_tasks} {tasks} ({result.split}), {episodes} episodes per step",
        caption="± is a 95 % interval for new tasks of this distribution",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    summary = result.summary
    metrics = {n: m for n, m in METRICS.items() if n in summary[0].metrics and n != "mean"}
    titles = (metric.title for metric in metrics.values())
    lost = any(step.diverged for step in summary)
    rows = [
        (
            str(step.step),
            str(step.episodes),
            _estimate(Estimate(step.mean, step.mean_interval)),
            _estimate(step.gain) if step.step else "",
            _cell(step.iqm.value),
            *(_cell(step.metrics[name], m.is_share) for name, m in metrics.items()),
            *([f"{100 * step.diverged:.1f} %"] if lost else []),
        )
        for step in summary
    ]
    columns = ("step", "episodes before", "mean return", "gain", "IQM", *titles)
    for title, *cells in zip((*columns, *(["diverged"] if lost else [])), *rows, strict=True):
        # a title may fold, a number may not
        table.add_column(title, justify="right", overflow="fold", min_width=max(map(len, cells)))
    for row in rows:
        table.add_row(*row)
    return table


def _estimate(estimate: Estimate) -> str:
    known = math.isfinite(estimate.reach)
    return f"{estimate.value:.1f}±{estimate.reach:.1f}" if known else _cell(estimate.value)


def _cell(value: float, is_share: bool = False) -> str:
    if math.isnan(value):
        return "none"
    return f"{100 * value:.1f} %" if is_share else f"{value:.1f}"
