"""Speed of sampling and of whole iterations, against physics alone in the same run."""

import time
from dataclasses import dataclass

import numpy as np

from metarl.building import build_learner
from metarl.config import ExperimentConfig, parse_config
from metarl.environments import make_env, spec_of_spaces
from metarl.errors import EnvironmentFitError
from metarl.learners.base import MetaLearner, State
from metarl.rollouts import Rollouts, collect
from metarl.seeding import Purpose
from metarl_envs.mujoco_env import MujocoTaskEnv
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks import Tasks, repeat


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


def measure(workload: Workload, repeats: int = 3) -> dict[str, float]:
    """Steps/s of physics alone, sampling and whole iterations, and the two ratios.

    The three take turns, after one unmeasured iteration; each ratio is the median over the
    turns, each speed the best of them.
    """
    config = workload.config()
    env = make_env(config.env, workload.meta_batch * workload.episodes, workload.horizon)
    if not isinstance(env.unwrapped, MujocoTaskEnv):
        raise EnvironmentFitError(f"{workload.env} has no physics engine to compare with")
    spec = spec_of_spaces(
        env.single_observation_space,
        env.single_action_space,
        workload.episodes,
        workload.horizon,
    )
    learner = build_learner(config, spec)
    tasks = env.task_distribution("train").sample(workload.meta_batch, (0, Purpose.BENCHMARK))
    env.set_tasks(repeat(tasks, workload.episodes))
    _iteration_speed(env, learner, tasks, workload, 0)
    speeds = np.array(
        [
            (
                _physics_speed(env.unwrapped, workload, turn),
                _sampling_speed(env, learner, workload, turn),
                _iteration_speed(env, learner, tasks, workload, turn),
            )
            for turn in range(1, repeats + 1)
        ]
    )
    physics, sampling, iteration = speeds.max(axis=0)
    return {
        "physics_steps_per_s": physics,
        "sampling_steps_per_s": sampling,
        "iteration_steps_per_s": iteration,
        "sampling_ratio": float(np.median(speeds[:, 1] / speeds[:, 0])),
        "iteration_ratio": float(np.median(speeds[:, 2] / speeds[:, 0])),
    }


def _physics_speed(env: MujocoTaskEnv, workload: Workload, turn: int) -> float:
    """`Batch.step` alone, with controls as the initial policy draws them."""
    env.reset(seed=turn)
    rng = np.random.default_rng(turn)
    control = 0.1 * rng.standard_normal((workload.horizon, env.num_envs, env.model.nu))
    bound = env.batch.bind("ctrl")
    start = time.perf_counter()
    for step in range(workload.horizon):
        bound[:] = control[step]
        env.batch.step(nstep=env.frame_skip)
    return env.num_envs * workload.horizon / (time.perf_counter() - start)


def _sampling_speed(
    env: TaskVectorEnv, learner: MetaLearner, workload: Workload, turn: int
) -> float:
    state = learner.begin(workload.meta_batch, workload.episodes)
    start = time.perf_counter()
    rollouts, _ = _collect(env, learner, state, workload, (0, Purpose.BENCHMARK, turn))
    return rollouts.num_steps / (time.perf_counter() - start)


def _iteration_speed(
    env: TaskVectorEnv, learner: MetaLearner, tasks: Tasks, workload: Workload, turn: int
) -> float:
    steps, phase = 0, 0

    def gather(state: State) -> tuple[Rollouts, State]:
        nonlocal steps, phase
        phase += 1
        path = (1, Purpose.BENCHMARK, turn, phase)
        rollouts, state = _collect(env, learner, state, workload, path)
        steps += rollouts.num_steps
        return rollouts, state

    start = time.perf_counter()
    learner.iterate(gather, tasks)
    return steps / (time.perf_counter() - start)


def _collect(
    env: TaskVectorEnv,
    learner: MetaLearner,
    state: State,
    workload: Workload,
    path: tuple[int, ...],
) -> tuple[Rollouts, State]:
    keys = list(range(workload.meta_batch))
    return collect(env, learner, state, path, keys, workload.horizon)
