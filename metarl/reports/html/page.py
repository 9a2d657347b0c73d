"""The page put together: one HTML file that asks no network for anything."""

import base64
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jinja2
import numpy as np
import vl_convert

from metarl.errors import ConfigError, UserError
from metarl.evaluation.statistics import probability_of_improvement
from metarl.files import write_whole
from metarl.reports.html.charts import adaptation_chart, error_chart, learning_chart, reward_chart
from metarl.reports.html.replay import replay_page
from metarl.reports.html.runs import ReportedRun, in_script, raw_document
from metarl.reports.html.task_charts import distance_chart, task_chart
from metarl.reports.html.vega import Spec
from metarl.reports.video import Filmed, record, record_methods
from metarl.trained_env import training_of
from metarl_envs.tasks.batches import take

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_PROTOCOL = ("the environment of the evaluation", "env.plugin", "horizon")
_FILM_WIDTH = 320  # pixels of each method
_NO_MATTER = {"num_workers", "start_method", "timeout_s", "restarts"}


class PageTable(NamedTuple):
    """Another table of the page."""

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(
    runs: Sequence[ReportedRun],
    output: Path,
    command: Sequence[str],
    replays: bool = True,
    tables: Sequence[PageTable] = (),
) -> None:
    """Write the page, whole or not at all.

    Args:
        runs: what it shows; several must be of one environment and the same tasks.
        output: an .html file.
        command: that makes this page.
        replays: whether robots are shown, which takes most of the page's size.
        tables: further ones, above the others.

    Raises:
        ConfigError: if runs cannot stand beside each other.
    """
    require_comparable(runs)
    replay = _replay(runs[0]) if replays else None
    film, missing = None, ""
    if replays and (replay is None or len(runs) > 1):
        film, missing = _film_or_why_not(runs)
    page = (
        _environment()
        .get_template(_TEMPLATE.name)
        .render(
            title=runs[0].env_id,
            runs=runs,
            tables=tables,
            rows=_summary(runs),
            charts=_charts(runs),
            pairs=_pairs(runs),
            replay=replay,
            film=film,
            missing=missing,
            replayed=runs[0].name,
            filmed=", ".join(run.name for run in runs),
            raw=in_script(raw_document(runs)),
            vega=_vega(),
            command=shlex.join(command),
        )
    )
    write_whole(output, page.encode())


def require_comparable(runs: Sequence[ReportedRun]) -> None:
    """Refuse runs whose figures would not stand beside each other.

    Raises:
        ConfigError: with what differs.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"run folders need names of their own, got {', '.join(names)}")
    for run in runs[1:]:
        if run.env_id != runs[0].env_id:
            raise ConfigError(
                f"runs of one environment, please: {runs[0].name} is of {runs[0].env_id}, "
                f"{run.name} of {run.env_id}"
            )
        for what, mine, other in zip(_PROTOCOL, _protocol(runs[0]), _protocol(run), strict=True):
            if mine != other:
                raise ConfigError(
                    f"runs of one protocol, please: {what} is {mine} in {runs[0].name}, {other} in "
                    f"{run.name}"
                )
        first, second = runs[0].result.tasks, run.result.tasks
        if first.keys() != second.keys() or any(
            not np.array_equal(first[key], second[key]) for key in first
        ):
            raise ConfigError(
                f"{runs[0].name} and {run.name} were evaluated on other tasks: give them the same "
                "evaluation.split, evaluation.num_tasks and evaluation.seed"
            )


def _protocol(run: ReportedRun) -> tuple[object, ...]:
    """What returns depend on beside the tasks; whether the task is observed is the method's."""
    env, horizon, *_ = training_of(run.learner)
    plugin = None if env.plugin is None else env.plugin.model_dump(exclude=_NO_MATTER)
    return run.evaluated_in, plugin, horizon


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _vega() -> str:
    """The charts' library, as one script."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed")
    return script.replace("</script", "<\\/script")


def _summary(runs: Sequence[ReportedRun]) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "step": step.step,
            "iqm": _estimate(step.iqm.value, *step.iqm.interval),
            "gain": _estimate(step.gain.value, *step.gain.interval) if step.step else "",
            "success": _share(step.metrics.get("success")),
            "episodes": step.episodes,
            "env_steps": f"{step.env_steps:,.0f}",
            "seconds": _seconds(step.env_steps, run.seconds_per_step),
            "numbers": f"{run.learner.adapted_size:,}" if step is run.result.summary[-1] else "",
        }
        for run in runs
        for step in run.result.summary
    ]


def _seconds(steps: float, of_a_step: float | None) -> str:
    return "" if of_a_step is None else f"{steps * of_a_step:,.1f}"


def _estimate(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "none"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(low) else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{100 * value:.0f} %"


def _charts(runs: Sequence[ReportedRun]) -> list[dict[str, str]]:
    learning = learning_chart(runs)
    charts: list[tuple[str, str, Spec]] = [
        (
            "Adaptation",
            "Interquartile mean of the return after each adaptation step, and its 95 % interval "
            "for new tasks.",
            adaptation_chart(runs),
        )
    ]
    if learning is not None:
        charts.append(("Learning", "Mean return of training tasks.", learning))
    caption = "Mean reward of each step after the last adaptation, over tasks and episodes."
    charts.append(("Within an episode", caption, reward_chart(runs)))
    errors = error_chart(runs)
    if errors is not None:
        caption = (
            "Mean distance from the command after each step, over the robots that are still up."
        )
        charts.append(("Tracking within an episode", caption, errors))
    for run in runs:
        caption = "Mean return of every task, before adaptation and after the last step."
        charts.append((f"Tasks: {run.name}", caption, task_chart(run)))
        if run.distances is not None:
            caption = "Learned distances between the evaluation tasks."
            charts.append((f"Task distances: {run.name}", caption, distance_chart(run.distances)))
    return [
        {"title": title, "caption": caption, "spec": in_script(spec)}
        for title, caption, spec in charts
    ]


def _pairs(runs: Sequence[ReportedRun]) -> list[Mapping[str, str]]:
    """For every two runs, how probable it is that the second does better on a task."""
    found = list[Mapping[str, str]]()
    for first, second in combinations(runs, 2):
        scores = (run.result.scores[-1][None] for run in (first, second))
        value, (low, high) = probability_of_improvement(*scores)
        text = _estimate(100 * value, 100 * low, 100 * high)
        found.append({"first": first.name, "second": second.name, "probability": text})
    return found


def _first_task(run: ReportedRun) -> tuple[dict[str, Any], int, int]:
    """The first evaluation task, the steps of adaptation to it, and the episodes of each."""
    task = {key: values[0] for key, values in take(run.result.tasks, [0]).items()}
    behind = run.result.episodes_behind
    steps = len(behind) - 1
    return task, steps, max(1, int(behind[-1] // max(1, steps)))


def _replay(run: ReportedRun) -> str | None:
    """The first evaluation task, as a page inside the page."""
    if run.learner.adapts_to_demonstrations:
        return None
    task, steps, episodes = _first_task(run)
    settings = {"adaptation_steps": steps, "episodes": episodes}
    page = replay_page(run.learner, task, **settings, env_kwargs=run.env_kwargs)
    return None if page is None else base64.b64encode(page.encode()).decode()


def _film_or_why_not(runs: Sequence[ReportedRun]) -> tuple[str | None, str]:
    """The film; or, where nothing here draws it, a sentence, and the page goes without."""
    try:
        return _film(runs), ""
    except (UserError, OSError) as error:
        missing = f"No film: {error}"
        print(missing, file=sys.stderr)
        return None, missing


def _film(runs: Sequence[ReportedRun]) -> str | None:
    """The first evaluation task, of several runs side by side.

    Raises:
        UserError: if nothing draws it.
    """
    if any(run.learner.adapts_to_demonstrations for run in runs):
        return None
    task, steps, episodes = _first_task(runs[0])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        if len(runs) == 1:
            settings = {"adaptation_steps": steps, "episodes": episodes}
            record(runs[0].learner, task, path, **settings, env_kwargs=runs[0].env_kwargs)
        else:
            methods = {run.name: Filmed(run.learner, *_first_task(run)[1:]) for run in runs}
            changed = runs[0].env_kwargs
            record_methods(methods, task, path, env_kwargs=changed, sampled=True, width=_FILM_WIDTH)
        return base64.b64encode(path.read_bytes()).decode()
