"""What is wrong with a task environment, one sentence per finding, with the remedy.

Shapes: T tasks, O observation, C numbers of a task key.
"""

import multiprocessing
import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from metarl_envs.errors import UserError, one_line
from metarl_envs.gymnasium_envs.definition import PluginDefinition, SubEnv
from metarl_envs.gymnasium_envs.watched_env import STEPS, AuthorError, Tell, WatchedEnv, silent
from metarl_envs.tasks.batches import num_tasks, take
from metarl_envs.tasks.distributions import TaskDistribution

_TASKS = 12
_OVERLAP_SAMPLE = 500
_UNPICKLING_S = 30.0
_EXACT = 1e-5  # of a straight line through the first observations of tasks; they may be float32


def check_task_env(
    env: gymnasium.Env, definition: PluginDefinition | None = None, tell: Tell = silent
) -> list[str]:
    """Look for the mistakes that make meta-learning on an environment fail silently.

    Args:
        env: one environment, as `gymnasium.make` gives it.
        definition: where its tasks come from, if not from the environment itself.
        tell: is told what comes next, in case that never ends.

    Returns:
        One sentence per finding, each with its remedy; empty if there is nothing to say.
    """
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    try:
        sub_env = SubEnv(definition or PluginDefinition(name), env)
        _, splits = sub_env.definition.task_space_and_splits(sub_env)
        train, test = splits["train"], splits["test"]
        tasks = _singles(train, _TASKS)
    except UserError as error:
        return [str(error)]
    except Exception as error:  # whatever task_space and task_distribution of the author raise
        return [f"its tasks cannot be drawn: {type(error).__name__}: {one_line(error)}"]
    findings = []
    if env.spec is None or env.spec.max_episode_steps is None:
        findings.append(
            "there is no time limit: register the environment with max_episode_steps, so that "
            "episodes end"
        )
    watched = WatchedEnv(sub_env, tell)
    try:
        # without sound steps and reproducible episodes nothing more can be said of tasks
        findings += (
            watched.check_steps(tasks)
            or _check_seed(watched, tasks[0])
            or [*_check_tasks(watched, tasks), *_check_leak(watched, tasks)]
        )
    except AuthorError as error:
        findings.append(str(error))
    if not getattr(getattr(env.unwrapped, "vector_env", None), "shares_tasks", False):
        findings += _check_overlap(train, test)
    tell("pickling")
    return [*findings, *_check_pickling(env)]


def _singles(distribution: TaskDistribution, count: int) -> list[dict[str, Any]]:
    tasks = distribution.sample(count, 0)
    return [{key: values[i] for key, values in tasks.items()} for i in range(num_tasks(tasks))]


def _check_pickling(env: gymnasium.Env) -> list[str]:
    try:
        content = pickle.dumps(env.unwrapped)
    except Exception as error:  # whatever pickle meets in the author's attributes
        return [_not_pickled(error)]
    # in a process of its own: what dies with the copy may be the original's too
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_unpickle, args=(content, theirs), daemon=True)
    process.start()
    theirs.close()
    mistake = "it takes longer than 30 s"
    if ours.poll(_UNPICKLING_S):
        try:
            mistake = ours.recv()
        except EOFError:
            mistake = "the process died"
    process.kill()
    process.join()
    return [_not_pickled(mistake)] if mistake else []


def _unpickle(content: bytes, pipe: Any) -> None:
    mistake = ""
    try:
        pickle.loads(content)
    except Exception as error:  # whatever the author's __setstate__ raises
        mistake = str(error) or type(error).__name__
    pipe.send(mistake)


def _not_pickled(mistake: object) -> str:
    return (
        f"the environment cannot be pickled ({mistake}): derive from gymnasium.utils.EzPickle, "
        "or keep lambdas and open handles out of its attributes"
    )


def _check_seed(env: WatchedEnv, task: dict[str, Any]) -> list[str]:
    first, again = (_episode(env, task) for _ in range(2))
    if _same(first, again):
        return []
    return [
        "the same seed and actions give different episodes: draw every random number from "
        "self.np_random, after super().reset(seed=seed)"
    ]


def _check_tasks(env: WatchedEnv, tasks: Sequence[dict[str, Any]]) -> list[str]:
    reference = _episode(env, tasks[0])
    if all(_same(reference, _episode(env, task)) for task in tasks[1:]):
        without_reset = [_episode(env, task, reset_after=False) for task in tasks]
        if all(_same(without_reset[0], other) for other in without_reset[1:]):
            return [
                "tasks have no effect: episodes of different tasks are equal; change rewards or "
                "dynamics in set_task"
            ]
        return ["the task is lost at reset: reset must keep what set_task has set"]
    other = next(task for task in tasks[1:] if not _same(reference, _episode(env, task)))
    kept = _episode(env, other)
    if not _same(kept, _episode(env, None)):
        return ["the task is lost at the second reset: it must hold until set_task is called again"]
    return []


def _check_leak(env: WatchedEnv, tasks: Sequence[dict[str, Any]]) -> list[str]:
    """A task is revealed by elements that hold its numbers, or stand for it whatever the seed.

    A robot that settles under its weight after a reset reveals neither.
    """
    first_STO = np.stack([_first_observations(env, tasks, seed) for seed in (0, 1)])
    varying_O = np.ptp(first_STO[0], axis=0) > 0
    revealing = set[int]()
    for key in tasks[0]:
        values_TC = np.stack([np.ravel(np.asarray(task[key], float)) for task in tasks])
        columns = [c for c in range(values_TC.shape[1]) if np.ptp(values_TC[:, c]) > 0]
        held = [
            [j for j in np.flatnonzero(varying_O) if _holds(first_STO[..., j], values_TC[:, c])]
            for c in columns
        ]
        if held and all(held):  # some of its numbers may well be seen: where objects lie, say
            revealing |= {int(j) for elements in held for j in elements}
    noisy = bool((first_STO[0] != first_STO[1]).any())
    if noisy and len(tasks[0]) == 1:
        constant_O = (first_STO[0] == first_STO[1]).all(axis=0)
        revealing |= {int(j) for j in np.flatnonzero(varying_O & constant_O)}
    if not revealing:
        return []
    return [
        f"the observation reveals the task: elements {sorted(revealing)} of the first observation "
        "change with it at the same seed; drop them (drop_keys for a Dict observation)"
    ]


def _first_observations(env: WatchedEnv, tasks: Sequence[dict[str, Any]], seed: int) -> np.ndarray:
    first = []
    for task in tasks:
        env.set_task(task)
        first.append(env.reset(seed))
    return np.stack(first)


def _holds(element_ST: np.ndarray, values_T: np.ndarray) -> bool:
    """Whether an element lies on a straight line over a task's number, for every seed."""
    design = np.stack([values_T, np.ones_like(values_T)], axis=1)
    for element_T in element_ST:
        fitted = design @ np.linalg.lstsq(design, element_T, rcond=None)[0]
        if np.abs(element_T - fitted).max() > _EXACT * np.ptp(element_T):
            return False
    return True


def _check_overlap(train: TaskDistribution, test: TaskDistribution) -> list[str]:
    drawn = train.sample(_OVERLAP_SAMPLE, 1)
    shared = int(test.contains(drawn).sum())
    if not shared:
        return []
    example = {key: values.tolist() for key, values in take(drawn, 0).items()}
    return [
        f"train and test overlap: {shared} of {_OVERLAP_SAMPLE} training tasks belong to the test "
        f"distribution, such as {example}; keep them apart (part='train' and part='held_out')"
    ]


def _episode(
    env: WatchedEnv, task: dict[str, Any] | None, reset_after: bool = True
) -> list[np.ndarray]:
    """Observations and rewards under fixed actions; task None keeps the one in force."""
    if not reset_after:
        env.reset()
    if task is not None:
        env.set_task(task)
    records = [env.reset()] if reset_after else []
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        obs, reward, ended = env.step(rng)
        records += [obs, np.array([reward])]
        if ended:
            break
    return records


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
