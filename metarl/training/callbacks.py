"""What a user adds to a training: looks at it, stops it, keeps what it wants.

    metarl.train(config, "runs/x", callbacks=[StopOnReturn(-40.0), MyCallback()])

A callback sees the run as it is; the learner's weights are not its to change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl.errors import ConfigError
from metarl.evaluation import EvaluationResult
from metarl.experiment.checkpoint_writing import Snapshot, save_checkpoint
from metarl.experiment.config import ExperimentConfig
from metarl.experiment.cost import Cost
from metarl.learners.base import MetaLearner

_RETURN = "train/return_step_"


@dataclass(frozen=True)
class Run:
    """The run that a callback sees.

    Attributes:
        config: of the run.
        run_dir: its folder.
        learner: as it is now.
        iteration: meta-updates behind it.
        cost: environment steps and wall time behind it.
    """

    config: ExperimentConfig
    run_dir: Path
    learner: MetaLearner
    iteration: int
    cost: Cost


class Callback:
    """Does nothing; override what you need."""

    def on_start(self, run: Run) -> None:
        """Before the first iteration, and before any file of the run is written."""

    def on_iteration(self, run: Run, metrics: Mapping[str, float | str]) -> bool | None:
        """After each iteration, with its row of `progress.csv`; False ends the training."""
        return None

    def on_evaluation(self, run: Run, result: EvaluationResult) -> bool | None:
        """After each evaluation during training; False ends the training."""
        return None

    def on_end(self, run: Run, result: EvaluationResult) -> None:
        """After the last evaluation."""


class StopOnReturn(Callback):
    """Ends the training once the mean return in training reaches a value.

    Args:
        value: of the return after adaptation.
        iterations: in a row that must reach it.
    """

    def __init__(self, value: float, iterations: int = 1) -> None:
        if iterations < 1:
            raise ConfigError(f"iterations must be positive, got {iterations}")
        self._value, self._needed, self._reached = value, iterations, 0

    def on_iteration(self, run: Run, metrics: Mapping[str, float | str]) -> bool:
        returns = [value for name, value in metrics.items() if name.startswith(_RETURN)]
        last = float(returns[-1]) if returns else float("nan")
        self._reached = self._reached + 1 if last >= self._value else 0
        return self._reached < self._needed


class KeepCheckpoint(Callback):
    """Keeps a checkpoint for good, every so many iterations.

    Args:
        folder: where they go, `iteration_NNNNNN` each.
        every: iterations between them.
    """

    def __init__(self, folder: str | Path, every: int) -> None:
        if every < 1:
            raise ConfigError(f"every must be positive, got {every}")
        self._folder, self._every = Path(folder), every

    def on_iteration(self, run: Run, metrics: Mapping[str, float | str]) -> bool:
        if run.iteration % self._every == 0:
            path = self._folder / f"iteration_{run.iteration:06d}"
            about = (run.config, run.iteration, run.cost)
            save_checkpoint(path, Snapshot(run.learner, *about, {}))
        return True


class WeightsAndBiases(Callback):
    """Shows the run's TensorBoard metrics on Weights & Biases as well.

    Args:
        project: of the account that wandb is logged into; WANDB_MODE=offline keeps it here.

    Raises:
        ConfigError: if wandb is not installed.
    """

    def __init__(self, project: str) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError("it needs wandb: pip install metarl-robotics[wandb]") from None
        self._wandb, self._project = wandb, project

    def on_start(self, run: Run) -> None:
        run.run_dir.mkdir(parents=True, exist_ok=True)
        self._wandb.init(
            project=self._project,
            name=run.run_dir.name,
            dir=run.run_dir,
            config=run.config.model_dump(mode="json"),
            sync_tensorboard=True,
        )

    def on_end(self, run: Run, result: EvaluationResult) -> None:
        assert self._wandb.run is not None
        for step in result.summary:
            self._wandb.run.summary[f"held_out/iqm_step_{step.step}"] = step.iqm.value
        self._wandb.finish()


class Callbacks:
    """Several of them as one."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._all = list(callbacks)

    def start(self, run: Run) -> None:
        """Tell all of the start."""
        for callback in self._all:
            callback.on_start(run)

    def go_on(
        self, run: Run, metrics: Mapping[str, float | str], result: EvaluationResult | None
    ) -> bool:
        """Tell all of an iteration, and of its evaluation if there was one: whether to go on."""
        answers = [callback.on_iteration(run, metrics) for callback in self._all]
        if result is not None:
            answers += [callback.on_evaluation(run, result) for callback in self._all]
        return all(answer is not False for answer in answers)  # one that says nothing goes on

    def end(self, run: Run, result: EvaluationResult) -> None:
        """Tell all of the end."""
        for callback in self._all:
            callback.on_end(run, result)
