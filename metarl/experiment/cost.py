"""What a training has cost, the trainings that it went on from among it."""

from typing import NamedTuple


class Cost(NamedTuple):
    """Of a training so far.

    Attributes:
        env_steps: environment steps.
        seconds: wall time of its iterations, evaluations left out; None where a checkpoint of an
            older version, which did not tell, is behind it.
    """

    env_steps: int = 0
    seconds: float | None = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """The cost of both."""
        known = self.seconds is not None and other.seconds is not None
        seconds = (self.seconds or 0.0) + (other.seconds or 0.0) if known else None
        return Cost(self.env_steps + other.env_steps, seconds)
