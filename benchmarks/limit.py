"""The physics alone, timed between the steps of a run."""

import time
from typing import Any

import numpy as np
from mujoco.batch import MODEL_FIELDS, Batch

_EVERY = 8  # of the steps: the limit takes a quarter of the physics on top


class PhysicsLimit:
    """Stands in for a robot's batch, and repeats every eighth of its steps in a batch of its own.

    A step is repeated twice, from the same states with the same controls, and the second time
    counts: the engine as fast as it is right after another step. As it comes at once, a machine
    whose speed changes from second to second slows both alike.

    Args:
        batch: the robot's.

    Attributes:
        engine_s: seconds inside `Batch.step` so far, repetitions left out.
        extra_s: seconds spent on repetitions so far, to be taken off any time measured outside.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch, self.alone = batch, Batch(batch.model, batch.nsim, batch.nthread)
        self._calls = 0
        self.clear()

    def clear(self) -> None:
        """Count from zero."""
        self.engine_s = self.extra_s = 0.0
        self._repeated_s = self._alone_s = 0.0  # of the steps that were repeated

    @property
    def alone_s(self) -> float:
        """Seconds that all steps so far would have taken with nothing between them."""
        if not self._repeated_s:  # too few steps to have repeated one
            return self.engine_s
        return self.engine_s * self._alone_s / self._repeated_s

    def reset(self, *args: Any, **kwargs: Any) -> None:
        """Reset the batch, and note the simulations' model fields."""
        start = time.perf_counter()
        self.copy_fields()
        self.extra_s += time.perf_counter() - start
        self._batch.reset(*args, **kwargs)

    def copy_fields(self) -> None:
        """Give the other batch this one's model fields."""
        for name in MODEL_FIELDS:
            values = self._batch.expanded(name)
            if values is not None:
                self.alone.expand(name)[:] = values

    def step(self, rows: np.ndarray | None = None, nstep: int = 1) -> None:
        """Step the batch; every eighth time, the other one too."""
        self._calls += 1
        repeats = self._calls % _EVERY == 0
        begin = time.perf_counter()
        before = self._batch.state.copy() if repeats else None
        start = time.perf_counter()
        self._batch.step(rows, nstep=nstep)
        end = time.perf_counter()
        self.engine_s += end - start
        if before is not None:
            self._repeated_s += end - start
            self.repeat(before, rows, nstep)
        self.extra_s += (start - begin) + (time.perf_counter() - end)

    def repeat(self, before: np.ndarray, rows: np.ndarray | None, nstep: int) -> None:
        """Repeat a step from the states before it, twice."""
        for _ in range(2):
            self.alone.state[:] = before
            start = time.perf_counter()
            self.alone.step(rows, nstep=nstep)
        self._alone_s += time.perf_counter() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)
