"""Pushes: a horizontal force on the trunk now and then.

Shapes: N simulations.
"""

import numpy as np

from metarl_envs.errors import EnvironmentConfigError, require_count
from metarl_envs.parts.base import Simulations
from metarl_envs.parts.variations.base import RangeVariation


class Pushes(RangeVariation):
    """A force in N on the root, each time in another direction: `{"push_force": f}`.

    Args:
        max_force: largest in training; extrapolation goes half as far again.
        every: control steps from one push to the next; the first comes after as many.
        duration: control steps that a push lasts.
    """

    def __init__(self, max_force: float = 50.0, every: int = 50, duration: int = 5) -> None:
        super().__init__(
            "push_force",
            0.0,
            max_force,
            outer=(0.0, 1.5 * max_force),
            bounds=(0.0, 1e4),
            nominal=0.0,
        )
        require_count("every", every)
        require_count("duration", duration)
        if duration > every:
            raise EnvironmentConfigError(
                f"a push must last between 1 and every = {every} steps, got duration = {duration}"
            )
        self._every, self._duration = every, duration

    def prepare(self, simulations: Simulations) -> None:
        self._forces_N3 = simulations.bind("xfrc_applied")[:, 1, :3]
        self._strengths_N = np.zeros(simulations.num_envs)
        self._directions_N2 = np.zeros((simulations.num_envs, 2))
        self._met_N = np.zeros(simulations.num_envs, np.int64)  # pushes of this episode
        self._pushed_N = np.zeros(simulations.num_envs, bool)  # in the step before
        self._generators: dict[int, np.random.Generator] = {}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        self._strengths_N[rows] = values

    def reset(
        self, simulations: Simulations, rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        self._generators |= zip(rows.tolist(), generators, strict=True)
        self._met_N[rows] = 0
        self._forces_N3[rows[self._pushed_N[rows]]] = 0.0
        self._pushed_N[rows] = False

    def act(self, simulations: Simulations, control: np.ndarray) -> np.ndarray:
        pushes, since = np.divmod(simulations.elapsed_steps - 1, self._every)
        pushed = (self._strengths_N > 0) & (pushes > 0) & (since < self._duration)
        for row in np.flatnonzero(pushed & (pushes != self._met_N)).tolist():
            angle = self._generators[row].uniform(-np.pi, np.pi)
            self._directions_N2[row] = np.cos(angle), np.sin(angle)
            self._met_N[row] = pushes[row]
        # where it pushes, or has just pushed; other forces are left alone
        ours = pushed | self._pushed_N
        strengths_N = np.where(pushed, self._strengths_N, 0.0)
        self._forces_N3[ours, :2] = (strengths_N[:, None] * self._directions_N2)[ours]
        self._pushed_N = pushed
        return control
