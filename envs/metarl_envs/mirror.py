"""A robot's mirror image: what it sees, does and is with left and right exchanged."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from metarl_envs.errors import EnvironmentConfigError


class Exchange(NamedTuple):
    """What becomes of a vector in the mirror.

    Attributes:
        source: whose value each number takes.
        sign: 1 or -1, by which that is multiplied.
    """

    source: np.ndarray
    sign: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """The mirror image, over any leading axes."""
        found: np.ndarray = values[..., self.source] * self.sign
        return found


class Mirror(NamedTuple):
    """The mirror images of all that a policy is told and gives.

    Attributes:
        obs: of observations.
        action: of actions.
        task: of the numbers of a task, its keys in alphabetical order.
    """

    obs: Exchange
    action: Exchange
    task: Exchange


@runtime_checkable
class Mirrored(Protocol):
    """An environment that may be its own mirror image."""

    @property
    def mirror(self) -> Mirror:
        """How left and right are exchanged in an environment that is the same in the mirror.

        Up to what the two sides of a real robot differ in: see `robots.quadruped_mirror`.

        Raises:
            EnvironmentConfigError: where something has no image, or nobody has said which.
        """
        ...


def exchange(source: Sequence[int], sign: Sequence[float] | None = None) -> Exchange:
    """By whose value each number takes, and its signs, 1 if not given."""
    return Exchange(np.array(source, int), np.ones(len(source)) if sign is None else np.array(sign))


def unchanged(size: int) -> Exchange:
    """Numbers that a mirror leaves as they are."""
    return exchange(range(size))


def beside(*parts: Exchange) -> Exchange:
    """Of vectors behind each other."""
    starts = np.cumsum([0, *(len(part.source) for part in parts)])
    index = [part.source + start for part, start in zip(parts, starts, strict=False)]
    return Exchange(np.concatenate(index), np.concatenate([part.sign for part in parts]))


def mirror_of(env: object) -> Mirror:
    """The mirror of an environment.

    Raises:
        EnvironmentConfigError: if it has none.
    """
    if not isinstance(env, Mirrored):
        raise EnvironmentConfigError(
            "this environment does not say how left and right are exchanged; metarl/Quadruped-v0 "
            "does"
        )
    return env.mirror
