"""The charts of the page, as Vega-Lite specifications made with Altair.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from metarl.evaluation.result import EvaluationResult
from metarl.evaluation.statistics import task_means
from metarl.reports.episode import title
from metarl.reports.html.runs import ReportedRun
from metarl_envs.tasks.batches import Tasks

Spec = dict[str, Any]  # a Vega-Lite document
_ROBOT_TIME = "seconds of robot time"
_EXPERIENCE = {
    "adaptation steps": "step",
    "episodes": "episodes",
    "environment steps": "env_steps",
    _ROBOT_TIME: "seconds",
}
_LEARNING = {"environment steps": "env_steps", "minutes": "minutes"}
_HEIGHT = 320
_FEW_ROWS = 20  # a line of fewer shows its points
_MANY_ROWS = 400  # of a learning curve; more are thinned out


def adaptation_chart(runs: Sequence[ReportedRun]) -> Spec:
    """Interquartile mean and interval of all runs, against the experience behind each step."""
    rows = [
        {
            "run": run.name,
            "step": step.step,
            "episodes": step.episodes,
            "env_steps": step.env_steps,
            "seconds": step.env_steps * (run.seconds_per_step or 0.0),
            "return": _number(step.iqm.value),
            "low": _number(step.iqm.interval.low),
            "high": _number(step.iqm.interval.high),
        }
        for run in runs
        for step in run.result.summary
    ]
    choices = dict(_EXPERIENCE)
    if any(run.seconds_per_step is None for run in runs):
        del choices[_ROBOT_TIME]
    axis = _switch("experience", choices)
    base = (
        alt.Chart(_data(rows))
        .transform_calculate(x=f"datum[{axis.name}]")
        .encode(
            x=alt.X("x:Q", title="experience per task", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color("run:N"),
        )
    )
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title="return"), y2="high:Q")
    line = base.mark_line(point=True).encode(
        y="return:Q", tooltip=["run:N", "step:Q", "episodes:Q", "env_steps:Q", "return:Q"]
    )
    return _spec((band + line).add_params(axis))


def learning_chart(runs: Sequence[ReportedRun]) -> Spec | None:
    """Return in training, before and after adaptation, against environment steps or minutes."""
    rows = [row for run in runs for row in _learning_rows(run)]
    if not rows:
        return None
    axis = _switch("cost", _LEARNING)
    chart = (
        alt.Chart(_data(rows))
        .transform_calculate(x=f"datum[{axis.name}]")
        .mark_line(point=len(rows) <= _FEW_ROWS)
        .encode(
            x=alt.X("x:Q", title="cost of training"),
            y=alt.Y("return:Q", title="return in training"),
            color=alt.Color("run:N"),
            strokeDash=alt.StrokeDash("adaptation:N"),
            tooltip=["run:N", "adaptation:N", "env_steps:Q", "minutes:Q", "return:Q"],
        )
    )
    return _spec(chart.add_params(axis))


def _learning_rows(run: ReportedRun) -> list[Spec]:
    keys = [key for key in run.rows[0] if key.startswith("train/return_step_")] if run.rows else []
    shown = dict(zip(("before", "after"), (keys[0], keys[-1]), strict=True)) if keys else {}
    if len(keys) == 1:
        del shown["after"]  # training adapts to nothing
    minutes = np.cumsum([float(row.get("time/iteration_s") or 0.0) for row in run.rows]) / 60.0
    every = max(1, len(run.rows) // _MANY_ROWS)
    return [
        {
            "run": run.name,
            "adaptation": name,
            "env_steps": float(row["time/env_steps"]),
            "minutes": round(float(spent), 3),
            "return": float(row[key]),
        }
        for row, spent in list(zip(run.rows, minutes, strict=True))[::every]
        for name, key in shown.items()
        if row[key]
    ]


def task_chart(run: ReportedRun) -> Spec:
    """Mean return of every task, before and after adaptation, against what the task is."""
    names, _ = _coordinates(run.result.tasks)
    rows = [row for split, result in run.results.items() for row in _task_rows(split, result)]
    if len(names) == 1:
        return _by_one_number(run, names[0], rows)
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
            "return": _number(means_M[m]),
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


def _by_one_number(run: ReportedRun, name: str, rows: Sequence[Spec]) -> Spec:
    """Points over the task's number; the range of training is shaded."""
    _, seen_MC = _coordinates(run.train_tasks)
    ends = [{"low": float(seen_MC.min()), "high": float(seen_MC.max())}]
    shade = alt.Chart(_data(ends)).mark_rect(opacity=0.12).encode(x="low:Q", x2="high:Q")
    points = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=50)
        .encode(
            x=alt.X(f"{_column(0)}:Q", title=f"{name} (shaded: the range of training)"),
            y=alt.Y("return:Q", title="mean return"),
            color=alt.Color("adaptation:N"),
            shape=alt.Shape("split:N"),
            tooltip=[*_tips([name]), "split:N", "adaptation:N", "return:Q"],
        )
    )
    return _spec(shade + points)


def _as_a_map(names: Sequence[str], rows: Sequence[Spec]) -> Spec:
    order = dict.fromkeys(row["adaptation"] for row in rows)
    return _spec(
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(f"{_column(0)}:Q", title=names[0]),
            y=alt.Y(f"{_column(1)}:Q", title=names[1]),
            color=alt.Color("return:Q", scale=alt.Scale(scheme="viridis")),
            shape=alt.Shape("split:N"),
            column=alt.Column("adaptation:N", title=None, sort=list(order)),
            tooltip=[*_tips(names), "split:N", "return:Q"],
        )
        .properties(width=_HEIGHT, height=_HEIGHT),
        wide=False,
    )


def _in_parallel(names: Sequence[str], rows: Sequence[Spec]) -> Spec:
    """A line per task through all its numbers, coloured by its return after adaptation."""
    after = [row for row in rows if row["adaptation"] != title(0)] or rows
    columns = {name: _column(c) for c, name in enumerate(names)}
    low = {name: min(row[column] for row in after) for name, column in columns.items()}
    high = {name: max(row[column] for row in after) for name, column in columns.items()}
    width = {name: max(high[name] - low[name], 1e-12) for name in names}
    lines = [
        {
            "task": f"{row['split']} {row['task']}",
            "return": row["return"],
            "number": name,
            "place": (row[columns[name]] - low[name]) / width[name],
            "value": row[columns[name]],
        }
        for row in after
        for name in names
    ]
    return _spec(
        alt.Chart(_data(lines))
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
    return _spec(
        alt.Chart(_data(rows))
        .mark_rect()
        .encode(
            x="task:O",
            y="other:O",
            color=alt.Color("distance:Q", scale=alt.Scale(scheme="viridis")),
            tooltip=["task:O", "other:O", "distance:Q"],
        )
        .properties(width=_HEIGHT, height=_HEIGHT),
        wide=False,
    )


def _switch(name: str, choices: Mapping[str, str]) -> Any:
    """Buttons that choose the column of the axis."""
    labels, columns = list(choices), list(choices.values())
    return alt.param(
        name=name,
        value=columns[0],
        bind=alt.binding_radio(options=columns, labels=labels, name="axis: "),
    )


def _data(rows: Sequence[Spec]) -> Any:
    return alt.Data(values=list(rows))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spec(chart: Any, wide: bool = True) -> Spec:
    sized = chart.properties(width="container", height=_HEIGHT) if wide else chart
    document: Spec = sized.configure(background="transparent").to_dict()
    return document
