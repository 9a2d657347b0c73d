"""Speed of sampling, of whole iterations and of one adaptation, against physics alone.

The limit is `Batch.step` on the same simulations, through the same states with the same controls,
measured between the steps of the work itself: a noisy machine slows both alike.
"""

import gc
import itertools
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from mujoco.batch import Batch

from benchmarks.limit import PhysicsLimit
from metarl.environments.fit import spec_of_spaces
from metarl.environments.make import make_env
from metarl.errors import EnvironmentFitError
from metarl.experiment.building import build_learner
from metarl.experiment.config import ExperimentConfig, parse_config
from metarl.experiment.world import Alone
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import collect
from metarl.learners.base import Iteration
from metarl.seeding import Path as StreamPath
from metarl.seeding import Purpose
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks.batches import repeat

Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    """A learner at its defaults, 2x64 policy, on `meta_batch` x `episodes` x `horizon` steps."""

    env: str
    meta_batch: int
    episodes: int
    horizon: int
    learner: str = "maml"

    def config(self) -> ExperimentConfig:
        """The experiment of this workload."""
        return parse_config(
            {
                "env": {"id": self.env, "kwargs": {"action_scale": 10.0}},
                "learner": {"name": self.learner},
                "meta_batch": self.meta_batch,
                "episodes": self.episodes,
                "horizon": self.horizon,
                "iterations": 1,
            }
        )


class Turn(NamedTuple):
    """What one piece of work took, the repetitions for the limit left out."""

    steps: int
    seconds: float
    sampling_s: float  # of them in rollouts
    engine_s: float  # of them inside `Batch.step`
    alone_s: float  # what those steps take the engine with nothing between them


class Bench:
    """Environment and learner of a workload, ready to be timed.

    Every piece of work takes a turn: an integer that names its random numbers.

    Raises:
        UserError: if the environment is unknown or has no physics engine.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        config = workload.config()
        num_envs = workload.meta_batch * workload.episodes
        self._env = make_env(config.env, num_envs, workload.horizon)
        robot: object = self._env
        if not isinstance(robot, MujocoTaskEnv):
            raise EnvironmentFitError(f"{workload.env} has no physics engine to compare with")
        self._limit = PhysicsLimit(robot.simulations.batch)
        robot.simulations.batch = cast(Batch, self._limit)
        spaces = self._env.single_observation_space, self._env.single_action_space
        self.learner = build_learner(config, spec_of_spaces(*spaces))
        distribution = self._env.task_distribution("train")
        self._tasks = distribution.sample(workload.meta_batch, (0, Purpose.BENCHMARK))
        self._env.set_tasks(repeat(self._tasks, workload.episodes))
        self._steps, self._sampling_s = 0, 0.0
        gc.collect()  # a process's first full collection takes as long as some turns

    def iteration(self, turn: int) -> Turn:
        """One whole meta-iteration."""
        phases = itertools.count(1)

        def gather(state: object) -> Rollouts:
            return self.collect(state, (1, Purpose.BENCHMARK, turn, next(phases)))

        meta_batch = self.workload.meta_batch
        work = Iteration(turn, self._tasks, range(meta_batch), meta_batch, gather, Alone())
        return self._timed(lambda: self.learner.iterate(work))

    def adaptation(self, turn: int) -> Turn:
        """Rollouts, an adaptation step, and rollouts with the adapted policy."""

        def adapt() -> None:
            state = self.learner.begin(self.workload.meta_batch, self.workload.episodes)
            support = self.collect(state, (2, Purpose.BENCHMARK, turn, 0))
            state = self.learner.adapt(state, support)
            self.collect(state, (2, Purpose.BENCHMARK, turn, 1))

        return self._timed(adapt)

    def measure(self, name: str, repeats: int, warm: bool = True) -> Figures:
        """Speeds of the work and of the sampling in it, and their ratios to the physics alone.

        All are medians over turns. A ratio compares with the physics alone; a share is the part
        of the time inside `Batch.step`, where physics may be slower between other work.

        Args:
            name: "iteration" or "adaptation".
            repeats: number of turns.
            warm: leave a first turn out.
        """
        work = {"iteration": self.iteration, "adaptation": self.adaptation}[name]
        if warm:
            work(0)
        turns = [work(turn) for turn in range(1, repeats + 1)]

        def middle(value: Callable[[Turn], float]) -> float:
            return float(np.median([value(turn) for turn in turns]))

        return {
            "physics_steps_per_s": middle(lambda t: t.steps / t.alone_s),
            "sampling_steps_per_s": middle(lambda t: t.steps / t.sampling_s),
            "sampling_ratio": middle(lambda t: t.alone_s / t.sampling_s),
            "sampling_share": middle(lambda t: t.engine_s / t.sampling_s),
            f"{name}_steps_per_s": middle(lambda t: t.steps / t.seconds),
            f"{name}_ratio": middle(lambda t: t.alone_s / t.seconds),
            f"{name}_share": middle(lambda t: t.engine_s / t.seconds),
        }

    def close(self) -> None:
        """Free the simulations."""
        self._env.close()

    def _timed(self, work: Callable[[], Any]) -> Turn:
        self._limit.clear()
        self._steps, self._sampling_s = 0, 0.0
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start - self._limit.extra_s
        limit = self._limit
        return Turn(self._steps, seconds, self._sampling_s, limit.engine_s, limit.alone_s)

    def collect(self, state: object, path: StreamPath) -> Rollouts:
        """Rollouts of all tasks from a state, with the random numbers of a path."""
        keys = list(range(self.workload.meta_batch))
        start, extra_s = time.perf_counter(), self._limit.extra_s
        rollouts = collect(self._env, self.learner, state, path, keys, self.workload.horizon)
        elapsed_s = time.perf_counter() - start
        self._sampling_s += elapsed_s - (self._limit.extra_s - extra_s)
        self._steps += rollouts.num_steps
        return rollouts


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # unlike getrusage, not inherited from the process that started this one
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
