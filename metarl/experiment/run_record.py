"""What a training came to, as one small file: cost and the returns of its evaluations.

Shapes: K stands for the K+1 adaptation steps, M tasks, E episodes.
"""

import gzip
import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl.environments.make import make_env
from metarl.errors import CheckpointError
from metarl.evaluation.demonstrate import load_demonstrations
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.result import EvaluationResult, nested_lists
from metarl.experiment.building import from_checkpoint
from metarl.experiment.checkpoint import read_checkpoint
from metarl.experiment.cost import require_time
from metarl.experiment.trust import require_trust
from metarl.files import write_whole
from metarl.learners.base import World
from metarl_envs.tasks.batches import to_json

REPORTED_SPLITS = ("test", "gap", "extrapolation")
_DIGITS = 6  # significant, of returns


@dataclass(frozen=True)
class RunRecord:
    """One training.

    Attributes:
        config: the resolved config.
        env_steps: environment steps that training took, those of trainings it went on from among
            them.
        seconds: wall time of as much training, evaluations left out; None where it is not known.
        versions: of the packages, Python and the platform.
        evaluations: by split: tasks, "returns" (K+1, M, E; None where an episode diverged),
            "success" or None, "episodes_behind" (K+1,), whether "held_out".
    """

    config: dict[str, Any]
    env_steps: int
    seconds: float | None
    versions: dict[str, str]
    evaluations: dict[str, dict[str, Any]]

    def scores(self, split: str) -> np.ndarray:
        """Returns on a split, NaN where an episode diverged: shape (K+1, M, E)."""
        return np.array(self.evaluations[split]["returns"], float)

    def save(self, path: Path) -> None:
        """Write compressed JSON, whole or not at all; equal records give equal bytes."""
        document = json.dumps(asdict(self), separators=(",", ":"))
        write_whole(path, gzip.compress(document.encode(), mtime=0))

    @staticmethod
    def read(path: Path) -> "RunRecord":
        """What `save` wrote.

        Raises:
            CheckpointError: if the file is none of its kind.
        """
        try:
            record = RunRecord(**json.loads(gzip.decompress(path.read_bytes())))
            require_time(record.seconds)
            return record
        except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is no record of a run: {error}") from None


def record_run(
    run_dir: Path,
    splits: Sequence[str] | None = None,
    trust_imports: Collection[str] = (),
    world: World | None = None,
) -> RunRecord:
    """Evaluate a finished run as its config says, on other splits too.

    Args:
        run_dir: the run folder.
        splits: where to evaluate; by default those of `REPORTED_SPLITS` that the environment has.
            Demonstrations are of tasks of their own: the split is that of the config.
        trust_imports: modules that the checkpoint may import, see `metarl.load`.
        world: processes that share the tasks.
    """
    checkpoint = read_checkpoint(run_dir)
    require_trust(checkpoint.config, checkpoint.path, trust_imports)
    config, learner = checkpoint.config, from_checkpoint(checkpoint, checkpoint.config)
    settings = config.evaluation.arguments(config.env.kwargs)
    if config.evaluation.demonstrations is not None:
        splits = [config.evaluation.split]  # the tasks are those that are shown
        shown = load_demonstrations(config.evaluation.demonstrations, learner)
        settings["demonstrations"] = shown
    if splits is None:
        env = make_env(config.env, 1, config.horizon)
        splits = [name for name in REPORTED_SPLITS if name in env.task_splits]
        env.close()
    evaluations = {
        split: _plain(evaluate(learner, config.env.id, split=split, world=world, **settings))
        for split in splits
    }
    cost, versions = checkpoint.cost, checkpoint.metadata["versions"]
    return RunRecord(config.model_dump(mode="json"), *cost, versions, evaluations)


def _plain(result: EvaluationResult) -> dict[str, Any]:
    rounded = np.array([f"{value:.{_DIGITS}g}" for value in result.scores.flat], float)
    return {
        "tasks": to_json(result.tasks),
        "held_out": result.held_out,
        "seed": result.seed,
        "success": None if result.success is None else result.success.tolist(),
        "returns": nested_lists(rounded.reshape(result.scores.shape)),
        "episodes_behind": result.episodes_behind.tolist(),
        "env_steps_behind": result.env_steps_behind.mean(1).tolist(),
    }
