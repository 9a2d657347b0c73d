"""Speed of sampling, of whole iterations and of one adaptation, against physics alone.

The limit is `Batch.step` on the same simulations, through the same states with the same controls.
Whatever is compared takes turns with it inside one run, so that a noisy machine slows all alike.
"""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl.building import build_learner
from metarl.config import ExperimentConfig, parse_config
from metarl.environments import make_env, spec_of_spaces
from metarl.errors import EnvironmentFitError
from metarl.learners.base import State
from metarl.rollouts import Rollouts, collect
from metarl.seeding import Purpose, reset_seeds
from metarl_envs.mujoco_env import MujocoTaskEnv
from metarl_envs.tasks import repeat

Figures = dict[str, float]
_ACTION_SCALE = 10.0


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
                "env": {"id": self.env, "kwargs": {"action_scale": _ACTION_SCALE}},
                "learner": {"name": self.learner},
                "meta_batch": self.meta_batch,
                "episodes": self.episodes,
                "horizon": self.horizon,
                "iterations": 1,
            }
        )


class Bench:
    """Environment and learner of a workload, ready to be timed.

    Every method but `physics` takes a turn: an integer that names its random numbers.

    Raises:
        UserError: if the environment is unknown or has no physics engine.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        config = workload.config()
        self._num_envs = workload.meta_batch * workload.episodes
        self._env = make_env(config.env, self._num_envs, workload.horizon)
        if not isinstance(self._env.unwrapped, MujocoTaskEnv):
            raise EnvironmentFitError(f"{workload.env} has no physics engine to compare with")
        self._robot = self._env.unwrapped
        spaces = self._env.single_observation_space, self._env.single_action_space
        self._learner = build_learner(
            config, spec_of_spaces(*spaces, workload.episodes, workload.horizon)
        )
        distribution = self._env.task_distribution("train")
        self._tasks = distribution.sample(workload.meta_batch, (0, Purpose.BENCHMARK))
        self._env.set_tasks(repeat(self._tasks, workload.episodes))
        self._last: tuple[list[int], Rollouts] | None = None

    def physics(self) -> float:
        """Steps/s of `Batch.step` alone: the last rollouts again, from their states and actions."""
        assert self._last is not None, "nothing to repeat yet"
        seeds, rollouts = self._last
        actions = rollouts.actions_MEHA.flatten(0, 1).numpy()  # sub-environments, steps, A
        limits = self._robot.model.actuator_ctrlrange
        control = np.clip(actions / _ACTION_SCALE, *limits.T, dtype=np.float64).transpose(1, 0, 2)
        self._robot.reset(seed=seeds)
        bound = self._robot.batch.bind("ctrl")
        start = time.perf_counter()
        for now in control:
            bound[:] = now
            self._robot.batch.step(nstep=self._robot.frame_skip)
        return self._num_envs * len(control) / (time.perf_counter() - start)

    def sampling(self, turn: int) -> float:
        """Steps/s of one episode in every sub-environment, with the policy in the loop."""
        state = self._learner.begin(self.workload.meta_batch, self.workload.episodes)
        start = time.perf_counter()
        rollouts, _ = self._collect(state, (0, Purpose.BENCHMARK, turn))
        return rollouts.num_steps / (time.perf_counter() - start)

    def iteration(self, turn: int) -> float:
        """Steps/s of one whole meta-iteration."""
        steps, phase = 0, 0

        def gather(state: State) -> tuple[Rollouts, State]:
            nonlocal steps, phase
            phase += 1
            rollouts, state = self._collect(state, (1, Purpose.BENCHMARK, turn, phase))
            steps += rollouts.num_steps
            return rollouts, state

        start = time.perf_counter()
        self._learner.iterate(gather, self._tasks)
        return steps / (time.perf_counter() - start)

    def adaptation(self, turn: int) -> float:
        """Steps/s of rollouts, an adaptation step, and rollouts with the adapted policy."""
        state = self._learner.begin(self.workload.meta_batch, self.workload.episodes)
        start = time.perf_counter()
        support, state = self._collect(state, (2, Purpose.BENCHMARK, turn, 0))
        query, _ = self._collect(
            self._learner.adapt(state, support), (2, Purpose.BENCHMARK, turn, 1)
        )
        return (support.num_steps + query.num_steps) / (time.perf_counter() - start)

    def compare(self, names: Sequence[str], repeats: int, warm: bool = True) -> Figures:
        """Speeds of methods of this class, taking turns with the physics.

        A ratio is the median over turns of a speed and that of the physics of the same rollouts,
        measured just after (and just before, of the rollouts until then). A share is the part of
        the time inside `Batch.step`: it does not suffer from a machine that changes between turns,
        but leaves out that physics is slower between other work.

        Args:
            names: "sampling", "iteration", "adaptation".
            repeats: turns of each; speeds are the best of them.
            warm: leave a first turn of the last one out.
        """
        methods: dict[str, Callable[[int], float]] = {name: getattr(self, name) for name in names}
        if warm:
            methods[names[-1]](0)
        speeds: dict[str, list[float]] = {name: [] for name in ("physics", *names)}
        shares: dict[str, list[float]] = {name: [] for name in names}
        limits: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(1, repeats + 1):
            for name, method in methods.items():
                engine_s, start = self._robot.physics_s, time.perf_counter()
                speeds[name].append(method(turn))
                elapsed_s = time.perf_counter() - start
                shares[name].append((self._robot.physics_s - engine_s) / elapsed_s)
                speeds["physics"].append(self.physics())
                limits[name].append(float(np.mean(speeds["physics"][-2:])))
        figures = {f"{name}_steps_per_s": max(values) for name, values in speeds.items()}
        for name in names:
            ratios = np.asarray(speeds[name]) / np.asarray(limits[name])
            figures[f"{name}_ratio"] = float(np.median(ratios))
            figures[f"{name}_share"] = float(np.median(shares[name]))
        return figures

    def close(self) -> None:
        """Free the simulations."""
        self._env.close()

    def _collect(self, state: State, path: tuple[int, ...]) -> tuple[Rollouts, State]:
        keys = list(range(self.workload.meta_batch))
        rollouts, state = collect(
            self._env, self._learner, state, path, keys, self.workload.horizon
        )
        self._last = reset_seeds(path, keys, self.workload.episodes), rollouts
        return rollouts, state


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # unlike getrusage, not inherited from the process that started this one
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
