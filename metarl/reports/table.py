"""The result of an evaluation for a console."""

from rich.table import Table

from metarl.evaluation.metrics import METRICS
from metarl.evaluation.result import EvaluationResult


def adaptation_table(result: EvaluationResult) -> Table:
    """One row per adaptation step; the interval is that of the interquartile mean (IQM)."""
    _, num_tasks, episodes = result.returns.shape
    tasks = "held-out tasks" if result.held_out else "tasks that training also saw"
    table = Table(
        title=f"{result.env}: {num_tasks} {tasks} ({result.split}), {episodes} episodes per step"
    )
    metrics = {name: m for name, m in METRICS.items() if name in result.summary[0].metrics}
    titles = (metric.title for metric in metrics.values())
    for column in ("step", "episodes before", *titles, "IQM", "95 % interval"):
        table.add_column(column, justify="right", min_width=len(max(column.split(), key=len)))
    table.columns[-1].no_wrap = True
    for step in result.summary:
        table.add_row(
            str(step.step),
            str(step.episodes),
            *(_cell(step.metrics[name], m.is_share) for name, m in metrics.items()),
            f"{step.iqm:.1f}",
            f"[{step.ci_low:.1f}, {step.ci_high:.1f}]",
        )
    return table


def _cell(value: float, is_share: bool) -> str:
    return f"{100 * value:.1f} %" if is_share else f"{value:.1f}"
