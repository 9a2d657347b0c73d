"""Which checkpoints of a run are kept: the newest, and the one that did best.

RUN/checkpoints/iteration_NNNNNN   by count, by the clock, and at the end
RUN/best                           of highest mean return after the last adaptation step, in the
                                   evaluations during training and at its end

The best one is *chosen* by the tasks of `evaluation.split`: its figures on that split flatter it.
Where it matters, evaluate on `validation` during training.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarl.evaluation import EvaluationResult
from metarl.experiment.checkpoint import checkpoint_path
from metarl.experiment.checkpoint_writing import (
    Snapshot,
    best_return,
    remove_older,
    save_best,
    save_checkpoint,
)
from metarl.experiment.config import ExperimentConfig
from metarl.experiment.cost import Cost
from metarl.learners.base import MetaLearner

_BEST = "best"


def due(iteration: int, every: int) -> bool:
    """Whether what happens every so many iterations (0: never) happens after this one."""
    return every > 0 and (iteration + 1) % every == 0


class CheckpointKeeper:
    """Writes the checkpoints of one run.

    Args:
        run_dir: the run folder.
        config: of the run.
        tasks: the held-out tasks of its evaluations, for JSON.
        saved_at: the iteration whose checkpoint is there already; None for a new run.
    """

    def __init__(
        self,
        run_dir: Path,
        config: ExperimentConfig,
        tasks: Mapping[str, Any],
        saved_at: int | None,
    ) -> None:
        self._run_dir, self._config, self._tasks = run_dir, config, tasks
        self._saved_at, self._saved_time = saved_at, time.monotonic()
        self._best = -math.inf if saved_at is None else best_return(run_dir / _BEST, tasks)

    def due(self, iteration: int) -> bool:
        """Whether a checkpoint is due after this iteration."""
        settings = self._config.checkpoint
        if due(iteration, settings.every):
            return True
        seconds = time.monotonic() - self._saved_time
        return settings.minutes is not None and seconds > 60 * settings.minutes

    def save(self, learner: MetaLearner, iteration: int, cost: Cost) -> None:
        """Write the checkpoint of so many iterations, unless it is there."""
        if iteration == self._saved_at:
            return
        path = checkpoint_path(self._run_dir, iteration)
        save_checkpoint(path, self._snapshot(learner, iteration, cost))
        trained = learner.trained_on
        assert trained is not None
        learner.trained_on = trained._replace(checkpoint=str(path))
        remove_older(path, self._config.checkpoint.keep)
        self._saved_at, self._saved_time = iteration, time.monotonic()

    def offer(
        self, learner: MetaLearner, iteration: int, cost: Cost, result: EvaluationResult
    ) -> None:
        """Keep these weights as the best if their evaluation is better than all before."""
        value = result.summary[-1].mean
        if not value > self._best:  # nor if it is NaN
            return
        path = self._run_dir / _BEST
        save_best(path, self._snapshot(learner, iteration, cost), value)
        self._best = value

    def _snapshot(self, learner: MetaLearner, iteration: int, cost: Cost) -> Snapshot:
        return Snapshot(learner, self._config, iteration, cost, self._tasks)
