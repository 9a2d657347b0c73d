"""What the page shows of a run: read from its folder, and measured anew where training did not.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl.environments.make import make_single
from metarl.errors import ConfigError
from metarl.evaluation.demonstrate import load_demonstrations
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.result import EvaluationResult
from metarl.evaluation.task_distances import ComparesTasks, task_distances
from metarl.experiment.building import from_checkpoint
from metarl.experiment.checkpoint import read_checkpoint
from metarl.experiment.config import to_yaml
from metarl.experiment.trust import require_trust
from metarl.learners.base import MetaLearner
from metarl.trained_env import training_of
from metarl_envs.tasks.batches import Tasks

_EXTRAPOLATION = "extrapolation"
_DRAWN = 1000  # tasks that stand for the training range


@dataclass(frozen=True)
class ReportedRun:
    """One run of the page.

    Attributes:
        name: of its folder, or what it is given.
        learner: as it was at the end.
        results: by split, on the run's own evaluation tasks and beyond the training range.
        seconds_per_step: of simulated time, of one environment step; None where there is no time.
        train_tasks: drawn from the training distribution.
        rows: of progress.csv.
        config: the resolved config, as YAML.
        versions: of packages.
        distances: of the evaluation tasks, shape (M, M), where the learner compares tasks.
        env_kwargs: of the evaluation, where others than those of training.
    """

    name: str
    learner: MetaLearner
    results: dict[str, EvaluationResult]
    seconds_per_step: float | None
    train_tasks: Tasks
    rows: Sequence[dict[str, str]]
    config: str
    versions: dict[str, str]
    distances: np.ndarray | None
    env_kwargs: Mapping[str, Any] | None

    @property
    def result(self) -> EvaluationResult:
        """On the tasks of the run's evaluation."""
        return next(iter(self.results.values()))

    @property
    def env_id(self) -> str:
        """Of the environment."""
        return self.result.env

    @property
    def evaluated_in(self) -> Mapping[str, Any]:
        """Constructor arguments of the evaluation's environment."""
        return training_of(self.learner).env.kwargs if self.env_kwargs is None else self.env_kwargs

    @property
    def changes(self) -> list[int]:
        """Steps, the same in every episode, from which a variation is in force."""
        variations = (self.evaluated_in.get("variations") or {}).values()
        return [v["at"] for v in variations if isinstance(v, dict) and isinstance(v.get("at"), int)]


def read_run(
    folder: Path, trust_imports: Collection[str] = (), name: str | None = None
) -> ReportedRun:
    """Read a finished run, and evaluate it as its config says, also beyond the training range.

    Raises:
        UserError: if the folder holds no finished run.
    """
    if not (folder / "evaluation.json").is_file():
        raise ConfigError(f"{folder} holds no finished run: evaluation.json is missing")
    checkpoint = read_checkpoint(folder)
    require_trust(checkpoint.config, checkpoint.path, trust_imports)
    config = checkpoint.config
    learner = from_checkpoint(checkpoint, config)
    settings = config.evaluation.arguments(config.env.kwargs)
    with closing(make_single(config.env, None, config.horizon)) as env:
        seconds = env.vector_env.step_s
        train = env.task_distribution("train").sample(_DRAWN, 0)
        splits = [config.evaluation.split]
        if _EXTRAPOLATION in env.vector_env.task_splits and _EXTRAPOLATION not in splits:
            splits.append(_EXTRAPOLATION)
    if config.evaluation.demonstrations is not None:
        splits = splits[:1]
        shown = load_demonstrations(config.evaluation.demonstrations, learner)
        settings["demonstrations"] = shown
    results = {s: evaluate(learner, config.env.id, split=s, **settings) for s in splits}
    first = results[splits[0]]
    distances = None
    if isinstance(learner, ComparesTasks):
        distances = np.asarray(task_distances(learner, config.env.id, first.tasks))
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return ReportedRun(
        name or folder.resolve().name,
        learner,
        results,
        seconds,
        train,
        rows,
        to_yaml(config),
        dict(checkpoint.metadata["versions"]),
        distances,
        settings["env_kwargs"],
    )


def raw_document(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """All evaluations as plain numbers, by run and split."""
    return {run.name: {s: r.to_json() for s, r in run.results.items()} for run in runs}


def in_script(document: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element, whatever names it holds."""
    return json.dumps(document).replace("<", "\\u003c")
