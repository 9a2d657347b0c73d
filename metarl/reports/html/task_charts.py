"""The charts of the page about single tasks.

Shapes: M tasks, C numbers of a task.
"""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from metarl.evaluation.result import EvaluationResult
from metarl.evaluation.statistics import task_means
from metarl.reports.episode import title
from metarl.reports.html.runs import ReportedRun
from metarl.reports.html.vega import HEIGHT, Spec, data, number, spec
from metarl_envs.tasks.batches import Tasks


def task_chart(run: ReportedRun) -> Spec:
    """Mean return of every task, before and after adaptation, against what the task is."""
    names, _ = _coordinates(run.result.tasks)
    rows = [row for split, result in run.results.items() for row in _task_rows(split, result)]
    if len(names) == 1:
        return _by_onenumber(run, names[0], rows)
    if len(names) == 2:
        return _as_a_map(names, rows)
    return _in_parallel(names, rows)


def _task_rows(split: str, result: EvaluationResult) -> list[Spec]:
    _, values_MC = _coordinates(result.tasks)
    last = len(result.scores) - 1
    return [
        {
            **{_column(c): float(value) for c, value in enumerate(values_MC[m])},
            "task": m,
            "split": split,
            "adaptation": title(step),
            "return": number(means_M[m]),
        }
        for step in sorted({0, last})
        for means_M in [task_means(result.scores[step][None])]
        for m in range(len(values_MC))
    ]


def _column(number: int) -> str:
    """Where rows keep a number of the task, whatever its key is called."""
    return f"number_{number}"


def _tips(names: Sequence[str]) -> list[Any]:
    return [alt.Tooltip(f"{_column(c)}:Q", title=name) for c, name in enumerate(names)]


def _coordinates(tasks: Tasks) -> tuple[list[str], np.ndarray]:
    """Names of all numbers of a task, and their values: shape (M, C)."""
    names, columns = [], []
    for key, values in tasks.items():
        flat = np.asarray(values, float).reshape(len(values), -1)
        names += [key if flat.shape[1] == 1 else f"{key} {c}" for c in range(flat.shape[1])]
        columns.append(flat)
    return names, np.concatenate(columns, axis=1)


def _by_onenumber(run: ReportedRun, name: str, rows: Sequence[Spec]) -> Spec:
    """Points over the task's number; the range of training is shaded."""
    _, seen_MC = _coordinates(run.train_tasks)
    ends = [{"low": float(seen_MC.min()), "high": float(seen_MC.max())}]
    shade = alt.Chart(data(ends)).mark_rect(opacity=0.12).encode(x="low:Q", x2="high:Q")
    points = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=50)
        .encode(
            x=alt.X(f"{_column(0)}:Q", title=f"{name} (shaded: the range of training)"),
            y=alt.Y("return:Q", title="mean return"),
            color=alt.Color("adaptation:N"),
            shape=alt.Shape("split:N"),
            tooltip=[*_tips([name]), "split:N", "adaptation:N", "return:Q"],
        )
    )
    return spec(shade + points)


def _as_a_map(names: Sequence[str], rows: Sequence[Spec]) -> Spec:
    order = dict.fromkeys(row["adaptation"] for row in rows)
    return spec(
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(f"{_column(0)}:Q", title=names[0]),
            y=alt.Y(f"{_column(1)}:Q", title=names[1]),
            color=alt.Color("return:Q", scale=alt.Scale(scheme="viridis")),
            shape=alt.Shape("split:N"),
            column=alt.Column("adaptation:N", title=None, sort=list(order)),
            tooltip=[*_tips(names), "split:N", "return:Q"],
        )
        .properties(width=HEIGHT, height=HEIGHT),
        wide=False,
    )


def _in_parallel(names: Sequence[str], rows: Sequence[Spec]) -> Spec:
    """A line per task through all its numbers, coloured by its return after adaptation."""
    after = [row for row in rows if row["adaptation"] != title(0)] or rows
    lines = [{**row, "task": f"{row['split']} {row['task']}"} for row in after]
    columns = {_column(c): name for c, name in enumerate(names)}
    # a row per task, unfolded by the browser: a page holds many tasks of many numbers
    return spec(
        alt.Chart(data(lines))
        .transform_fold(list(columns), as_=["column", "value"])
        .transform_calculate(number=f"{json.dumps(columns)}[datum.column]")
        .transform_joinaggregate(low="min(value)", high="max(value)", groupby=["column"])
        .transform_calculate(place="(datum.value - datum.low) / max(datum.high - datum.low, 1e-12)")
        .mark_line(opacity=0.6)
        .encode(
            x=alt.X("number:N", sort=list(names), title=None),
            y=alt.Y("place:Q", title="from the least to the most of these tasks"),
            detail="task:N",
            color=alt.Color("return:Q", scale=alt.Scale(scheme="viridis")),
            tooltip=["task:N", "number:N", "value:Q", "return:Q"],
        )
    )


def distance_chart(distances_MM: np.ndarray) -> Spec:
    """The matrix of learned distances between tasks."""
    count = len(distances_MM)
    rows = [
        {"task": i, "other": j, "distance": float(distances_MM[i, j])}
        for i in range(count)
        for j in range(count)
    ]
    return spec(
        alt.Chart(data(rows))
        .mark_rect()
        .encode(
            x="task:O",
            y="other:O",
            color=alt.Color("distance:Q", scale=alt.Scale(scheme="viridis")),
            tooltip=["task:O", "other:O", "distance:Q"],
        )
        .properties(width=HEIGHT, height=HEIGHT),
        wide=False,
    )
