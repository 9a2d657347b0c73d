"""What is wrong with a task environment, one sentence per finding, with the remedy."""

import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from metarl_envs.errors import UserError
from metarl_envs.gymnasium_envs.definition import PluginDefinition, SubEnv
from metarl_envs.tasks.batches import num_tasks, take
from metarl_envs.tasks.distributions import TaskDistribution

_STEPS = 20
_TASKS = 8
_OVERLAP_SAMPLE = 500


def check_task_env(env: gymnasium.Env, definition: PluginDefinition | None = None) -> list[str]:
    """Look for the mistakes that make meta-learning on an environment fail silently.

    Args:
        env: one environment, as `gymnasium.make` gives it.
        definition: where its tasks come from, if not from the environment itself.

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
    findings = []
    if env.spec is None or env.spec.max_episode_steps is None:
        findings.append(
            "there is no time limit: register the environment with max_episode_steps, so that "
            "episodes end"
        )
    findings += _check_pickling(env)
    seeded = _check_seed(sub_env, tasks[0])
    # without reproducible episodes nothing more can be said of tasks
    findings += seeded or [*_check_tasks(sub_env, tasks), *_check_leak(sub_env, tasks)]
    if not getattr(getattr(env.unwrapped, "vector_env", None), "shares_tasks", False):
        findings += _check_overlap(train, test)
    return findings


def _singles(distribution: TaskDistribution, count: int) -> list[dict[str, Any]]:
    tasks = distribution.sample(count, 0)
    return [{key: values[i] for key, values in tasks.items()} for i in range(num_tasks(tasks))]


def _check_pickling(env: gymnasium.Env) -> list[str]:
    try:
        pickle.loads(pickle.dumps(env.unwrapped))
    except Exception as error:  # whatever pickle meets in the author's attributes
        return [
            f"the environment cannot be pickled ({error}): derive from gymnasium.utils.EzPickle, "
            "or keep lambdas and open handles out of its attributes"
        ]
    return []


def _check_seed(env: SubEnv, task: dict[str, Any]) -> list[str]:
    first, again = (_episode(env, task) for _ in range(2))
    if _same(first, again):
        return []
    return [
        "the same seed and actions give different episodes: draw every random number from "
        "self.np_random, after super().reset(seed=seed)"
    ]


def _check_tasks(env: SubEnv, tasks: Sequence[dict[str, Any]]) -> list[str]:
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


def _check_leak(env: SubEnv, tasks: Sequence[dict[str, Any]]) -> list[str]:
    first = []
    for task in tasks:
        env.set_task(task)
        first.append(env.reset(0))
    varying = np.flatnonzero(np.ptp(np.stack(first), axis=0) > 0)
    if not varying.size:
        return []
    return [
        f"the observation reveals the task: elements {varying.tolist()} of the first observation "
        "change with it at the same seed; drop them (drop_keys for a Dict observation)"
    ]


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
    env: SubEnv, task: dict[str, Any] | None, reset_after: bool = True
) -> list[np.ndarray]:
    """Observations and rewards under fixed actions; task None keeps the one in force."""
    if not reset_after:
        env.reset(0)
    if task is not None:
        env.set_task(task)
    records = [env.reset(0)] if reset_after else []
    rng = np.random.default_rng(0)
    for _ in range(_STEPS):
        obs, reward, terminated, truncated, _ = env.step(env.random_action(rng))
        records += [obs, np.array([reward])]
        if terminated or truncated:
            break
    return records


def _same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
