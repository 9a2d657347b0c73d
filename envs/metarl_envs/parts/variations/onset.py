"""Changes in mid-episode: a variation that comes into force at some step.

Shapes: N simulations.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mirror import Exchange
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.splits import Splits

Onset = int | Sequence[int]
_LAST = 2**62  # of steps that are counted


class FromStep(TaskPart):
    """A variation whose value is the nominal one until a step of every episode.

    The task is the same as without: which value, not when.

    Args:
        part: the variation.
        at: the control step, counted from 0, whose action is the first that meets the new value,
            and is chosen on the first observation of it; or the earliest and the latest, and every
            episode draws one.
    """

    changes_in_episodes = True

    def __init__(self, part: TaskPart, at: Onset) -> None:
        given = [at, at] if isinstance(at, int) else at if isinstance(at, list | tuple) else []
        bounds = [step for step in given if isinstance(step, int) and not isinstance(step, bool)]
        if len(bounds) != 2 or len(given) != 2 or not 0 <= bounds[0] <= bounds[1] < _LAST:
            raise EnvironmentConfigError(f"at must be a step or [first, last], got {at!r}")
        self._part, (self._first, self._last) = part, bounds
        self.shares_tasks = part.shares_tasks

    def prepare(self, simulations: Simulations) -> None:
        self._part.prepare(simulations)
        self._onsets_N = np.full(simulations.num_envs, self._first)
        self._in_force_N = np.zeros(simulations.num_envs, bool)

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        return self._part.spaces

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return self._part.nominal

    def splits(self) -> Splits:
        return self._part.splits()

    def changing(self, simulations: Simulations, rows: np.ndarray) -> np.ndarray:
        in_force = simulations.elapsed_steps[rows] >= self._onsets_N[rows]
        changed = in_force != self._in_force_N[rows]
        self._in_force_N[rows] = in_force
        return rows[changed]

    def in_force(self, tasks: Tasks, rows: np.ndarray) -> Tasks:
        held = self._in_force_N[rows]
        values = {}
        for key, nominal in self.nominal.items():
            where = held.reshape(-1, *[1] * (tasks[key].ndim - 1))
            values[key] = np.where(where, tasks[key], nominal).astype(tasks[key].dtype)
        return {**tasks, **values}

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        self._part.apply(simulations, self.in_force(tasks, rows), rows)

    def reset(
        self, simulations: Simulations, rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        if self._first < self._last:
            for row, generator in zip(rows, generators, strict=True):
                self._onsets_N[row] = generator.integers(self._first, self._last + 1)
        self._part.reset(simulations, rows, generators)

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange] | None:
        return self._part.mirrored(motors)

    def act(self, simulations: Simulations, control: np.ndarray) -> np.ndarray:
        return self._part.act(simulations, control)

    def observe(self, simulations: Simulations, observations: np.ndarray) -> np.ndarray:
        return self._part.observe(simulations, observations)
