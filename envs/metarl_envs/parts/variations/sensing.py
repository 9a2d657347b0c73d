"""Variations of what the robot senses."""

from typing import TYPE_CHECKING

import numpy as np

from metarl_envs.parts.variations.base import RangeVariation

if TYPE_CHECKING:
    from metarl_envs.robots.base import MujocoTaskEnv

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

    def prepare(self, env: "MujocoTaskEnv") -> None:
        self._std = np.zeros(env.num_envs)
        self._noise: np.ndarray | None = None

    def _apply(self, env: "MujocoTaskEnv", values: np.ndarray, rows: np.ndarray) -> None:
        self._std[rows] = values

    def reset(
        self, env: "MujocoTaskEnv", rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        if not self._std.any():
            return
        if self._noise is None:
            size = env.observation_size
            self._noise = np.zeros((env.num_envs, _BLOCK, size))
        self._generators |= zip(rows.tolist(), generators, strict=True)
        self._draw(rows)

    def observe(self, env: "MujocoTaskEnv", observations: np.ndarray) -> np.ndarray:
        if self._noise is None or not self._std.any():
            return observations
        steps = env.elapsed_steps % _BLOCK
        self._draw(np.flatnonzero((steps == 0) & (env.elapsed_steps > 0) & (self._std > 0)))
        noise = self._noise[np.arange(env.num_envs), steps]
        return observations + self._std[:, None] * noise

    def _draw(self, rows: np.ndarray) -> None:
        assert self._noise is not None
        for row in rows:
            self._generators[row].standard_normal(out=self._noise[row])
