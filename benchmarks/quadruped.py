"""Measure trained quadrupeds: how they track the command, what a change does, what latents tell.

python -m benchmarks.quadruped runs/quadruped/rma runs/quadruped/domain_randomization

Held-out tasks, the noise of training. Shapes: M tasks, E episodes, H steps.
"""

import argparse
import itertools
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import metarl
from metarl.command_line import run
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env
from metarl.errors import ConfigError
from metarl.evaluation.measured_tasks import evaluation_tasks
from metarl.experiment.checkpoint import read_checkpoint
from metarl.experiment.sections import EvaluationConfig
from metarl.experiment.zoo import resolve
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import collect
from metarl.learners.base import MetaLearner
from metarl.learners.privileged.base import PrivilegedLearner
from metarl.learners.privileged.sysid import SysId
from metarl.learners.privileged.told_tasks import numbers_of
from metarl.seeding import Purpose
from metarl.trained_env import training_of
from metarl_envs.observed_task import ObservedTask
from metarl_envs.robots.quadruped import Quadruped
from metarl_envs.tasks.batches import repeat, rows_of, take

_TASKS, _EPISODES, _SEED = 40, 4, 0
_SECOND = 50  # control steps
_AT = 2 * _SECOND
_HALF = _SECOND // 2
_FAULTS = ("dead_actuators", "action_delay")
_LATER = ("payload", "actuator_strength")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Measure trained quadrupeds.")
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--num-tasks", type=int, default=60, help="that change")
    parser.add_argument("--episodes", type=int, default=2, help="of each")
    args = parser.parse_args()
    for folder in args.run_dirs:
        learner, measured = metarl.load(folder), read_checkpoint(resolve(folder)).config.evaluation
        print(folder)
        tracking(learner)
        changes(learner, args.num_tasks, args.episodes, measured)
        if isinstance(learner, PrivilegedLearner):
            latents(learner)
        if isinstance(learner, SysId):
            identified(learner)


def tracking(learner: MetaLearner) -> None:
    """Mean velocities from a second after each command on, against it, while the robot is up."""
    trained = training_of(learner)
    with closing(make_env(trained.env, _TASKS, trained.horizon)) as env:
        robot = env.env if isinstance(env, ObservedTask) else env
        if not isinstance(robot, Quadruped):
            raise ConfigError(f"a quadruped, please, not {trained.env.id}")
        env.set_tasks(evaluation_tasks(env, "test", _TASKS, _SEED))
        velocities, commands = [], []
        step = env.step

        def watched(actions: np.ndarray) -> Any:
            commands.append(robot.command_N3[:, :2].copy())
            found = step(actions)
            up = ~found[2]
            velocities.append(np.where(up[:, None], robot.linear_velocity_N3[:, :2], np.nan))
            return found

        env.step = watched
        path = (_SEED, Purpose.BENCHMARK)
        rollouts = collect(
            env, learner, learner.begin(_TASKS, 1), path, range(_TASKS), trained.horizon
        )
    seen, wanted = _settled(np.array(velocities), np.array(commands))
    speed, error = np.linalg.norm(wanted, axis=1).mean(), np.linalg.norm(seen - wanted, axis=1)
    up = int((~rollouts.terminated_ME).sum())
    print(
        f"  held out: return {rollouts.returns_ME.mean():.1f}, {up} of {_TASKS} still up; "
        f"commands of {speed:.2f} m/s, off by {error.mean():.2f} ({error.mean() / speed:.0%})"
    )


def _settled(velocities_HN2: np.ndarray, commands_HN2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean velocity under each command but in its first second, and the command: a row each."""
    seen, wanted = list[np.ndarray](), list[np.ndarray]()
    for robot in range(commands_HN2.shape[1]):
        own, speeds = commands_HN2[:, robot], velocities_HN2[:, robot]
        new = np.flatnonzero(np.any(np.diff(own, axis=0) != 0, axis=1)) + 1
        for start, end in itertools.pairwise([0, *new, len(own)]):
            settled = speeds[start + _SECOND : end]
            up = settled[~np.isnan(settled[:, 0])]
            if len(up):
                seen.append(up.mean(0))
                wanted.append(own[start])
    return np.array(seen), np.array(wanted)


def changes(
    learner: MetaLearner, num_tasks: int, episodes: int, measured: EvaluationConfig
) -> None:
    """Reward per step in the half second before a change, and in each half second after it.

    Of a teacher too, in the same episodes, where it has learned what such a change is: it is told
    at once what its student has to find out. And after as many adaptation steps as the run's
    evaluation takes, from support episodes with the same change.
    """
    trained = training_of(learner)
    own: Mapping[str, Any] = trained.env.kwargs.get("variations", {})
    varied = {name: values for name, values in own.items() if name not in _FAULTS}
    later = {name: {**varied[name], "at": _AT} for name in _LATER if name in varied}
    tried: dict[str, dict[str, Any]] = {
        "payload and weak motors": later,
        "a dead motor": {"dead_actuators": {"held_out": [], "at": _AT}},
        "actions 1 or 3 steps late": {"action_delay": {"max_steps": 4, "at": _AT}},
    }
    for name, changed in tried.items():
        variations = {**varied, **changed}
        others = trained.env.observe_task and variations.keys() != {n for n in own if own[n]}
        if not changed or others:  # one that is told observes the keys of its training alone
            continue
        kwargs = {**trained.env.kwargs, "variations": variations}
        env = trained.env.model_copy(update={"kwargs": kwargs})
        print(f"  {name} after {_AT} steps: {_summary(lived(learner, env, num_tasks, episodes))}")
        if measured.adaptation_steps and not learner.adapts_to_demonstrations:
            state = adapted(learner, env, num_tasks, measured)
            after = lived(learner, env, num_tasks, episodes, state)
            print(f"    after {measured.adaptation_steps} adaptation steps: {_summary(after)}")
        if isinstance(learner, PrivilegedLearner) and changed.keys() <= own.keys():
            told = lived(learner, env, num_tasks, episodes, of_teacher=True)
            print(f"    its teacher, told at once: {_summary(told)}")


def adapted(
    learner: MetaLearner, config: EnvConfig, num_tasks: int, measured: EvaluationConfig
) -> Any:
    """The learner's state after the adaptation steps of its run's evaluation."""
    usual = 1 if learner.adapts_after_each_episode else measured.episodes
    episodes, horizon = measured.support_episodes or usual, training_of(learner).horizon
    state = learner.begin(num_tasks, episodes)
    with closing(make_env(config, num_tasks * episodes, horizon)) as env:
        env.set_tasks(repeat(evaluation_tasks(env, "test", num_tasks, _SEED), episodes))
        for step in range(measured.adaptation_steps):
            path = (_SEED, Purpose.BENCHMARK, 4, step)
            support = collect(env, learner, state, path, range(num_tasks), horizon)
            state = learner.adapt(state, support)
    return state


def lived(
    learner: MetaLearner,
    config: EnvConfig,
    num_tasks: int,
    episodes: int,
    state: Any = None,
    of_teacher: bool = False,
) -> Rollouts:
    """Episodes of held-out tasks of an environment, the same for a student and its teacher.

    Args:
        learner: acts.
        config: the environment.
        num_tasks: M.
        episodes: E.
        state: that it acts from; by default before any adaptation.
        of_teacher: whether its teacher acts, who is told.
    """
    trained, count = training_of(learner), num_tasks * episodes
    if trained.horizon < _AT + _HALF:
        raise ConfigError(f"changes come after {_AT} steps, and horizon = {trained.horizon}")
    with closing(make_env(config, count, trained.horizon)) as env:
        tasks = evaluation_tasks(env, "test", num_tasks, _SEED)
        env.set_tasks(repeat(tasks, episodes))
        given = (_SEED, Purpose.BENCHMARK, 3), range(num_tasks), trained.horizon
        if not of_teacher:
            start = learner.begin(num_tasks, episodes) if state is None else state
            return collect(env, learner, start, *given)
        assert isinstance(learner, PrivilegedLearner)
        with closing(make_env(trained.env, count, trained.horizon)) as of_training:
            nominal = of_training.tasks

        def told() -> np.ndarray:
            held = env.tasks_in_force
            return rows_of({key: held.get(key, value) for key, value in nominal.items()})

        first_MP = numbers_of(take(nominal, np.arange(num_tasks)), learner.device)
        told_first = learner.told_state(first_MP, episodes)
        return collect(env, learner, told_first, *given, told=told)


def _summary(rollouts: Rollouts) -> str:
    rewards_MH = rollouts.rewards_MEH.mean(1).numpy()
    up = 1.0 - rollouts.terminated_ME.double().mean()
    ends = range(_AT, rewards_MH.shape[1] + 1, _HALF)
    shown = ", ".join(f"{rewards_MH[:, end - _HALF : end].mean():.2f}" for end in ends)
    return f"return {rollouts.returns_ME.mean():.1f}, {up:.0%} up; by half second: {shown}"


def latents(learner: PrivilegedLearner) -> None:
    """The teacher told the task, told another one's, and the student; spread of the latent."""
    trained = training_of(learner)
    with closing(make_env(trained.env, _TASKS * _EPISODES, trained.horizon)) as env:
        tasks = evaluation_tasks(env, "test", _TASKS, _SEED)
        env.set_tasks(repeat(tasks, _EPISODES))
        told_MP = numbers_of(tasks, learner.device)

        def returns(state: Any) -> Tensor:
            path = (_SEED, Purpose.BENCHMARK, 1)
            made = collect(env, learner, state, path, range(_TASKS), trained.horizon)
            return made.returns_ME.double().mean(1)

        right = returns(learner.told_state(told_MP, _EPISODES))
        other = returns(learner.told_state(told_MP.roll(_TASKS // 2, 0), _EPISODES))
        student = returns(learner.begin(_TASKS, _EPISODES))
    with torch.no_grad():
        spread = learner.latents(learner.told.scaled(told_MP, learner.dtype)).std(0)
    print(f"  teacher {_pm(right)}, student {_pm(student)}; told another's task")
    print(f"  {_pm(right - other)} less; latents deviate {spread.min():.2f} to {spread.max():.2f}")


def identified(learner: SysId) -> None:
    """How far estimates are from the task, number by number, and what they are worth."""
    trained = training_of(learner)
    with closing(make_env(trained.env, _TASKS, trained.horizon)) as env:
        tasks = evaluation_tasks(env, "test", _TASKS, _SEED)
        env.set_tasks(tasks)
        true_MP = numbers_of(tasks, learner.device)

        def lived(state: Any) -> Rollouts:
            path = (_SEED, Purpose.BENCHMARK, 2)
            return collect(env, learner, state, path, range(_TASKS), trained.horizon)

        start = learner.begin(_TASKS, 1)
        first = lived(start)
        found = learner.adapt(start, first)
        mean_MP = learner.told_tasks.mean.expand(_TASKS, -1)
        told = [learner.known(numbers) for numbers in (true_MP, mean_MP)]
        returns = [lived(state).returns_ME.mean() for state in (*told, found)]
    shown = ", ".join(f"{value:.1f}" for value in (first.returns_ME.mean(), *returns))
    print(f"  return identified, told the task, told the mean task, second episode: {shown}")
    off_P, before_P = (
        (guess - true_MP).abs().mean(0) for guess in (found.task_MEP[:, 0], learner.told_tasks.mean)
    )
    at = 0
    for key in sorted(tasks):
        part = slice(at, at := at + int(np.prod(tasks[key].shape[1:])))
        print(f"  {key}: off by {off_P[part].mean():.3f}, before by {before_P[part].mean():.3f}")


def _pm(values_M: Tensor) -> str:
    half = 1.96 * values_M.std() / len(values_M) ** 0.5
    return f"{values_M.mean():.1f} +- {half:.1f}"


if __name__ == "__main__":
    run(main)
