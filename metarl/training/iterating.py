"""One iteration of meta-training: this process's tasks, and what all of them came to.

Shapes: M tasks of this process, E episodes.
"""

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.experiment.config import ExperimentConfig
from metarl.experiment.cost import Cost
from metarl.experiment.world import Alone, Processes
from metarl.interaction.demonstrations import Demonstrations
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Clock, collect
from metarl.learners.base import Iteration, MetaLearner, Metrics
from metarl.learners.together import among_all
from metarl.seeding import Purpose
from metarl.training.diverged import DivergedEpisode, first_diverged
from metarl.training.iteration_metrics import outcomes, training_metrics
from metarl.training.progress import time_split
from metarl.training.task_sources import KeyedTasks, TaskSource
from metarl_envs.mirror import mirror_of
from metarl_envs.protocol import TaskEnv, changes_in_episodes
from metarl_envs.tasks.batches import repeat, rows_of, take


class Lived(NamedTuple):
    """What an iteration came to, the same in all processes but for the time.

    Attributes:
        metrics: its row of `progress.csv`.
        cost: what it took.
        diverged: its first episode that diverged.
    """

    metrics: Metrics
    cost: Cost
    diverged: DivergedEpisode | None


class Iterating:
    """Makes iterations.

    Args:
        config: of the run.
        learner: is improved.
        env: E sub-environments for each of this process's tasks.
        tasks: of all processes, by iteration.
        world: all processes.
        demonstrations: of the run's tasks, if it has some.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        learner: MetaLearner,
        env: TaskEnv,
        tasks: TaskSource,
        world: Alone | Processes,
        demonstrations: Demonstrations | None,
    ) -> None:
        self.config, self.learner, self.env, self.tasks = config, learner, env, tasks
        self.world, self.demonstrations = world, demonstrations
        self.tells = learner.is_told and changes_in_episodes(env)
        self.mirror = mirror_of(env) if learner.needs_mirror else None

    def __call__(self, iteration: int) -> Lived:
        """The iteration with this index."""
        start, clock, world = time.perf_counter(), Clock(), self.world
        meta_batch = self.config.meta_batch
        world.traffic.seconds.clear()  # of what lies between iterations
        keyed = self._own(iteration)
        self.env.set_tasks(repeat(keyed.tasks, self.config.episodes))
        found = list[Tensor]()
        diverged = dict[int, DivergedEpisode]()  # by phase

        def gather(state: object) -> Rollouts:
            phase, horizon = len(found), self.config.horizon
            path = (self.config.seed, Purpose.TRAINING, iteration, phase)
            given = self.env, self.learner, state, path, keyed.keys, horizon, clock
            rollouts = collect(*given, self.in_force if self.tells else None)
            rollouts = among_all(rollouts, world)
            found.append(outcomes(rollouts, self.learner.spec))
            first = first_diverged(rollouts, keyed, path, iteration)
            if first is not None:
                diverged[phase] = first
            return rollouts

        shown = self.demonstrations and self.demonstrations.of_tasks(keyed.keys)
        own = self.learner.iterate(
            Iteration(
                iteration, keyed.tasks, keyed.keys, meta_batch, gather, world, shown, self.mirror
            )
        )
        means = [world.sum_over_tasks(o) / meta_batch for o in found]
        metrics = {**training_metrics(means, meta_batch), **own}
        steps = int(world.gather(torch.tensor([[clock.env_steps]], device="cpu")).sum())
        first = self._first(diverged) if metrics["train/diverged"] else None
        elapsed_s = time.perf_counter() - start
        split = time_split(clock, elapsed_s, steps, world.spent())
        return Lived({**metrics, **split}, Cost(steps, elapsed_s), first)

    def in_force(self) -> np.ndarray:
        """The numbers of the tasks as they hold now: shape (M E, P)."""
        return rows_of(self.env.tasks_in_force)

    def _own(self, iteration: int) -> KeyedTasks:
        tasks, keys = self.tasks(iteration)
        own = self.world.share(self.config.meta_batch)
        return KeyedTasks(take(tasks, own), list(keys)[own])

    def _first(self, diverged: dict[int, DivergedEpisode]) -> DivergedEpisode | None:
        """The first one of all processes: of the earliest phase, then of the first task."""
        phase = min(diverged, default=None)
        own = "" if phase is None else f"{phase} {diverged[phase].model_dump_json()}"
        told = [text.partition(" ") for text in self.world.tell(own) if text]
        if not told:
            return None
        return DivergedEpisode.model_validate_json(min(told, key=lambda text: int(text[0]))[2])
