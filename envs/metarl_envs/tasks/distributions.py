"""Distributions over tasks, each sampled from a seed.

A continuous region has four parts, disjoint whatever the seed:

- `gap`, a fifth of it in a few wide blocks that training never sees: bands of a tenth of the range
  where there is one coordinate, else blocks of a fifth of the range in the first two coordinates
  together, one in each row and column of a 5 x 5 board;
- `held_out`: of the rest, every tenth of 100 equal cells of the first coordinate. These tasks are
  new, but lie within one cell (1 % of the range) of tasks that training may see: fresh draws of the
  training distribution rather than interpolation;
- `validation`: another tenth of the cells, for choices among configs;
- `train`: what remains.

Only coordinates that matter are counted (the mass of the world body does not).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from metarl_envs.errors import TaskError
from metarl_envs.tasks.batches import Tasks, concatenate, num_tasks, take

Seed = int | Sequence[int]
Part = Literal["all", "train", "held_out", "validation", "gap"]
Bounds = Mapping[str, float | Sequence[float] | np.ndarray]

_NUM_CELLS = 100
_CELLS_APART, _HELD_OUT, _VALIDATION = 10, 2, 7
_BANDS, _GAP_BANDS = 10, (2, 7)  # of a single coordinate
_BOARD, _GAP_LINE = 5, 2  # of two coordinates
_BLOCK = 256  # fixed, so that the first tasks drawn do not depend on how many are asked for


class TaskDistribution(ABC):
    """A set of tasks with a probability law over it."""

    def sample(self, num_tasks: int, seed: Seed) -> Tasks:
        """Draw `num_tasks` tasks; the same seed gives the same tasks, and the first of a
        larger draw equal a smaller draw.

        Raises:
            TaskError: if `num_tasks` is not positive.
        """
        if num_tasks < 1:
            raise TaskError(f"the number of tasks must be positive, got {num_tasks}")
        return self._sample(num_tasks, np.random.default_rng(np.random.SeedSequence(seed)))

    @abstractmethod
    def _sample(self, num_tasks: int, rng: np.random.Generator) -> Tasks: ...

    @abstractmethod
    def contains(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether each task can be drawn: bool, shape (M,)."""


class _Region(TaskDistribution):
    """A region of a continuous space, sampled by rejection from a simpler one."""

    def _sample(self, num_tasks: int, rng: np.random.Generator) -> Tasks:
        accepted: list[Tasks] = []
        count = 0
        while count < num_tasks:
            candidates = self._propose(_BLOCK, rng)
            accepted.append(take(candidates, self.contains(candidates)))
            count += len(next(iter(accepted[-1].values())))
        return take(concatenate(accepted), slice(num_tasks))

    @abstractmethod
    def _propose(self, num_tasks: int, rng: np.random.Generator) -> Tasks: ...


class UniformTasks(_Region):
    """Uniform over a box, per key; with `log=True` uniform in the logarithm of each value.

    Args:
        low: lower bounds, by key.
        high: upper bounds, by key, of the same shapes.
        log: draw the logarithm uniformly (bounds must be positive).
        part: which part of the box.
        matters: bool, by key, which values have any effect; None for all.
        excluding: another box whose tasks never occur here (for extrapolation).
    """

    def __init__(
        self,
        low: Bounds,
        high: Bounds,
        *,
        log: bool = False,
        part: Part = "all",
        matters: Mapping[str, np.ndarray] | None = None,
        excluding: "UniformTasks | None" = None,
    ) -> None:
        self.low = {key: np.asarray(value, np.float64) for key, value in low.items()}
        self.high = {key: np.asarray(value, np.float64) for key, value in high.items()}
        self.log, self.part, self.excluding = log, part, excluding
        self._matters = matters or {}
        for key in self.low:
            if not (self.low[key] < self.high[key]).all():
                raise TaskError(
                    f"the range of {key!r} is empty: low {low[key]} is not below high {high[key]}"
                )

    def _propose(self, num_tasks: int, rng: np.random.Generator) -> Tasks:
        tasks = {}
        for key, low in self.low.items():
            a, b = self._scaled(low), self._scaled(self.high[key])
            drawn = rng.uniform(a, b, size=(num_tasks, *low.shape))
            # exp(log(x)) may leave the range by one rounding error
            tasks[key] = np.clip(np.exp(drawn), low, self.high[key]) if self.log else drawn
        return tasks

    def contains(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        inside = self._in_box(tasks)
        if self.excluding is not None:
            inside &= ~self.excluding._in_box(tasks)
        return inside & _in_part(self._positions(tasks), self.part)

    def _positions(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Relative positions in the box of the values that matter: shape (M, coordinates)."""
        columns = []
        for key, low in self.low.items():
            start, end = self._scaled(low), self._scaled(self.high[key])
            with np.errstate(invalid="ignore", divide="ignore"):
                position = (self._scaled(np.asarray(tasks[key])) - start) / (end - start)
            kept = np.asarray(self._matters.get(key, np.ones(low.shape, bool))).reshape(-1)
            columns.append(position.reshape(len(position), -1)[:, kept])
        return np.concatenate(columns, axis=1)

    def _in_box(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        inside = np.ones(num_tasks(tasks), bool)
        for key, low in self.low.items():
            ok = (tasks[key] >= low) & (tasks[key] <= self.high[key])
            inside &= ok.reshape(len(inside), -1).all(axis=1)
        return inside

    def _scaled(self, value: npt.ArrayLike) -> np.ndarray:
        return np.log(value) if self.log else np.asarray(value)


class PolarTasks(_Region):
    """Points of a plane, uniform by area over an annular sector around the origin.

    Args:
        key: the task key, of shape (2,).
        radius: inner and outer radius; equal radii give an arc.
        angle: first and last angle in radians.
        part: which part of the sector; the angle is the first coordinate, the area the second.
    """

    def __init__(
        self,
        key: str,
        radius: tuple[float, float],
        angle: tuple[float, float],
        *,
        part: Part = "all",
    ) -> None:
        if not 0 <= radius[0] <= radius[1] or not angle[0] < angle[1]:
            raise TaskError(f"radius {radius} and angle {angle} must be increasing pairs")
        self.key, self.radius, self.angle, self.part = key, radius, angle, part

    def _propose(self, num_tasks: int, rng: np.random.Generator) -> Tasks:
        inner, outer = self.radius
        radius = np.sqrt(rng.uniform(inner**2, outer**2, num_tasks))
        angle = rng.uniform(*self.angle, num_tasks)
        return {self.key: np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)}

    def contains(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        points = np.asarray(tasks[self.key])
        radius = np.hypot(points[:, 0], points[:, 1])
        angle = np.arctan2(points[:, 1], points[:, 0])
        first, last = self.angle
        position = ((angle - first) % (2 * np.pi)) / (last - first)
        positions = [position]
        if self.radius[0] < self.radius[1]:
            inner, outer = np.square(self.radius)
            positions.append((radius**2 - inner) / (outer - inner))
        tolerance = 1e-9 * max(self.radius[1], 1.0)
        inside = (radius >= self.radius[0] - tolerance) & (radius <= self.radius[1] + tolerance)
        return inside & (position <= 1.0) & _in_part(np.stack(positions, axis=1), self.part)


class ListTasks(TaskDistribution):
    """A fixed list of tasks, drawn in shuffled rounds: none repeats before all have occurred."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks

    def _sample(self, num_tasks: int, rng: np.random.Generator) -> Tasks:
        size = len(next(iter(self.tasks.values())))
        rounds = [rng.permutation(size) for _ in range(-(-num_tasks // size))]
        return take(self.tasks, np.concatenate(rounds)[:num_tasks])

    def contains(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        own = {key: tasks[key] for key in self.tasks}
        known = {_bytes(self.tasks, i) for i in range(num_tasks(self.tasks))}
        return np.array([_bytes(own, i) in known for i in range(num_tasks(own))])


class ProductTasks(TaskDistribution):
    """Independent distributions over different keys, drawn together."""

    def __init__(self, factors: Sequence[TaskDistribution]) -> None:
        self.factors = factors

    def _sample(self, num_tasks: int, rng: np.random.Generator) -> Tasks:
        streams = rng.spawn(len(self.factors)) if len(self.factors) > 1 else [rng]
        tasks: Tasks = {}
        for factor, stream in zip(self.factors, streams, strict=True):
            tasks |= factor._sample(num_tasks, stream)
        return tasks

    def contains(self, tasks: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.all([factor.contains(tasks) for factor in self.factors], axis=0)


def _bytes(tasks: Mapping[str, np.ndarray], index: int) -> bytes:
    return b"".join(np.float64(tasks[key][index]).tobytes() for key in sorted(tasks))


def _in_part(positions: np.ndarray, part: Part) -> np.ndarray:
    """Whether relative positions in [0, 1], shape (M, coordinates), belong to a part."""
    if part == "all":
        return np.ones(len(positions), bool)
    if positions.shape[1] == 1:
        gap = np.isin(_cells(positions[:, 0], _BANDS), _GAP_BANDS)
    else:
        row, column = (_cells(positions[:, i], _BOARD) for i in (0, 1))
        gap = (row + 2 * column) % _BOARD == _GAP_LINE
    if part == "gap":
        return gap
    cell = _cells(positions[:, 0], _NUM_CELLS) % _CELLS_APART
    held_out, validation = cell == _HELD_OUT, cell == _VALIDATION
    kept = {"held_out": held_out, "validation": validation, "train": ~held_out & ~validation}
    return ~gap & kept[part]


def _cells(position: np.ndarray, count: int) -> np.ndarray:
    return np.clip(np.nan_to_num(np.floor(position * count)), 0, count - 1).astype(np.int64)
