"""Batches of tasks: dicts of arrays with a leading task axis M.

A task is a point of an environment's `task_space`, a `gymnasium.spaces.Dict` of `Box` and
`Discrete` spaces. A batch of M tasks holds, under each key, an array whose first axis is M:
`{"target_velocity": array([1.4, 0.3])}`. Batches go to JSON and back unchanged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import TaskError, did_you_mean

Tasks = dict[str, np.ndarray]


def check_tasks(
    space: spaces.Dict, tasks: Mapping[str, Any], num_tasks: int | None = None
) -> Tasks:
    """Return `tasks` as a batch of arrays of the space's dtypes, after checking every entry.

    Args:
        space: the task space.
        tasks: one array-like per key of the space, each with leading axis M.
        num_tasks: the M required, or None for any.

    Raises:
        TaskError: for unknown or missing keys, wrong shapes, and values outside the space.
    """
    if not isinstance(tasks, Mapping):
        raise TaskError(f"tasks must be a mapping from key to array, got {type(tasks).__name__}")
    for key in tasks:
        if key not in space.spaces:
            raise TaskError(
                f"unknown task key {key!r}{did_you_mean(key, space.spaces)}; "
                f"this environment's tasks have: {', '.join(space.spaces)}"
            )
    missing = [key for key in space.spaces if key not in tasks]
    if missing:
        raise TaskError(f"task key {missing[0]!r} is missing")
    checked = {key: _checked(key, space[key], tasks[key]) for key in space.spaces}
    sizes = {key: len(values) for key, values in checked.items()}
    expected = num_tasks if num_tasks is not None else next(iter(sizes.values()))
    for key, size in sizes.items():
        if size != expected:
            raise TaskError(f"task key {key!r} has {size} tasks, expected {expected}")
    return checked


def _checked(key: str, space: spaces.Space, values: Any) -> np.ndarray:
    shape: tuple[int, ...] = space.shape or ()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TaskError(f"task key {key!r} must be numeric, got {values!r}") from None
    if array.ndim == 0 or array.shape[1:] != shape:
        found = array.shape[1:] if array.ndim else "no task axis"
        raise TaskError(f"task key {key!r} has shape {found} per task, expected {shape}")
    if isinstance(space, spaces.Box):
        low, high, whole = space.low, space.high, False
    elif isinstance(space, spaces.Discrete):
        low, high, whole = np.asarray(space.start), np.asarray(space.start + space.n - 1), True
    else:
        raise TaskError(
            f"task key {key!r}: only Box and Discrete spaces can hold tasks, got {space}"
        )
    outside = ~((array >= low) & (array <= high))  # also true for NaN
    if whole:
        outside |= array != np.floor(array)
    if outside.any():
        where = tuple(np.argwhere(outside)[0])
        bounds = [np.broadcast_to(bound, shape)[where[1:]] for bound in (low, high)]
        kind = "a whole number in" if whole else "in"
        raise TaskError(
            f"task key {key!r} is {array[where]:g} in task {where[0]}, "
            f"must be {kind} [{bounds[0]:g}, {bounds[1]:g}]"
        )
    return array.astype(space.dtype)


def batch_of_one(task: Mapping[str, Any]) -> dict[str, Any]:
    """One task as a batch with M = 1."""
    if not isinstance(task, Mapping):
        raise TaskError(f"a task must be a mapping from key to value, got {type(task).__name__}")
    return {key: [value] for key, value in task.items()}


def num_tasks(tasks: Mapping[str, np.ndarray]) -> int:
    """M, the number of tasks of a batch."""
    return len(next(iter(tasks.values())))


def task_size(space: spaces.Dict) -> int:
    """How many numbers a task has."""
    return sum(int(np.prod(part.shape or ())) for part in space.values())


def take(tasks: Mapping[str, np.ndarray], index: Any) -> Tasks:
    """The tasks at `index` (anything that indexes the leading axis and keeps it)."""
    return {key: np.asarray(values)[index] for key, values in tasks.items()}


def rows_of(tasks: Mapping[str, np.ndarray]) -> np.ndarray:
    """All numbers of each task in a row, keys in alphabetical order: shape (M, N)."""
    count = num_tasks(tasks)
    return np.column_stack([np.reshape(tasks[key], (count, -1)) for key in sorted(tasks)])


def from_rows(space: spaces.Dict, rows_MN: np.ndarray) -> Tasks:
    """The tasks whose numbers these are, as `rows_of` gives them, brought into the space."""
    tasks, at = Tasks(), 0
    for key in sorted(space.spaces):
        part = space[key]
        size = int(np.prod(part.shape or ()))
        values = rows_MN[:, at : at + size].reshape(-1, *(part.shape or ()))
        at += size
        if isinstance(part, spaces.Discrete):
            values = np.rint(values).clip(part.start, part.start + part.n - 1)
        elif isinstance(part, spaces.Box):
            values = values.clip(part.low, part.high)
        tasks[key] = values.astype(part.dtype)
    return tasks


def repeat(tasks: Mapping[str, np.ndarray], episodes: int) -> Tasks:
    """Each task `episodes` times in a row: leading axis M -> M*E, grouped by task."""
    return {key: np.repeat(values, episodes, axis=0) for key, values in tasks.items()}


def concatenate(batches: Sequence[Mapping[str, np.ndarray]]) -> Tasks:
    """Several batches one after the other."""
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def to_json(tasks: Mapping[str, np.ndarray]) -> dict[str, list]:
    """A batch as nested lists; Python writes floats so that they read back to the bit."""
    return {key: np.asarray(values).tolist() for key, values in tasks.items()}


def from_json(space: spaces.Dict, document: Mapping[str, Any]) -> Tasks:
    """The batch that `to_json` wrote, checked against the space."""
    return check_tasks(space, document)
