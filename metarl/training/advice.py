"""Warnings that a user needs, each with its remedy: on the console and in `warnings.txt`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metarl.evaluation import EvaluationResult
from metarl.experiment.checkpoint import Checkpoint
from metarl.experiment.checkpoint_writing import versions
from metarl.experiment.config import ExperimentConfig
from metarl.files import write_whole
from metarl.learners.base import Metrics
from metarl.training.diverged import FILE as FILE_OF_DIVERGED
from metarl.training.diverged import DivergedEpisode
from metarl_envs.protocol import TaskEnv
from metarl_envs.tasks.batches import Tasks, to_json

FILE = "warnings.txt"
_DIVERGED = "diverged"
_FEW_TASKS = 20
_EVALUATIONS_WITHOUT_GAIN = 3
_MUCH_SATURATION = 0.5
_LOW_ENTROPY = -5.0  # nats per dimension below the uniform one: a deviation of 1/600 of the range
_OFTEN = 0.01
_SAME = ("mujoco", "torch")


class Advice:
    """Says each warning once.

    Args:
        run_dir: the run folder.
        config: of the run.
        tell: prints a line.
    """

    def __init__(
        self, run_dir: Path, config: ExperimentConfig, tell: Callable[[str], None]
    ) -> None:
        self._file, self._config, self._tell = run_dir / FILE, config, tell
        self._said = set[str]()
        self._without_gain = 0

    def at_the_start(self, env: TaskEnv, held_out: Tasks, checkpoint: Checkpoint | None) -> None:
        """What tasks and the checkpoint before give reason to say."""
        config, split = self._config, self._config.evaluation.split
        overlap = env.task_distribution("train").contains(held_out).any()
        if overlap and split != "train" and not env.shares_tasks:
            self._say(
                "overlap",
                f"tasks of {split!r} belong to the training distribution too: figures on them are "
                "not those of new tasks; choose a split that is held out",
            )
        if config.tasks.num is not None and config.tasks.num < _FEW_TASKS:
            self._say(
                "few tasks",
                f"tasks.num = {config.tasks.num}: what is learned from fewer than {_FEW_TASKS} "
                "tasks seldom holds for others; take more, or tasks.kind=fresh",
            )
        if checkpoint is None:
            return
        if _tasks_of(checkpoint) not in (None, to_json(held_out)):
            self._say(
                "other tasks",
                "the evaluation has other tasks than before in this run: its earlier and later "
                "figures do not compare; keep evaluation.split, num_tasks and seed",
            )
        found = versions()
        before = checkpoint.metadata.get("versions", {})
        for name in _SAME:
            if before.get(name, found[name]) != found[name]:
                self._say(
                    name,
                    f"{name} is {found[name]}, the checkpoint was made with {before[name]}: "
                    "the run goes on, but not with the same bits",
                )

    def after_iteration(
        self, iteration: int, metrics: Metrics, diverged: DivergedEpisode | None = None
    ) -> None:
        """What an iteration's metrics give reason to say, and its first diverged episode."""
        if _number(metrics, "train/saturation") > _MUCH_SATURATION:
            self._say(
                "saturation",
                f"in iteration {iteration} {_number(metrics, 'train/saturation'):.0%} of the "
                "actions lie at or beyond their bounds: lower policy.init_std, or raise "
                "action_scale, which maps more of the policy's range onto the actuators'",
            )
        if _number(metrics, "train/entropy", 0.0) < _LOW_ENTROPY:
            self._say(
                "entropy",
                f"the policy hardly varies its actions any more (iteration {iteration}): raise "
                "policy.min_std, lower the learning rate, or add an entropy bonus",
            )
        if diverged is not None:
            self._of_divergence(iteration, _number(metrics, "train/diverged"), diverged)

    def _of_divergence(self, iteration: int, count: float, first: DivergedEpisode) -> None:
        often = _OFTEN * self._config.meta_batch * self._config.episodes
        if count <= often or _DIVERGED in self._said:
            return
        folder = self._file.parent
        write_whole(folder / FILE_OF_DIVERGED, first.model_dump_json().encode())
        self._say(
            _DIVERGED,
            f"{count:.0f} episodes of iteration {iteration} of {self._config.env.id} diverged, "
            f"first {first.describe()}: narrow the task ranges, or take smaller actions or a "
            f"shorter timestep; replay it with: metarl replay {folder}",
        )

    def after_evaluation(self, result: EvaluationResult) -> None:
        """What an evaluation gives reason to say."""
        if len(result.summary) < 2:
            return
        gain = result.summary[-1].gain
        self._without_gain = self._without_gain + 1 if gain.interval.high <= 0 else 0
        if self._without_gain == _EVALUATIONS_WITHOUT_GAIN:
            self._say(
                "no gain",
                f"{self._without_gain} evaluations in a row show no gain from adaptation "
                f"({gain.value:.3g} after {len(result.summary) - 1} steps): check the step sizes "
                "and the episodes per task, and that tasks differ (metarl check_env)",
            )

    def _say(self, kind: str, text: str) -> None:
        if kind in self._said:
            return
        self._said.add(kind)
        self._tell(f"warning: {text}")
        with self._file.open("a") as file:
            file.write(f"{text}\n")


def _number(metrics: Metrics, key: str, default: float = 0.0) -> float:
    value = metrics.get(key, default)
    return value if isinstance(value, float) else default


def _tasks_of(checkpoint: Checkpoint) -> Any:
    try:
        return json.loads((checkpoint.path / "tasks.json").read_text())
    except (OSError, ValueError):
        return None
