"""Walker2d tasks: a hidden velocity or direction, or random physical parameters."""

from typing import Any

import numpy as np

from metarl_envs.parts.goals import Direction, TargetVelocity
from metarl_envs.parts.variations.scaled_fields import SCALABLE_FIELDS
from metarl_envs.robots.planar_walker import PlanarWalker, random_parameters


class Walker2d(PlanarWalker):
    """Walker2d, which falls unless 0.8 m < height < 2.0 m and |pitch| < 1 rad.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `PlanarWalker`.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, xml_file="walker2d_v5.xml", observation_size=17, **kwargs)

    def _healthy(self) -> np.ndarray:
        return (self.height > 0.8) & (self.height < 2.0) & (np.abs(self.pitch) < 1.0)


def walker2d_vel(
    num_envs: int = 1, *, velocity_range: tuple[float, float] = (0.0, 10.0), **kwargs: Any
) -> Walker2d:
    """Run at a hidden velocity: r = -|v - v*| + 15 - 0.001 sum(a^2) (ProMP).

    Tasks: `{"target_velocity": v*}` in m/s, U[0,10]; `extrapolation` goes up to 15.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `PlanarWalker`.
    """
    kwargs = {"alive_reward": 15.0} | kwargs
    return Walker2d(num_envs, goal=TargetVelocity(velocity_range), **kwargs)


def walker2d_dir(num_envs: int = 1, **kwargs: Any) -> Walker2d:
    """Run forwards or backwards: r = d v + 1 - 0.001 sum(a^2), d = +1 or -1 (ProMP).

    Tasks: `{"forward": 1 or 0}`, the same two in training and test.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `PlanarWalker`.
    """
    return Walker2d(num_envs, goal=Direction(), **kwargs)


def walker2d_rand_params(
    num_envs: int = 1,
    *,
    vary: tuple[str, ...] = tuple(SCALABLE_FIELDS),
    log_scale_limit: float = 3.0,
    **kwargs: Any,
) -> Walker2d:
    """Run forwards with random masses, inertias, damping and friction: 65 multipliers.

    Args:
        num_envs: number of simulations.
        vary: model fields, see `ScaledFields`.
        log_scale_limit: largest exponent in training.
        **kwargs: arguments of `PlanarWalker`.
    """
    return Walker2d(num_envs, **{**random_parameters(vary, log_scale_limit), **kwargs})
