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
    LEARNING = 6
    VALUE_BASELINE = 7
    PREDICTION = 8
    EVALUATION_SUPPORT = 9
    FIXED_TASKS = 10
    DEMONSTRATIONS = 11


Path = tuple[int, ...]
_RESETS, _NOISE = 0, 1  # last element of the path of a task's rollouts


def entropy(path: Path) -> list[int]:
    """What seeds a stream: no two paths give the same.

    NumPy fills short entropy up with zeros, so that (0, 1) and (0, 1, 0) would be one stream; the
    length in front tells them apart. Every number takes two words.
    """
    return [len(path), *(word for n in path for word in (int(n) % 2**32, int(n) >> 32))]


def stream(path: Path) -> np.random.SeedSequence:
    """The stream that a path names."""
    return np.random.SeedSequence(entropy(path))


def reset_seeds(path: Path, task_keys: Sequence[int], episodes: int) -> list[int]:
    """Seeds of the initial states, one per sub-environment, grouped by task: length M*E."""
    return [
        int(seed)
        for key in task_keys
        for seed in stream((*path, int(key), _RESETS)).generate_state(episodes, np.uint64)
    ]


def action_noise(
    path: Path, task_keys: Sequence[int], episodes: int, horizon: int, action_size: int
) -> np.ndarray:
    """Standard normal noise for all actions, drawn ahead: float32, shape (M, H, E, A)."""
    noise = np.empty((len(task_keys), horizon, episodes, action_size), np.float32)
    for row, key in zip(noise, task_keys, strict=True):
        seed = stream((*path, int(key), _NOISE))
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
    return _generator((seed, Purpose.PARAMETERS))


def learning_generator(seed: int, index: int, key: int = 0) -> torch.Generator:
    """The generator of a learner's own randomness in an iteration.

    Args:
        seed: of the run.
        index: of the iteration.
        key: of the task, for what is drawn per task.
    """
    return _generator((seed, Purpose.LEARNING, index, key))


def value_baseline_seed(seed: int) -> int:
    """The seed of a value baseline's initial weights, the same in every fit of a run."""
    return _torch_seed((seed, Purpose.VALUE_BASELINE))


def action_generator(seed: int) -> np.random.Generator:
    """The generator of the noise of a policy that is used outside of rollouts."""
    return np.random.default_rng(stream((seed, Purpose.PREDICTION)))


def _generator(path: Path) -> torch.Generator:
    return torch.Generator().manual_seed(_torch_seed(path))


def _torch_seed(path: Path) -> int:
    return int(stream(path).generate_state(1, np.uint64)[0])
