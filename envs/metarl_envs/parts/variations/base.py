"""What variations over a range share."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError, did_you_mean
from metarl_envs.parts.goals import Splits, TaskPart
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import TaskDistribution, UniformTasks

if TYPE_CHECKING:
    from metarl_envs.robots.base import MujocoTaskEnv


class RangeVariation(TaskPart):
    """One key of some shape, uniform (or log-uniform) over a range.

    Args:
        key: the task key.
        low: lower end of the training range.
        high: upper end.
        outer: the wider range in which extrapolation takes place.
        bounds: the values that make sense at all: the key's space.
        nominal: the value that changes nothing.
        log: uniform in the logarithm.
    """

    def __init__(
        self,
        key: str,
        low: float,
        high: float,
        *,
        outer: tuple[float, float],
        bounds: tuple[float, float],
        nominal: float,
        log: bool = False,
    ) -> None:
        if not bounds[0] <= low < high <= bounds[1]:
            raise EnvironmentConfigError(
                f"the range of {key!r} must increase within {list(bounds)}, got [{low}, {high}]"
            )
        self._key, self._low, self._high, self._log = key, float(low), float(high), log
        self._outer = max(outer[0], bounds[0]), min(outer[1], bounds[1])
        self._bounds, self._nominal_value = bounds, nominal
        self._shape: tuple[int, ...] = ()

    @property
    def spaces(self) -> dict[str, spaces.Space]:
        return {self._key: spaces.Box(*self._bounds, self._shape, np.float64)}

    @property
    def nominal(self) -> dict[str, Any]:
        return {self._key: np.full(self._shape, self._nominal_value)}

    def splits(self) -> Splits:
        def bound(value: float) -> dict[str, np.ndarray]:
            return {self._key: np.full(self._shape, value)}

        low, high, log = bound(self._low), bound(self._high), self._log
        splits: dict[str, TaskDistribution] = {
            "train": UniformTasks(low, high, log=log, part="train"),
            "test": UniformTasks(low, high, log=log, part="held_out"),
        }
        if self._outer[0] < self._low or self._outer[1] > self._high:
            splits["extrapolation"] = UniformTasks(
                bound(self._outer[0]),
                bound(self._outer[1]),
                log=log,
                excluding=UniformTasks(low, high, log=log),
            )
        return splits

    def apply(self, env: "MujocoTaskEnv", tasks: Tasks, rows: np.ndarray) -> None:
        self._apply(env, tasks[self._key], rows)

    @abstractmethod
    def _apply(self, env: "MujocoTaskEnv", values: np.ndarray, rows: np.ndarray) -> None:
        """Put the values, shape (len(rows), *shape), in force."""


class ScaleVariation(RangeVariation):
    """Log-uniform multipliers of nominal values; extrapolation goes the same factor further."""

    def __init__(self, key: str, low: float, high: float) -> None:
        if not 0 < low < high:
            raise EnvironmentConfigError(
                f"the range of {key!r} must be positive and increase, got [{low}, {high}]"
            )
        further = (high / low) ** 0.25
        outer = (low / further, high * further)
        super().__init__(key, low, high, outer=outer, bounds=(1e-3, 1e3), nominal=1.0, log=True)


def object_id(env: "MujocoTaskEnv", kind: str, name: str) -> int:
    """Index of a named body, joint, geom or actuator of the model."""
    names = [getattr(env.model, kind)(i).name for i in range(getattr(env.model, f"n{kind}"))]
    if name not in names:
        raise EnvironmentConfigError(
            f"the robot has no {kind} {name!r}{did_you_mean(name, names)}; "
            f"it has: {', '.join(n for n in names if n)}"
        )
    return names.index(name)
