"""Splits: the task distributions of an environment by name.

`train`, `test` and `validation` (held out, interleaved with it) and `gap` (held out in wide blocks)
share a region, see `distributions`; `extrapolation` lies outside it. Choices are made on
`validation`, results are reported on the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.tasks.distributions import (
    Bounds,
    Part,
    PolarTasks,
    ProductTasks,
    TaskDistribution,
    UniformTasks,
)

Splits = dict[str, TaskDistribution]
_PARTS: dict[str, Part] = {
    "train": "train",
    "validation": "validation",
    "test": "held_out",
    "gap": "gap",
}
_CIRCLE = (-np.pi, np.pi)
_JUST_OUTSIDE = 1e-6  # of a radius or an angle


class Region(Protocol):
    """Makes the distribution over a part of a region."""

    def __call__(self, *, part: Part) -> TaskDistribution:
        """A part of the region."""
        ...


def interleaved(region: Region, extrapolation: TaskDistribution | None = None) -> Splits:
    """The parts of a region, and `extrapolation` if there is any."""
    splits = {name: region(part=part) for name, part in _PARTS.items()}
    return splits if extrapolation is None else {**splits, "extrapolation": extrapolation}


def box_splits(
    low: Bounds,
    high: Bounds,
    outer: tuple[Bounds, Bounds] | None = None,
    log: bool = False,
    matters: Mapping[str, np.ndarray] | None = None,
) -> Splits:
    """Uniform over a box, by task key; `extrapolation` is `outer` without the box.

    Args:
        low: lower bounds, by task key.
        high: upper bounds.
        outer: bounds of a wider box, or None.
        log: uniform in the logarithm of each value.
        matters: bool, by key, which values have any effect; None for all.
    """

    def box(*, part: Part) -> TaskDistribution:
        return UniformTasks(low, high, log=log, part=part, matters=matters)

    if outer is None:
        return interleaved(box)
    inside = UniformTasks(low, high, log=log)
    return interleaved(box, UniformTasks(*outer, log=log, excluding=inside))


def disc_splits(key: str, radius: float, outer: float) -> Splits:
    """Points of a disc, uniform by area; `extrapolation` is the ring around it up to `outer`."""

    def disc(*, part: Part) -> TaskDistribution:
        return PolarTasks(key, (0.0, radius), _CIRCLE, part=part)

    if not outer > radius:
        return interleaved(disc)
    return interleaved(disc, PolarTasks(key, (radius + _JUST_OUTSIDE, outer), _CIRCLE))


def semicircle_splits(key: str, radius: float) -> Splits:
    """Points of the upper half of a circle; `extrapolation` is the lower half."""

    def upper(*, part: Part) -> TaskDistribution:
        return PolarTasks(key, (radius, radius), (0.0, np.pi), part=part)

    lower = (np.pi + _JUST_OUTSIDE, 2 * np.pi - _JUST_OUTSIDE)
    return interleaved(upper, PolarTasks(key, (radius, radius), lower))


def product_splits(every: Sequence[Splits]) -> Splits:
    """Splits of independent task keys together.

    `train` and `test` combine their own. In `validation`, `gap` and `extrapolation` every one
    that has such tasks takes them; the others stay within `train` (`validation`) or `test`.
    """
    if len(every) == 1:
        return every[0]
    combined: Splits = {}
    for name in ("train", "test"):
        combined[name] = ProductTasks([splits[name] for splits in every])
    for name, other in (("validation", "train"), ("gap", "test"), ("extrapolation", "test")):
        if any(name in splits for splits in every):
            combined[name] = ProductTasks([splits.get(name, splits[other]) for splits in every])
    return combined


@dataclass(frozen=True)
class TaskRange:
    """Uniform (or log-uniform) values of one task key.

    Attributes:
        low: lower bound in training.
        high: upper bound in training.
        log: uniform in the logarithm.
        shape: shape of the value.
    """

    __pydantic_config__ = {"extra": "forbid"}

    low: float
    high: float
    log: bool = False
    shape: tuple[int, ...] = ()

    def outer(self) -> tuple[float, float]:
        """The range in which extrapolation takes place: half as wide again in all.

        Raises:
            EnvironmentConfigError: if the range does not increase, or cannot be logarithmic.
        """
        if not self.low < self.high or (self.log and not self.low > 0):
            raise EnvironmentConfigError(
                "a task range must increase (and be positive if log), "
                f"got [{self.low}, {self.high}]"
            )
        if self.log:
            factor = (self.high / self.low) ** 0.25
            return self.low / factor, self.high * factor
        margin = 0.25 * (self.high - self.low)
        # quantities that are never negative in training stay so
        low = max(0.0, self.low - margin) if self.low >= 0 else self.low - margin
        return low, self.high + margin


def range_splits(ranges: Mapping[str, TaskRange]) -> Splits:
    """Splits of task keys that are drawn together, uniform and log-uniform ones alike.

    Raises:
        EnvironmentConfigError: if a range does not increase.
    """
    alike = [{k: r for k, r in ranges.items() if r.log == log} for log in (False, True)]
    return product_splits([_box_of(group) for group in alike if group])


def _box_of(ranges: Mapping[str, TaskRange]) -> Splits:
    def bounds(value: Callable[[TaskRange], float]) -> Bounds:
        return {key: np.full(r.shape, value(r)) for key, r in ranges.items()}

    outer = bounds(lambda r: r.outer()[0]), bounds(lambda r: r.outer()[1])
    log = next(iter(ranges.values())).log
    return box_splits(bounds(lambda r: r.low), bounds(lambda r: r.high), outer, log)
