"""The charts of the page about runs; `task_charts` has those about tasks.

Shapes: H steps of an episode.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from metarl.reports.html.runs import ReportedRun
from metarl.reports.html.vega import Spec, data, number, spec

_ROBOT_TIME = "seconds of robot time"
_EXPERIENCE = {
    "adaptation steps": "step",
    "episodes": "episodes",
    "environment steps": "env_steps",
    _ROBOT_TIME: "seconds",
}
_LEARNING = {"environment steps": "env_steps", "minutes": "minutes"}
_FEW_ROWS = 20  # a line of fewer shows its points
_PARTS = 50  # of an episode, whose rewards are averaged
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
            "return": number(step.iqm.value),
            "low": number(step.iqm.interval.low),
            "high": number(step.iqm.interval.high),
        }
        for run in runs
        for step in run.result.summary
    ]
    choices = dict(_EXPERIENCE)
    if any(run.seconds_per_step is None for run in runs):
        del choices[_ROBOT_TIME]
    axis = _switch("experience", choices)
    base = (
        alt.Chart(data(rows))
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
    return spec((band + line).add_params(axis))


def learning_chart(runs: Sequence[ReportedRun]) -> Spec | None:
    """Return in training, before and after adaptation, against environment steps or minutes."""
    rows = [row for run in runs for row in _learning_rows(run)]
    if not rows:
        return None
    axis = _switch("cost", _LEARNING)
    chart = (
        alt.Chart(data(rows))
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
    return spec(chart.add_params(axis))


def _learning_rows(run: ReportedRun) -> list[Spec]:
    keys = [key for key in run.rows[0] if key.startswith("train/return_step_")] if run.rows else []
    shown = dict(zip(("before", "after"), (keys[0], keys[-1]), strict=True)) if keys else {}
    if len(keys) == 1:
        del shown["after"]  # training adapts to nothing
    every = max(1, len(run.rows) // _MANY_ROWS)
    return [
        {
            "run": run.name,
            "adaptation": name,
            "env_steps": float(row["time/env_steps"]),
            "minutes": _minutes(row),
            "return": float(row[key]),
        }
        for row in run.rows[::every]
        for name, key in shown.items()
        if row[key]
    ]


def _minutes(row: Mapping[str, str]) -> float | None:
    """Of training so far; None where they are not known."""
    seconds = row.get("time/seconds")
    return round(float(seconds) / 60.0, 3) if seconds else None


def reward_chart(runs: Sequence[ReportedRun]) -> Spec:
    """Mean reward of every step of an episode after the last adaptation, by run."""
    values = {run.name: run.result.step_rewards[-1] for run in runs}
    return _episode_chart(values, "reward", "reward of a step", _changes(runs))


def error_chart(runs: Sequence[ReportedRun]) -> Spec | None:
    """Tracking error of every step after the last adaptation, of running episodes, by run."""
    values = {run.name: run.result.step_errors[-1] for run in runs}
    if all(np.isnan(errors_MH).all() for errors_MH in values.values()):
        return None
    return _episode_chart(values, "error", "tracking error", _changes(runs))


def _changes(runs: Sequence[ReportedRun]) -> list[int]:
    """Steps at which something changes in mid-episode."""
    return sorted({step for run in runs for step in run.changes})


def _episode_chart(
    values: Mapping[str, np.ndarray], name: str, title: str, changes: Sequence[int]
) -> Spec:
    """Means over tasks and a few steps, by run, with a line where something changes.

    If all changes at one step, steps are counted from it.
    """
    start = changes[0] if len(changes) == 1 else 0
    rows = [
        {"run": run, "step": int(step) - start, name: number(value)}
        for run, values_MH in values.items()
        for step, value in _by_step(values_MH)
    ]
    about = "steps since the change" if len(changes) == 1 else "step of the episode"
    lines = (
        alt.Chart(data(rows))
        .mark_line()
        .encode(
            x=alt.X("step:Q", title=about),
            y=alt.Y(f"{name}:Q", title=title),
            color=alt.Color("run:N"),
            tooltip=["run:N", "step:Q", f"{name}:Q"],
        )
    )
    if not changes:
        return spec(lines)
    marks = data([{"step": step - start} for step in changes])
    return spec(lines + alt.Chart(marks).mark_rule(strokeDash=[4, 4]).encode(x="step:Q"))


def _by_step(values_MH: np.ndarray) -> list[tuple[float, float]]:
    """Middles of some dozens of equal parts of an episode, and their means without NaN."""
    steps = values_MH.shape[1]
    parts = np.array_split(np.arange(steps), min(steps, _PARTS))
    found = [values_MH[:, part] for part in parts]
    means = [v[~np.isnan(v)].mean() if (~np.isnan(v)).any() else np.nan for v in found]
    middles = [(part[0] + part[-1] + 1) / 2 for part in parts]
    return list(zip(middles, means, strict=True))


def _switch(name: str, choices: Mapping[str, str]) -> Any:
    """Buttons that choose the column of the axis."""
    labels, columns = list(choices), list(choices.values())
    return alt.param(
        name=name,
        value=columns[0],
        bind=alt.binding_radio(options=columns, labels=labels, name="axis: "),
    )
