"""Walker2d and Hopper: hidden velocity or direction, or random physical parameters.

Bodies, physics and initial states are those of Gymnasium's `Walker2d-v5` and `Hopper-v5`, to the
bit. Velocity and direction tasks follow ProMP (Rothfuss et al. 2019, arXiv 1810.06784;
walker2d_rand_vel, walker2d_rand_direc: 8 simulator steps of 0.002 s). Random parameters follow
rand_param_envs (the same authors; used by ProMP, PEARL and VariBAD: 4 simulator steps of 0.004 s;
see `variations.scaled_fields`), on the v5 bodies, both of whose feet have friction 1.9. The
constants that MuJoCo derives from mass follow the mass, which the original did not do.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_envs.parts.goals import Direction, TargetVelocity, TaskPart, VelocityGoal
from metarl_envs.parts.variations.scaled_fields import SCALABLE_FIELDS, ScaledFields
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.005  # m, rad and their rates


class PlanarWalker(MujocoTaskEnv):
    """A planar robot that runs forwards: r = dx/dt + alive - 0.001 sum(a^2).

    Args:
        num_envs: number of simulations.
        goal: what is rewarded instead of dx/dt.
        parts: further parts of the task.
        alive_reward: paid in every step, also the last (the v5 classes pay it only while healthy).
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        timestep: simulator step in s; None for the v5 model's own 0.002.
        action_scale: see `MujocoTaskEnv`.
        **kwargs: `max_episode_steps`, `num_threads`, `variations` of `MujocoTaskEnv`.
    """

    _xml_file: str
    _observation_size: int

    def __init__(
        self,
        num_envs: int = 1,
        *,
        goal: VelocityGoal | None = None,
        parts: Sequence[TaskPart] = (),
        alive_reward: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        frame_skip: int = 8,
        timestep: float | None = None,
        action_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._goal, self._alive_reward, self._ctrl_cost_weight = (
            goal,
            alive_reward,
            ctrl_cost_weight,
        )
        super().__init__(
            num_envs,
            xml_file=self._xml_file,
            parts=parts if goal is None else [goal, *parts],
            observation_size=self._observation_size,
            frame_skip=frame_skip,
            timestep=timestep,
            action_scale=action_scale,
            **kwargs,
        )

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos[:, 1:], np.clip(self.qvel, -10, 10)], axis=1)

    def _outcome(
        self, before: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        velocity = (self.qpos[:, 0] - before) / self.dt
        gain = velocity if self._goal is None else self._goal.reward(velocity)
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return gain + self._alive_reward - cost, ~self._healthy()

    @abstractmethod
    def _healthy(self) -> np.ndarray:
        """Whether each robot still stands."""


class Walker2d(PlanarWalker):
    """Walker2d, which falls unless 0.8 m < height < 2.0 m and |pitch| < 1 rad.

    Tasks: those of its `variations`, by default `link_mass`. Arguments: see `PlanarWalker`.
    """

    _xml_file = "walker2d_v5.xml"
    _observation_size = 17

    def _healthy(self) -> np.ndarray:
        height, pitch = self.qpos[:, 1], self.qpos[:, 2]
        return (height > 0.8) & (height < 2.0) & (np.abs(pitch) < 1.0)


class Hopper(PlanarWalker):
    """Hopper, which falls unless height > 0.7 m, |pitch| < 0.2 rad and every |state| < 100.

    Tasks: those of its `variations`, by default `link_mass`. Arguments: see `PlanarWalker`.
    """

    _xml_file = "hopper.xml"
    _observation_size = 11

    def _healthy(self) -> np.ndarray:
        height, pitch = self.qpos[:, 1], self.qpos[:, 2]
        state = np.concatenate([self.qpos[:, 2:], self.qvel], axis=1)
        calm = (np.abs(state) < 100.0).all(axis=1)
        return (height > 0.7) & (np.abs(pitch) < 0.2) & calm


class Walker2dVel(Walker2d):
    """Run at a hidden velocity: r = -|v - v*| + 15 - 0.001 sum(a^2) (ProMP).

    Tasks: `{"target_velocity": v*}` in m/s, U[0,10]; `extrapolation` goes up to 15.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `PlanarWalker`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        velocity_range: tuple[float, float] = (0.0, 10.0),
        **kwargs: Any,
    ) -> None:
        goal = TargetVelocity(velocity_range)
        super().__init__(num_envs, goal=goal, **({"alive_reward": 15.0} | kwargs))


class Walker2dDir(Walker2d):
    """Run forwards or backwards: r = d v + 1 - 0.001 sum(a^2), d = +1 or -1 (ProMP).

    Tasks: `{"forward": 1 or 0}`, the same two in training and test. Arguments: see `PlanarWalker`.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, goal=Direction(), **kwargs)


class HopperVel(Hopper):
    """Hop at a hidden velocity: r = -|v - v*| + 1 - 0.001 sum(a^2). Ours: no paper defines it.

    Tasks: `{"target_velocity": v*}` in m/s, U[0,3]; `extrapolation` goes up to 4.5.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `PlanarWalker`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        velocity_range: tuple[float, float] = (0.0, 3.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(num_envs, goal=TargetVelocity(velocity_range), **kwargs)


def _random_parameters(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of rand_param_envs' robots: `vary` and `log_scale_limit` become a task part."""
    vary = kwargs.pop("vary", tuple(SCALABLE_FIELDS))
    part = ScaledFields(vary, kwargs.pop("log_scale_limit", 3.0))
    return {"frame_skip": 4, "timestep": 0.004, "parts": [part]} | kwargs


class Walker2dRandParams(Walker2d):
    """Run forwards with random masses, inertias, damping and friction: 65 multipliers.

    Args:
        num_envs: number of simulations.
        **kwargs: `vary`, the model fields, and `log_scale_limit`, the largest exponent in
            training, of `ScaledFields`; other arguments of `PlanarWalker`.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, **_random_parameters(kwargs))


class HopperRandParams(Hopper):
    """Hop forwards with random masses, inertias, damping and friction: 41 multipliers.

    Args:
        num_envs: number of simulations.
        **kwargs: as in `Walker2dRandParams`.
    """

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_envs, **_random_parameters(kwargs))
