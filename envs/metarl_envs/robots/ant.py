"""Ant tasks: run in a hidden direction, at a hidden velocity, or to a hidden point.

Body, physics and initial states are those of Gymnasium's `Ant-v5`, to the bit. Definitions as in
PEARL (Rakelly et al. 2019, arXiv 1903.08254; ant_dir, ant_goal) and MAML (Finn et al. 2017, arXiv
1703.03400; ant_env_rand), at 5 simulator steps of 0.01 s and 200 control steps.

*Contact cost.* 0.0005 sum(clip(cfrc_ext, -1, 1)^2) in all of these papers. The engine computes
contact forces only where a sensor asks for them; the native batch has an accelerometer added to
its torso for that, and reads the forces of the first stage of the last simulator step, where
Gymnasium evaluates them after it. Measured over 1,000 random steps, the cost has mean
0.0016 against Gymnasium's 0.0015 per step, a mean absolute difference of 0.0007, and a correlation
of 0.56. With the MuJoCo 2.0 of the papers' own runs these forces, and so the cost, were zero:
`contact_cost_weight=0`.
"""

from typing import Any

import mujoco
import numpy as np

from metarl_envs.engine.model import add_contact_probe
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Direction, Heading, Place, TargetVelocity
from metarl_envs.robots.base import MujocoTaskEnv

_POSITION_NOISE = 0.1  # m and rad
_VELOCITY_NOISE = 0.1


class Ant(MujocoTaskEnv):
    """The robot: r = goal - control - contact + alive, by default for running along x.

    Velocity is that of the torso's position as MuJoCo leaves it (one simulator step behind the
    joints, as in Gymnasium), control = w sum(a^2), alive paid in every step; falls unless
    z_min <= z <= z_max. Quantities: height, position, forward_velocity, planar_velocity.

    Args:
        num_envs: number of simulations.
        ctrl_cost_weight: 0.5 in ProMP and PEARL, 0.005 in MAML.
        contact_cost_weight: see the module; 0 leaves contact forces uncomputed.
        alive_reward: 1.0 in ProMP and PEARL, 0.05 in MAML.
        healthy_z_range: torso heights in m outside which the episode ends, or None for never.
        contact_observation: append the clipped contact forces (84 numbers), as in ProMP.
        position_observation: prepend the torso's x and y.
        frame_skip: simulator steps (0.01 s) per control step.
        **kwargs: `goal`, `variations`, `action_scale` and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        ctrl_cost_weight: float = 0.5,
        contact_cost_weight: float = 5e-4,
        alive_reward: float = 1.0,
        healthy_z_range: tuple[float, float] | None = (0.2, 1.0),
        contact_observation: bool = False,
        position_observation: bool = False,
        frame_skip: int = 5,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight, self._contact_cost_weight = ctrl_cost_weight, contact_cost_weight
        self._alive_reward, self._z_range = alive_reward, healthy_z_range
        self._first_position = 0 if position_observation else 2
        self._observes_contact = contact_observation
        super().__init__(
            num_envs,
            xml_file="ant.xml",
            observation_size=29 - self._first_position + 84 * contact_observation,
            frame_skip=frame_skip,
            **kwargs,
        )
        self._torso = self.simulations.body_positions("torso")
        needs_contact = contact_observation or contact_cost_weight
        self._contact = self.simulations.bind("cfrc_ext") if needs_contact else None

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        if self._observes_contact or self._contact_cost_weight:
            add_contact_probe(spec, "torso")

    @property
    def height(self) -> np.ndarray:
        return self.qpos[:, 2]

    @property
    def position(self) -> np.ndarray:
        return self._torso[:, :2]

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    @property
    def planar_velocity(self) -> np.ndarray:
        return self._velocity

    def _moved_point(self) -> np.ndarray:
        return self._torso[:, :2].copy()

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-_POSITION_NOISE, _POSITION_NOISE, self.model.nq)
        velocity = _VELOCITY_NOISE * generator.standard_normal(self.model.nv)
        return self.model.qpos0 + noise, velocity

    def _robot_observation(self) -> np.ndarray:
        parts = [self.qpos[:, self._first_position :], self.qvel]
        if self._observes_contact:
            parts.append(self._contact_forces())
        return np.concatenate(parts, axis=1)

    def _contact_forces(self) -> np.ndarray:
        assert self._contact is not None
        # the world's own row is left out of the observation, and is zero in the cost
        return np.clip(self._contact, -1.0, 1.0).reshape(self.num_envs, -1)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        rewards = self.goal.reward(self) + self._alive_reward
        rewards -= self._ctrl_cost_weight * np.vecdot(control, control)
        if self._contact_cost_weight:
            rewards -= self._contact_cost_weight * np.square(self._contact_forces()).sum(axis=1)
        if self._z_range is None:
            return rewards, None
        return rewards, (self.height < self._z_range[0]) | (self.height > self._z_range[1])


def ant_dir(num_envs: int = 1, *, directions: str = "two", **kwargs: Any) -> Ant:
    """Run in a hidden direction of the plane: r = velocity . (cos h, sin h) + costs of `Ant`.

    Tasks: with `directions="two"` (PEARL's published runs, ProMP's 1-D) `{"forward": 1 or 0}`,
    along x or against it, the same two in training and test; with "any", `{"heading": angle}` in
    radians over the full circle (PEARL's shipped default, ProMP's 2-D).

    VariBAD's environment of the same name draws the angle from {-1, +1} radians instead: give
    those two headings as tasks to compare with it.

    Args:
        num_envs: number of simulations.
        directions: "two" or "any".
        **kwargs: arguments of `Ant`.
    """
    if directions not in ("two", "any"):
        raise EnvironmentConfigError(f"directions must be 'two' or 'any', got {directions!r}")
    return Ant(num_envs, goal=Direction() if directions == "two" else Heading(), **kwargs)


def ant_vel(
    num_envs: int = 1, *, velocity_range: tuple[float, float] = (0.0, 3.0), **kwargs: Any
) -> Ant:
    """Run along x at a hidden velocity: r = 1 - |v - v*| + costs of `Ant` (MAML's ant_env_rand).

    Tasks: `{"target_velocity": v*}` in m/s, U[0,3]. Control cost 0.005 and alive reward 0.05 as
    there.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `Ant`.
    """
    kwargs = {"ctrl_cost_weight": 0.005, "alive_reward": 0.05} | kwargs
    return Ant(num_envs, goal=TargetVelocity(velocity_range, constant=1.0), **kwargs)


def ant_goal(num_envs: int = 1, *, goal_radius: float = 3.0, **kwargs: Any) -> Ant:
    """Run to a hidden point: r = -|x - gx| - |y - gy| - 0.1 sum(a^2) - contact (PEARL, ProMP).

    Tasks: `{"goal": [x, y]}` in m, uniform by area in the disc of radius `goal_radius`;
    `extrapolation` is the ring around it, half as wide again. Never falls; observes its position
    and the contact forces (113 numbers). MAML's version has 4.05 added, a control cost of 0.005,
    and falls.

    Args:
        num_envs: number of simulations.
        goal_radius: m.
        **kwargs: arguments of `Ant`.
    """
    kwargs = {
        "ctrl_cost_weight": 0.1,
        "alive_reward": 0.0,
        "healthy_z_range": None,
        "contact_observation": True,
        "position_observation": True,
    } | kwargs
    return Ant(num_envs, goal=Place(goal_radius), **kwargs)
