"""Every random number of a run, derived from what it is for.

A stream is named by a path of integers: the run's seed, what the numbers are for, the iteration,
the phase within it, and the task. Numbers of one task do not depend on which other tasks are
drawn beside it, in which process, or on how many threads.
"""

import zlib
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import torch

from metarl_envs.tasks.batches import num_tasks, take, to_json


class Purpose(IntEnum):
    """What a stream of random numbers is for; the second element of its path."""

    PARAMETERS = 0
    TASKS = 1
    TRAINING = 2
    EVALUATION = 3
    ADAPTATION = 4
    BENCHMARK = 5


Path = tuple[int, ...]
_RESETS, _NOISE = 0, 1  # last element of the path of a task's rollouts


def reset_seeds(path: Path, task_keys: Sequence[int], episodes: int) -> list[int]:
    """Seeds of the initial states, one per sub-environment, grouped by task: length M*E."""
    return [
        int(seed)
        for key in task_keys
        for seed in np.random.SeedSequence((*path, int(key), _RESETS)).generate_state(
            episodes, np.uint64
        )
    ]


def action_noise(
    path: Path, task_keys: Sequence[int], episodes: int, horizon: int, action_size: int
) -> np.ndarray:
    """Standard normal noise for all actions, drawn ahead: float32, shape (M, H, E, A)."""
    noise = np.empty((len(task_keys), horizon, episodes, action_size), np.float32)
    for row, key in zip(noise, task_keys, strict=True):
        seed = np.random.SeedSequence((*path, int(key), _NOISE))
        np.random.Generator(np.random.SFC64(seed)).standard_normal(dtype=np.float32, out=row)
    return noise


def content_keys(tasks: Mapping[str, np.ndarray]) -> list[int]:
    """One key per task from its content, so that permuting tasks permutes their randomness.

    Equal tasks are told apart by how often they occurred before.
    """
    keys, seen = [], dict[int, int]()
    for index in range(num_tasks(tasks)):
        key = zlib.crc32(repr(sorted(to_json(take(tasks, [index])).items())).encode())
        keys.append(key + (seen.get(key, 0) << 32))
        seen[key] = seen.get(key, 0) + 1
    return keys


def parameter_generator(seed: int) -> torch.Generator:
    """The generator of initial meta-parameters."""
    state = np.random.SeedSequence((seed, Purpose.PARAMETERS)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
