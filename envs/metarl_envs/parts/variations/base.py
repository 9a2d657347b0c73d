"""What variations over a range share."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.splits import Splits, box_splits


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
    def spaces(self) -> Mapping[str, spaces.Space]:
        return {self._key: spaces.Box(*self._bounds, self._shape, np.float64)}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return {self._key: np.full(self._shape, self._nominal_value)}

    def splits(self) -> Splits:
        def bound(value: float) -> dict[str, np.ndarray]:
            return {self._key: np.full(self._shape, value)}

        wider = self._outer[0] < self._low or self._outer[1] > self._high
        outer = (bound(self._outer[0]), bound(self._outer[1])) if wider else None
        return box_splits(bound(self._low), bound(self._high), outer, self._log)

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        self._apply(simulations, tasks[self._key], rows)

    @abstractmethod
    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
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
