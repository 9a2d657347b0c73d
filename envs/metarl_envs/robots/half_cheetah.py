"""HalfCheetah tasks: run at a hidden velocity, or in a hidden direction.

Body, physics, and initial states are those of Gymnasium's `HalfCheetah-v5`, to the bit.
Definitions as in PEARL (Rakelly et al. 2019, arXiv 1903.08254, environments half_cheetah_vel and
half_cheetah_dir): 5 simulator steps of 0.01 s per control step, 200 control steps, control cost
0.05, and an observation of 20 numbers that ends with the torso's position.
"""

from typing import Any

import numpy as np

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Direction, TargetVelocity, pearl_velocities
from metarl_envs.robots.base import MujocoTaskEnv

_RESET_NOISE = 0.1  # rad and m, half-width of the joint noise; also the velocity noise's std
_STANDING = 0.7  # m, height of the torso in the model; `qpos` counts from there


class HalfCheetah(MujocoTaskEnv):
    """The robot: r = goal - 0.05 sum(a^2), by default for running forwards.

    Quantities: height, pitch, forward_velocity.

    Args:
        num_envs: number of simulations.
        torso_position: append the torso's position (lagging one simulator step, as in PEARL).
        ctrl_cost_weight: weight of sum(a^2), a in actuator units.
        frame_skip: simulator steps (0.01 s) per control step.
        **kwargs: `goal`, `variations`, `action_scale` (10 in MAML, ProMP and garage, 1 in PEARL)
            and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        torso_position: bool = True,
        ctrl_cost_weight: float = 0.05,
        frame_skip: int = 5,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight = ctrl_cost_weight
        super().__init__(
            num_envs,
            xml_file="half_cheetah.xml",
            observation_size=20 if torso_position else 17,
            frame_skip=frame_skip,
            **kwargs,
        )
        self._torso = self.simulations.body_positions("torso") if torso_position else None

    @property
    def height(self) -> np.ndarray:
        return _STANDING + self.qpos[:, 1]

    @property
    def pitch(self) -> np.ndarray:
        return self.qpos[:, 2]

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        offset = generator.uniform(-_RESET_NOISE, _RESET_NOISE, self.model.nq)
        return self.model.qpos0 + offset, _RESET_NOISE * generator.standard_normal(self.model.nv)

    def _robot_observation(self) -> np.ndarray:
        parts = [self.qpos[:, 1:], self.qvel]
        if self._torso is not None:
            parts.append(self._torso)
        return np.concatenate(parts, axis=1)

    def _state_seen(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        qpos, qvel = self._state_but_for_place(observations)
        if self._torso is not None:
            qpos[:, 0] = observations[:, self.model.nq - 1 + self.model.nv]
        return qpos, qvel

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        cost = self._ctrl_cost_weight * np.vecdot(control, control)
        return self.goal.reward(self) - cost, None


def half_cheetah_vel(
    num_envs: int = 1,
    *,
    velocity_range: tuple[float, float] = (0.0, 3.0),
    task_list: str | None = None,
    **kwargs: Any,
) -> HalfCheetah:
    """Run at a hidden target velocity: r = -|v - v*| - 0.05 sum(a^2).

    Tasks: `{"target_velocity": v*}` in m/s. Splits: `train` and `test` interleave over
    `velocity_range`; `extrapolation` is the range above it, half as wide. With
    `task_list="pearl"`, `train` and `test` are PEARL's fixed 100 and 30 velocities.

    Papers differ, and returns do not compare across: U[0,3] in PEARL, ProMP, VariBAD; U[0,2] in
    MAML and garage; MAML's own simulator step is 0.01 s (`frame_skip=1`), AMAGO's horizon 1000.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        task_list: None for the continuous range, "pearl" for PEARL's fixed lists.
        **kwargs: arguments of `HalfCheetah`.
    """
    if task_list not in (None, "pearl"):
        raise EnvironmentConfigError(f"task_list must be null or 'pearl', got {task_list!r}")
    fixed = pearl_velocities() if task_list == "pearl" else None
    return HalfCheetah(num_envs, goal=TargetVelocity(velocity_range, fixed), **kwargs)


def half_cheetah_dir(num_envs: int = 1, **kwargs: Any) -> HalfCheetah:
    """Run forwards or backwards, whichever is hidden: r = d v - 0.05 sum(a^2), d = +1 or -1.

    Tasks: `{"forward": 1}` or `{"forward": 0}`. There are only two, so `train` and `test` are
    the same, as in all of the literature (`shares_tasks`): a test here measures adaptation,
    not generalisation.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `HalfCheetah`.
    """
    return HalfCheetah(num_envs, goal=Direction(), **kwargs)
