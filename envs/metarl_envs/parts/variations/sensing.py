"""Variations of what the robot senses."""

import numpy as np

from metarl_envs.parts.base import Simulations
from metarl_envs.parts.variations.base import RangeVariation

_BLOCK = 128  # steps of noise drawn at a time, from each sub-environment's own generator


class ObservationNoise(RangeVariation):
    """Normal noise on every observation: `{"observation_noise_std": std}`.

    Args:
        max_std: largest in training, in the observation's units; extrapolation goes half as far
            again.
    """

    def __init__(self, max_std: float = 0.1) -> None:
        super().__init__(
            "observation_noise_std",
            0.0,
            max_std,
            outer=(0.0, 1.5 * max_std),
            bounds=(0.0, 100.0),
            nominal=0.0,
        )
        self._generators: dict[int, np.random.Generator] = {}

    def prepare(self, simulations: Simulations) -> None:
        self._std = np.zeros(simulations.num_envs)
        self._starts = np.zeros(simulations.num_envs, bool)  # noise of a new episode is due
        self._noise: np.ndarray | None = None
        self._drawn_at = np.zeros(simulations.num_envs, np.int64)  # step of the newest block

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        self._starts[rows] = (values > 0) & (self._std[rows] == 0)  # also in mid-episode
        self._std[rows] = values

    def reset(
        self, simulations: Simulations, rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        noisy = self._std[rows] > 0
        self._generators |= zip(rows.tolist(), generators, strict=True)
        self._starts[rows] = noisy

    def observe(self, simulations: Simulations, observations: np.ndarray) -> np.ndarray:
        if not self._std.any():
            return observations
        if self._noise is None:
            self._noise = np.zeros((simulations.num_envs, _BLOCK, observations.shape[1]))
        elapsed = simulations.elapsed_steps
        steps = elapsed % _BLOCK
        new = (steps == 0) & (elapsed > 0) & (elapsed != self._drawn_at)
        due = self._starts | new & (self._std > 0)
        for row in np.flatnonzero(due).tolist():
            self._generators[row].standard_normal(out=self._noise[row])
        self._drawn_at[due] = elapsed[due]
        self._starts[:] = False
        noise = self._noise[np.arange(simulations.num_envs), steps]
        return observations + self._std[:, None] * noise
