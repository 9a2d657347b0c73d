"""The meta-training loop.

    for each iteration:
        tasks    <- the training distribution
        rollouts <- collected as the learner asks for them (support, adaptation, query, ...)
        meta-parameters <- the learner's update
        log; now and then evaluate on held-out tasks and write a checkpoint
    evaluate on held-out tasks

Shapes: M tasks, E episodes.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from metarl.environments.fit import Spec, spec_of_env
from metarl.environments.make import make_env
from metarl.errors import MachineError, TrainingError, TrainingStopped
from metarl.evaluation import EvaluationResult, evaluate, evaluation_tasks
from metarl.experiment.building import build_learner, from_checkpoint, start_from
from metarl.experiment.checkpoint import Checkpoint, read_checkpoint, restore_buffers
from metarl.experiment.config import ExperimentConfig, to_yaml
from metarl.experiment.cost import Cost
from metarl.experiment.cpu_share import shared_cpus
from metarl.experiment.trust import remember
from metarl.experiment.world import Alone, Processes, this_world
from metarl.experiment.zoo import resolve
from metarl.files import write_whole
from metarl.interaction.minari_files import read_if_given
from metarl.learners.base import Metrics
from metarl.learners.demonstrated import shown_to
from metarl.reports.plot import plot_adaptation
from metarl.reports.table import adaptation_table
from metarl.training.advice import Advice
from metarl.training.callbacks import Callback, Callbacks, Run
from metarl.training.iterating import Iterating, Lived
from metarl.training.iteration_metrics import evaluation_metrics
from metarl.training.keeper import CheckpointKeeper, due
from metarl.training.memory_need import require_memory_of
from metarl.training.progress import describe, make_progress
from metarl.training.run_folder import make_folder, only_writer, require_unused, resumed_checkpoint
from metarl.training.run_log import RunLog
from metarl.training.same_program import require_same_program
from metarl.training.stopping import StopRequest, listening
from metarl.training.task_sources import make_task_source
from metarl_envs.tasks.batches import to_json

_CONSOLE_LINES = 20  # per run


def train(
    config: ExperimentConfig,
    run_dir: str | Path,
    resume: bool = False,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
) -> EvaluationResult:
    """Meta-train as `config` says, and evaluate on held-out tasks at the end.

    Everything that can be refused is refused before the first simulation step and before
    anything is written.

    Args:
        config: the experiment.
        run_dir: folder for the config, metrics, checkpoints, evaluation and plot.
        resume: go on from the newest whole checkpoint in `run_dir`; from the start if it has none.
        console: where to print; by default the standard output.
        callbacks: that look on and may end it, see `training.callbacks`.

    Under `torchrun` (and in a worker of Ray Train) all processes train together: the first one
    writes and prints, and each gets the result. They share the run folder.

    SIGINT, SIGTERM and SIGHUP end the training after the iteration under way, with a checkpoint; a
    second one at once.

    Raises:
        UserError: if the config, environment or run folder is not usable.
        MachineError: if disk or memory fail; checkpoints written before stay whole.
        TrainingStopped: after such a signal.
    """
    world = this_world()
    if world.rank > 0:
        console = Console(quiet=True)
    with shared_cpus(config.num_threads):
        trainer = _Trainer(config, Path(run_dir), resume, console or Console(), callbacks, world)
        try:
            return trainer.run()
        except (OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
                raise  # torch reports its lack of memory so
            raise MachineError(_machine_fault(error, Path(run_dir))) from None
        finally:
            trainer.close()


class _Trainer:
    """State of one run."""

    def __init__(
        self,
        config: ExperimentConfig,
        run_dir: Path,
        resume: bool,
        console: Console,
        callbacks: Sequence[Callback],
        world: Alone | Processes,
    ) -> None:
        self.config, self.run_dir, self.console, self.world = config, run_dir, console, world
        self.callbacks = Callbacks(callbacks)
        resume = resume or world.noted(self._name())
        checkpoint = resumed_checkpoint(config, run_dir) if resume else None
        require_same_program(world, config, checkpoint)
        with self.world.first_alone("begin the run") as first:
            if first and not resume:
                require_unused(run_dir)
        own = world.share(config.meta_batch)
        num_envs = (own.stop - own.start) * config.episodes
        self.env = make_env(config.env, num_envs, config.horizon)
        spec = spec_of_env(self.env)
        settings, space = config.evaluation, self.env.task_space
        self.demonstrations = read_if_given(config.tasks.demonstrations, spec, space)
        self.shown = read_if_given(settings.demonstrations, spec, space)
        distribution = self.env.task_distribution("train")
        tasks = make_task_source(config, distribution, self.demonstrations)
        self.held_out_tasks = evaluation_tasks(
            self.env, settings.split, settings.num_tasks, settings.seed, self.shown
        )
        self._make_learner(checkpoint, spec)
        require_memory_of(config, self.learner)
        self.learner.require_fit()
        self._iterate = Iterating(config, self.learner, self.env, tasks, world, self.demonstrations)
        saved_at = None if checkpoint is None else self.start
        held_out = to_json(self.held_out_tasks)
        self.keeper = CheckpointKeeper(run_dir, config, held_out, saved_at)
        self._skipped, self._checkpoint = 0, checkpoint
        self.advice = Advice(run_dir, config, self._tell)

    def _make_learner(self, checkpoint: Checkpoint | None, spec: Spec) -> None:
        """The learner at the start of this training, and what lies behind it."""
        if checkpoint is None:
            self.learner = build_learner(self.config, spec)
            shown = self.demonstrations
            self.start, self.cost = 0, Cost(0 if shown is None else shown.rollouts.num_steps)
            if self.config.start_from is not None:
                self._start_from(read_checkpoint(resolve(self.config.start_from)))
        else:
            self.learner = from_checkpoint(checkpoint, self.config)
            restore_buffers(self.learner, checkpoint)
            self.start, self.cost = checkpoint.iteration, checkpoint.cost
        if self.demonstrations is not None:
            shown_to(self.learner, self.demonstrations)

    def _start_from(self, checkpoint: Checkpoint) -> None:
        """Begin with what another training has learned, whose cost counts."""
        begun = start_from(self.learner, checkpoint, self.held_out_tasks)
        self.cost = self.cost.plus(checkpoint.cost)
        source = f"begins with the parameters of {self.config.start_from}"
        self._tell("; ".join([source, *begun.remarks]))

    def run(self) -> EvaluationResult:
        self.done = self.start
        with ExitStack() as held:
            with self.world.first_alone("begin the run") as first:
                if first:
                    make_folder(self.run_dir)
                    held.enter_context(only_writer(self.run_dir))
                    self._begin()
                    held.callback(self.log.close)
            with listening(self._tell) as stop:
                self._train(stop)
                return self._finish()

    def _name(self) -> str:
        """What processes that a launcher starts again know this training by."""
        return f"begun {self.run_dir.resolve()}"

    def _begin(self) -> None:
        self.world.note(self._name())
        write_whole(self.run_dir / "config.yaml", to_yaml(self.config).encode())
        remember(self.config, self.run_dir)
        self.advice.at_the_start(self.env, self.held_out_tasks, self._checkpoint)
        self.callbacks.start(self._seen())
        self.log = RunLog(self.run_dir, self.start, self.console)

    def _seen(self) -> Run:
        return Run(self.config, self.run_dir, self.learner, self.done, self.cost)

    def _tell(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)

    def _train(self, stop: StopRequest) -> None:
        if self.start == self.config.iterations:
            self._tell(f"all {self.start} iterations are done")
        last = self.config.iterations - 1
        with make_progress(self.console) as progress:
            bar = progress.add_task("", total=self.config.iterations, completed=self.start)
            for iteration in range(self.start, self.config.iterations):
                lived = self._iterate(iteration)
                self.cost = self.cost.plus(lived.cost)
                evaluated = due(iteration, self.config.evaluation.every) and iteration < last
                result = self._evaluate(iteration + 1) if evaluated else None
                self.done, signal = iteration + 1, self._agreed_signal(stop)
                go_on = self._record(lived, result, signal)
                progress.update(bar, advance=1, description=describe(lived.metrics))
                self._check_learns(iteration, lived.metrics)
                if signal and iteration < last:
                    raise TrainingStopped(
                        f"stopped after {iteration + 1} of {last + 1} iterations; "
                        f"go on with: metarl train --resume --run-dir {self.run_dir}",
                        signal,
                    )
                if not go_on:
                    self._tell(f"a callback ended the training after {self.done} iterations")
                    break
        self._save()

    def _agreed_signal(self, stop: StopRequest) -> int:
        """The number of a signal that any process was sent, or 0."""
        return self.world.largest(0 if stop.signal is None else int(stop.signal))[0]

    def _record(self, lived: Lived, result: EvaluationResult | None, signal: int) -> bool:
        """Write what an iteration came to; returns whether to go on."""
        iteration, go_on = self.done - 1, True
        metrics: Metrics = {**lived.metrics, **self.cost.metrics()}
        if result is not None:
            metrics |= evaluation_metrics(result)
        with self.world.first_alone("write to the run folder") as first:
            if first:
                every = max(1, self.config.iterations // _CONSOLE_LINES)
                last = self.done == self.config.iterations
                show = result is not None or iteration % every == 0 or last
                self.log.write(iteration, metrics, show)
                if self.keeper.due(iteration) or signal:
                    self.keeper.save(self.learner, self.done, self.cost)
                self.advice.after_iteration(iteration, metrics, lived.diverged)
                go_on = self.callbacks.go_on(self._seen(), metrics, result)
        return self.world.all(go_on)

    def _save(self) -> None:
        with self.world.first_alone("write a checkpoint") as first:
            if first:
                self.keeper.save(self.learner, self.done, self.cost)

    def _check_learns(self, iteration: int, metrics: Metrics) -> None:
        """Stop, with a checkpoint, where update after update had to be skipped."""
        reason = metrics.get("train/rejected_because")
        self._skipped = self._skipped + 1 if reason else 0
        if self._skipped < self.config.max_skipped:
            return
        self._save()
        raise TrainingError(
            f"{self._skipped} updates in a row were skipped (the last one: {reason}), so that the "
            f"weights in {self.run_dir} are those of iteration {iteration + 1 - self._skipped}; "
            "take smaller steps or a larger meta-batch, or raise max_skipped"
        )

    def _evaluate(self, iteration: int) -> EvaluationResult:
        """Evaluate the weights after so many iterations, and keep them if they are the best."""
        settings = self.config.evaluation
        result = evaluate(
            self.learner,
            self.config.env.id,
            split=settings.split,
            **settings.arguments(self.config.env.kwargs),
            demonstrations=self.shown,
            world=self.world,
        )
        with self.world.first_alone("write a checkpoint") as first:
            if first:
                self.keeper.offer(self.learner, iteration, self.cost, result)
                self.advice.after_evaluation(result)
        return result

    def _finish(self) -> EvaluationResult:
        result = self._evaluate(self.done)
        with self.world.first_alone("write the evaluation") as first:
            if first:
                result.save_json(self.run_dir / "evaluation.json")
                plot_adaptation(result, self.run_dir / "adaptation.png")
                self.callbacks.end(self._seen(), result)
        self.console.print(adaptation_table(result))
        self.console.print(
            f"{self.cost.env_steps:,} environment steps; results in {self.run_dir}", soft_wrap=True
        )
        return result

    def close(self) -> None:
        self.env.close()


def _machine_fault(error: Exception, run_dir: Path) -> str:
    what = getattr(error, "strerror", None) or "out of memory"
    where = getattr(error, "filename", None) or run_dir
    return (
        f"{what}: {where}; checkpoints written before are whole, go on with: "
        f"metarl train --resume --run-dir {run_dir}"
    )
