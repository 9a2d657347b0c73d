"""Hopper tasks: a hidden velocity, or random physical parameters."""

from typing import Any

import numpy as np

from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.parts.variations.scaled_fields import SCALABLE_FIELDS
from metarl_envs.robots.planar_walker import PlanarWalker, random_parameters


class Hopper(PlanarWalker):
    """Hopper, which falls unless height > 0.7 m, |pitch| < 0.2 rad and every |state| < 100.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `PlanarWalker`.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, xml_file="hopper.xml", observation_size=11, **kwargs)

    def _healthy(self) -> np.ndarray:
        state = np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)
        calm = (np.abs(state) < 100.0).all(axis=1)
        return (self.height > 0.7) & (np.abs(self.pitch) < 0.2) & calm


def hopper_vel(
    num_envs: int = 1, *, velocity_range: tuple[float, float] = (0.0, 3.0), **kwargs: Any
) -> Hopper:
    """Hop at a hidden velocity: r = -|v - v*| + 1 - 0.001 sum(a^2). Ours: no paper defines it.

    Tasks: `{"target_velocity": v*}` in m/s, U[0,3]; `extrapolation` goes up to 4.5.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `PlanarWalker`.
    """
    return Hopper(num_envs, goal=TargetVelocity(velocity_range), **kwargs)


def hopper_rand_params(
    num_envs: int = 1,
    *,
    vary: tuple[str, ...] = tuple(SCALABLE_FIELDS),
    log_scale_limit: float = 3.0,
    **kwargs: Any,
) -> Hopper:
    """Hop forwards with random masses, inertias, damping and friction: 41 multipliers.

    Args:
        num_envs: number of simulations.
        vary: model fields, see `ScaledFields`.
        log_scale_limit: largest exponent in training.
        **kwargs: arguments of `PlanarWalker`.
    """
    return Hopper(num_envs, **{**random_parameters(vary, log_scale_limit), **kwargs})
