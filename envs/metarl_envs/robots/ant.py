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

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Direction, Goal, Heading, Splits, TargetVelocity, TaskPart
from metarl_envs.robots.base import MujocoTaskEnv, Variations, add_contact_probe
from metarl_envs.tasks.distributions import PolarTasks

_POSITION_NOISE = 0.1  # m and rad
_VELOCITY_NOISE = 0.1


class Ant(MujocoTaskEnv):
    """The robot, rewarded for running along x: r = v - control - contact + alive.

    v = dx/dt of the torso's position as MuJoCo leaves it (one simulator step behind the joints,
    as in Gymnasium), control = w sum(a^2), alive paid in every step; falls unless
    z_min <= z <= z_max. Tasks: those of its `variations`, by default `link_mass`.

    Args:
        num_envs: number of simulations.
        parts: goals, for the classes below.
        ctrl_cost_weight: 0.5 in ProMP and PEARL, 0.005 in MAML.
        contact_cost_weight: see the module; 0 leaves contact forces uncomputed.
        alive_reward: 1.0 in ProMP and PEARL, 0.05 in MAML.
        healthy_z_range: torso heights in m outside which the episode ends, or None for never.
        contact_observation: append the clipped contact forces (84 numbers), as in ProMP.
        position_observation: prepend the torso's x and y.
        frame_skip: simulator steps (0.01 s) per control step.
        action_scale: see `MujocoTaskEnv`.
        variations: what varies besides, by name; `link_mass` if there is nothing else.
        **kwargs: `max_episode_steps`, `timestep`, `num_threads` of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        parts: Sequence[TaskPart] = (),
        ctrl_cost_weight: float = 0.5,
        contact_cost_weight: float = 5e-4,
        alive_reward: float = 1.0,
        healthy_z_range: tuple[float, float] | None = (0.2, 1.0),
        contact_observation: bool = False,
        position_observation: bool = False,
        frame_skip: int = 5,
        action_scale: float = 1.0,
        variations: Variations = None,
        **kwargs: Any,
    ) -> None:
        self._ctrl_cost_weight, self._contact_cost_weight = ctrl_cost_weight, contact_cost_weight
        self._alive_reward, self._z_range = alive_reward, healthy_z_range
        self._first_position = 0 if position_observation else 2
        self._observes_contact = contact_observation
        super().__init__(
            num_envs,
            xml_file="ant.xml",
            parts=parts,
            observation_size=29 - self._first_position + 84 * contact_observation,
            frame_skip=frame_skip,
            action_scale=action_scale,
            variations=variations,
            **kwargs,
        )
        self._torso = self.batch.body("torso").xpos
        needs_contact = contact_observation or contact_cost_weight
        self._contact = self.batch.bind("cfrc_ext") if needs_contact else None

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        if self._observes_contact or self._contact_cost_weight:
            add_contact_probe(spec, "torso")

    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noise = generator.uniform(-_POSITION_NOISE, _POSITION_NOISE, self.model.nq)
        velocity = _VELOCITY_NOISE * generator.standard_normal(self.model.nv)
        return self.model.qpos0 + noise, velocity

    def _before_step(self) -> np.ndarray:
        return self._torso[:, :2].copy()

    def _robot_observation(self) -> np.ndarray:
        parts = [self.qpos[:, self._first_position :], self.qvel]
        if self._observes_contact:
            parts.append(self._contact_forces())
        return np.concatenate(parts, axis=1)

    def _contact_forces(self) -> np.ndarray:
        assert self._contact is not None
        # the world's own row is left out of the observation, and is zero in the cost
        return np.clip(self._contact, -1.0, 1.0).reshape(self.num_envs, -1)

    def _outcome(
        self, before: np.ndarray, control: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        velocity = (self._torso[:, :2] - before) / self.dt
        rewards = self._goal_reward(velocity) + self._alive_reward
        rewards -= self._ctrl_cost_weight * np.vecdot(control, control)
        if self._contact_cost_weight:
            rewards -= self._contact_cost_weight * np.square(self._contact_forces()).sum(axis=1)
        if self._z_range is None:
            return rewards, None
        height = self.qpos[:, 2]
        return rewards, (height < self._z_range[0]) | (height > self._z_range[1])

    def _goal_reward(self, velocity: np.ndarray) -> np.ndarray:
        """Reward for the torso's velocity (N, 2) in m/s, without costs."""
        return velocity[:, 0]


class AntDir(Ant):
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

    def __init__(self, num_envs: int = 1, *, directions: str = "two", **kwargs: Any) -> None:
        if directions not in ("two", "any"):
            raise EnvironmentConfigError(f"directions must be 'two' or 'any', got {directions!r}")
        self._two = directions == "two"
        self._goal: Direction | Heading = Direction() if self._two else Heading()
        super().__init__(num_envs, parts=[self._goal], **kwargs)

    def _goal_reward(self, velocity: np.ndarray) -> np.ndarray:
        return self._goal.reward(velocity[:, 0] if self._two else velocity)


class AntVel(Ant):
    """Run along x at a hidden velocity: r = 1 - |v - v*| + costs of `Ant` (MAML's ant_env_rand).

    Tasks: `{"target_velocity": v*}` in m/s, U[0,3]. Control cost 0.005 and alive reward 0.05 as
    there.

    Args:
        num_envs: number of simulations.
        velocity_range: lowest and highest target velocity, m/s.
        **kwargs: arguments of `Ant`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        velocity_range: tuple[float, float] = (0.0, 3.0),
        **kwargs: Any,
    ) -> None:
        self._goal = TargetVelocity(velocity_range)
        kwargs = {"ctrl_cost_weight": 0.005, "alive_reward": 0.05} | kwargs
        super().__init__(num_envs, parts=[self._goal], **kwargs)

    def _goal_reward(self, velocity: np.ndarray) -> np.ndarray:
        return 1.0 + self._goal.reward(velocity[:, 0])


class AntGoal(Ant):
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

    def __init__(self, num_envs: int = 1, *, goal_radius: float = 3.0, **kwargs: Any) -> None:
        if not 0 < goal_radius <= 20:
            raise EnvironmentConfigError(f"goal_radius must be in (0, 20], got {goal_radius}")
        circle, outer = (-np.pi, np.pi), 1.5 * goal_radius
        splits: Splits = {
            "train": PolarTasks("goal", (0.0, goal_radius), circle, part="train"),
            "test": PolarTasks("goal", (0.0, goal_radius), circle, part="held_out"),
            "extrapolation": PolarTasks("goal", (goal_radius + 1e-6, outer), circle),
        }
        space = spaces.Box(-30.0, 30.0, (2,), np.float64)
        self._goal = Goal("goal", space, [1.0, 1.0], splits)
        kwargs = {
            "ctrl_cost_weight": 0.1,
            "alive_reward": 0.0,
            "healthy_z_range": None,
            "contact_observation": True,
            "position_observation": True,
        } | kwargs
        super().__init__(num_envs, parts=[self._goal], **kwargs)

    def _goal_reward(self, velocity: np.ndarray) -> np.ndarray:
        return -np.abs(self._torso[:, :2] - self._goal.values).sum(axis=1)
