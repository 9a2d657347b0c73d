"""What a training has cost, the trainings that it went on from among it."""

import math
from typing import NamedTuple


def require_time(seconds: object) -> None:
    """Refuse what was read in place of seconds, or of None where they are not known.

    Raises:
        ValueError: if it is neither.
    """
    if seconds is None:
        return
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0.0 <= seconds < math.inf
    ):
        raise ValueError(f"seconds is {seconds!r}, must be a time")


class Cost(NamedTuple):
    """Of a training so far.

    Attributes:
        env_steps: environment steps.
        seconds: wall time of its iterations, evaluations left out; None where a checkpoint of an
            older version, which did not tell, is behind it.
    """

    env_steps: int = 0
    seconds: float | None = 0.0

    def metrics(self) -> dict[str, float]:
        """As columns of `progress.csv`."""
        known = {} if self.seconds is None else {"time/seconds": self.seconds}
        return {"time/env_steps": float(self.env_steps), **known}

    def plus(self, other: "Cost") -> "Cost":
        """The cost of both."""
        env_steps = self.env_steps + other.env_steps
        if self.seconds is None or other.seconds is None:
            return Cost(env_steps, None)
        return Cost(env_steps, self.seconds + other.seconds)
