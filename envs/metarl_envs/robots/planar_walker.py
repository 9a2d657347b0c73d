"""What Walker2d and Hopper share: planar robots that run and fall.

Bodies, physics and initial states are those of Gymnasium's `Walker2d-v5` and `Hopper-v5`, to the
bit. Velocity and direction tasks follow ProMP (Rothfuss et al. 2019, arXiv 1810.06784;
walker2d_rand_vel, walker2d_rand_direc: 8 simulator steps of 0.002 s). Random parameters follow
rand_param_envs (the same authors; used by ProMP, PEARL and VariBAD: 4 simulator steps of 0.004 s;
see `parts.variations.scaled_fields`), on the v5 bodies, both of whose feet have friction 1.9. The
constants that MuJoCo derives from mass follow the mass, which the original did not do.
"""

from abc import abstractmethod
from typing import Any, TypedDict

import numpy as np

from metarl_envs.parts.base import TaskPart
from metarl_envs.parts.variations.scaled_fields import SCALABLE_FIELDS, ScaledFields
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.005  # m, rad and their rates


class PlanarWalker(MujocoTaskEnv):
    """A planar robot: r = goal + alive - 0.001 sum(a^2), by default for running forwards.

    Quantities: height, pitch, forward_velocity.

    Args:
        num_envs: number of simulations.
        xml_file: robot model.
        observation_size: O.
        alive_reward: paid in every step, also the last (the v5 classes pay it only while healthy).
        ctrl_cost_weight: weight of sum(a^2).
        frame_skip: simulator steps per control step.
        **kwargs: `goal`, `variations`, `action_scale`, `timestep` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        xml_file: str,
        observation_size: int,
        alive_reward: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        frame_skip: int = 8,
        **kwargs: Any,
    ) -> None:
        self._alive_reward, self._ctrl_cost_weight = alive_reward, ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file=xml_file,
            observation_size=observation_size,
            frame_skip=frame_skip,
            **kwargs,
        )

    @property
    def height(self) -> np.ndarray:
        return self.qpos[:, 1]

    @property
    def pitch(self) -> np.ndarray:
        return self.qpos[:, 2]

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        qpos = self.model.qpos0 + generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return qpos, generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        return np.concatenate([self.qpos[:, 1:], np.clip(self.qvel, -10, 10)], axis=1)

    def _state_seen(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._state_but_for_place(observations)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self.goal.reward(self) + self._alive_reward - cost, ~self._healthy()

    @abstractmethod
    def _healthy(self) -> np.ndarray:
        """Whether each robot still stands."""


class RandomParameters(TypedDict):
    """Arguments of `MujocoTaskEnv` for rand_param_envs' robots."""

    frame_skip: int
    timestep: float
    parts: list[TaskPart]


def random_parameters(
    vary: tuple[str, ...] = tuple(SCALABLE_FIELDS), log_scale_limit: float = 3.0
) -> RandomParameters:
    """Random masses, inertias, damping and friction, see `ScaledFields`.

    Args:
        vary: model fields.
        log_scale_limit: largest exponent in training.
    """
    part = ScaledFields(vary, log_scale_limit)
    return {"frame_skip": 4, "timestep": 0.004, "parts": [part]}
