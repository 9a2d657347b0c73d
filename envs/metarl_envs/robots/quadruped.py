"""Quadrupeds: robots that follow a commanded velocity, with a payload, on ice, with weak motors.

The observation is proprioceptive: what a real robot of this kind measures, and its command. Shapes:
N simulations, A = 12 joints.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from metarl_envs.engine.model import object_id
from metarl_envs.errors import EnvironmentConfigError, did_you_mean, require_count
from metarl_envs.mirror import Mirror
from metarl_envs.parts.goals import FollowCommand, Goal
from metarl_envs.parts.variations import Variations
from metarl_envs.protocol import Rows, Transition
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.robots.quadruped_mirror import quadruped_mirror
from metarl_envs.robots.quadruped_models import LEGS, quadruped_file, quadruped_model
from metarl_envs.robots.quadruped_rewards import TERMS, merged_weights

Range = float | Sequence[float]
_COMMANDS = ("forward", "sideways", "yaw_rate")
_TRACKING = ("velocity_tracking", "yaw_tracking", "progress")
_DEFAULT_COMMAND: Mapping[str, tuple[float, float]] = {
    "forward": (-0.5, 1.0),
    "sideways": (-0.3, 0.3),
    "yaw_rate": (-0.7, 0.7),
}
_MAX_COMMAND = 5.0
_DEFAULT_VARIATIONS: Variations = {
    "payload": {"max_mass": 4.0},
    "friction": {"low": 0.5, "high": 2.0},
    "actuator_strength": {"low": 0.4},
}
_AVERAGED = 1.0 / 3.0  # s
_JOINT_NOISE = 0.05  # rad, half-width, at reset
_CONTACT_GAP = 0.01  # m between foot and ground below which the foot stands
_FALLEN_TILT = 0.5  # cosine of the trunk's tilt
_FALLEN_HEIGHT = 0.4  # of the standing height
_JOINTS = slice(7, None)  # of qpos, after the trunk's position and orientation
_ANGLES, _SPEEDS = slice(6, 18), slice(18, 30)  # of the joints, in the observation


class Quadruped(MujocoTaskEnv):
    """Follow a commanded velocity: r = max(0, sum of weighted terms), see `quadruped_rewards`.

    With another goal, r = goal - costs, which may be negative.

    An action is an offset of up to 1 rad of the twelve joints' targets from the stance, reached by
    PD control within the motors' torque limits, 50 times a second. An episode ends when the robot
    falls: tilted by more than 60 degrees, or lower than 0.4 of its standing height.

    The observation has 45 numbers: direction of gravity in the trunk's frame (3), angular velocity
    (3, rad/s), joint angles from the stance (12, rad) and velocities (12, rad/s), the previous
    action (12, rad), the command (3). Neither linear velocity nor anything of the task.

    Quantities: height, pitch, position, forward_velocity, planar_velocity, tracking,
    tracking_error.

    `info["tracking_error"]` is the distance in m/s of the mean horizontal velocity from the
    commanded one.

    Args:
        num_envs: number of simulations.
        robot: "go1", "go2", "mini_cheetah" or "aliengo".
        command: "forward", "sideways" (m/s, left is positive) and "yaw_rate" (rad/s, left), each a
            number or a range to draw from.
        command_steps: control steps after which a new command is drawn; None for one per episode.
        reward_weights: weights that replace the default ones, by term.
        goal: what is rewarded besides the terms that count against the robot; by default following
            the command.
        variations: by default payload up to 4 kg, friction and strength of the motors.
        timestep: simulator step in s.
        frame_skip: simulator steps per control step.
        **kwargs: `action_scale` (4 in legged_gym: unit noise moves targets by a quarter of a
            radian) and others of `MujocoTaskEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        robot: str = "go1",
        command: Mapping[str, Range] | None = None,
        command_steps: int | None = 150,
        reward_weights: Mapping[str, float] | None = None,
        goal: Goal | None = None,
        variations: Variations = None,
        timestep: float = 0.005,
        frame_skip: int = 4,
        **kwargs: Any,
    ) -> None:
        self._robot, self._weights = quadruped_model(robot), merged_weights(reward_weights)
        self._commands = _command_ranges(command)
        if command_steps is not None:
            require_count("command_steps", command_steps)
        self._command_steps = command_steps
        if variations is None and goal is None and "parts" not in kwargs:
            variations = _DEFAULT_VARIATIONS
        super().__init__(
            num_envs,
            xml_file=str(quadruped_file(robot)),
            observation_size=45,
            goal=goal or FollowCommand(),
            variations=variations,
            timestep=timestep,
            frame_skip=frame_skip,
            **kwargs,
        )
        self._feet = [object_id(self.model, "body", f"{leg}_foot") for leg in LEGS]
        self._foot_radius = float(self.model.geom(LEGS[0]).size[0])
        self._standing = self._standing_height()
        self._positions = self.simulations.bind("xpos")
        self.torque_NA = self.simulations.bind("actuator_force")
        self.command_N3, self.mean_velocity_N3 = np.zeros((2, num_envs, 3))
        self._tracking_error_N = np.zeros(num_envs)
        self._action_NA = np.zeros((num_envs, self.model.nu))
        self._speeds_NA = np.zeros((num_envs, self.model.nu))

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        self._robot.edit(spec)

    def _standing_height(self) -> float:
        """Of the trunk in m, where the feet touch the ground in the stance."""
        data = mujoco.MjData(self.model)
        data.qpos[2:7] = 0.0, 1.0, 0.0, 0.0, 0.0
        data.qpos[_JOINTS] = self._robot.joints
        mujoco.mj_kinematics(self.model, data)
        return self._foot_radius - float(data.xpos[self._feet[0], 2])

    # Episodes

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        super()._reset_rows(rows, generators)
        self._action_NA[rows] = self._speeds_NA[rows] = 0.0
        self.mean_velocity_N3[rows] = 0.0
        self._draw_commands(rows, generators)
        self._sense()

    def _draw_commands(self, rows: np.ndarray, generators: Sequence[np.random.Generator]) -> None:
        low, high = self._commands
        for row, generator in zip(rows, generators, strict=True):
            self.command_N3[row] = generator.uniform(low, high)

    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        qpos = np.zeros(self.model.nq)
        qpos[2:4] = self._standing, 1.0
        noise = generator.uniform(-_JOINT_NOISE, _JOINT_NOISE, self.model.nu)
        qpos[_JOINTS] = self._robot.joints + noise
        return qpos, np.zeros(self.model.nv)

    def _state_seen(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        qpos, qvel = (np.zeros((self.num_envs, n)) for n in (self.model.nq, self.model.nv))
        qpos[:, 2:4] = self._standing, 1.0
        qpos[:, _JOINTS] = self._robot.joints + observations[:, _ANGLES]
        qvel[:, 6:] = observations[:, _SPEEDS]
        return qpos, qvel

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        self.action_change_NA = control - self._action_NA
        self._action_NA = control.copy()
        self._feet_before_N42 = self._foot_positions()[..., :2]
        self._running = np.arange(self.num_envs) if rows is None else rows
        return super()._advance(control, rows)

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        self._sense()
        now_N3 = np.column_stack([self.linear_velocity_N3[:, :2], self.angular_velocity_N3[:, 2]])
        self.mean_velocity_N3 += min(1.0, self.dt / _AVERAGED) * (now_N3 - self.mean_velocity_N3)
        feet = self._foot_positions()
        moved = feet[..., :2] - self._feet_before_N42
        self.foot_speed_N4 = np.sqrt(np.vecdot(moved, moved)) / self.dt
        self.foot_contact_N4 = feet[..., 2] < self._foot_radius + _CONTACT_GAP
        speeds = self.qvel[:, 6:].copy()
        self.joint_acceleration_NA = (speeds - self._speeds_NA) / self.dt
        self._speeds_NA = speeds
        costs = sum(w * TERMS[n](self) for n, w in self._weights.items() if n not in _TRACKING)
        rewards = self.goal.reward(self) + costs
        if isinstance(self.goal, FollowCommand):
            rewards = np.maximum(rewards, 0.0)
        fallen = self.height < _FALLEN_HEIGHT * self._standing
        fallen |= self.up_N3[:, 2] < _FALLEN_TILT
        error_N2 = self.mean_velocity_N3[:, :2] - self.command_N3[:, :2]
        self._tracking_error_N = np.sqrt(np.vecdot(error_N2, error_N2))  # before a new command
        if self._command_steps is not None:
            due = self._running[self.elapsed_steps[self._running] % self._command_steps == 0]
            assert self._generators is not None
            self._draw_commands(due, [self._generators[row] for row in due])
        return rewards, fallen

    def _foot_positions(self) -> np.ndarray:
        """A copy, shape (N, 4, 3), in m; lags one simulator step, as all that is derived."""
        return self._positions[:, self._feet]

    def _sense(self) -> None:
        """The state in the trunk's frame."""
        w, x, y, z = self.qpos[:, 3:7].T
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        self._to_trunk = rotation.transpose(2, 1, 0)
        self.up_N3 = self._to_trunk[:, :, 2]
        self.linear_velocity_N3 = np.matvec(self._to_trunk, self.qvel[:, :3])
        self.angular_velocity_N3 = self.qvel[:, 3:6].copy()

    def _robot_observation(self) -> np.ndarray:
        gravity = self.simulations.gravity()
        down = gravity / np.sqrt(np.vecdot(gravity, gravity))[:, None]
        parts = (
            np.matvec(self._to_trunk, down),
            self.angular_velocity_N3,
            self.qpos[:, _JOINTS] - self._robot.joints,
            self.qvel[:, 6:],
            self._action_NA,
            self.command_N3,
        )
        return np.concatenate(parts, axis=1)

    @property
    def mirror(self) -> Mirror:
        return quadruped_mirror(self.parts)

    # Quantities

    def _moved_point(self) -> np.ndarray:
        return self.position.copy()

    @property
    def tracking(self) -> np.ndarray:
        named = [(self._weights.get(name, 0.0), TERMS[name]) for name in _TRACKING]
        return sum((w * term(self) for w, term in named if w), np.zeros(self.num_envs))

    @property
    def tracking_error(self) -> np.ndarray:
        return self._tracking_error_N

    @property
    def height(self) -> np.ndarray:
        return self.qpos[:, 2]

    @property
    def pitch(self) -> np.ndarray:
        return np.arctan2(-self.up_N3[:, 0], self.up_N3[:, 2])

    @property
    def position(self) -> np.ndarray:
        return self.qpos[:, :2]

    @property
    def forward_velocity(self) -> np.ndarray:
        return self._velocity[:, 0]

    @property
    def planar_velocity(self) -> np.ndarray:
        return self._velocity


def _command_ranges(command: Mapping[str, Range] | None) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest command, shape (3,)."""
    if command is not None and not isinstance(command, Mapping):
        raise EnvironmentConfigError(f"command must be a mapping to ranges, got {command!r}")
    bounds = dict(_DEFAULT_COMMAND) if command is None else dict.fromkeys(_COMMANDS, (0.0, 0.0))
    for name, given in (command or {}).items():
        if name not in _COMMANDS:
            raise EnvironmentConfigError(
                f"unknown command {name!r}{did_you_mean(name, _COMMANDS)}; "
                f"allowed: {', '.join(_COMMANDS)}"
            )
        ends = given if isinstance(given, list | tuple) else (given, given)
        numeric = len(ends) == 2 and all(isinstance(v, int | float) for v in ends)
        if not numeric or not -_MAX_COMMAND <= ends[0] <= ends[1] <= _MAX_COMMAND:
            raise EnvironmentConfigError(
                f"command {name!r} must be a number or [low, high] within +-{_MAX_COMMAND:g}, "
                f"got {given}"
            )
        bounds[name] = float(ends[0]), float(ends[1])
    low, high = np.array([bounds[name] for name in _COMMANDS]).T
    return low, high


def quadruped_stand(num_envs: int = 1, **kwargs: Any) -> Quadruped:
    """Stand still with a payload, whatever the friction and the motors: the small variant.

    Args:
        num_envs: number of simulations.
        **kwargs: arguments of `Quadruped` but `command`.
    """
    if "command" in kwargs:
        raise EnvironmentConfigError("QuadrupedStand takes no command: it stands; see Quadruped")
    return Quadruped(num_envs, command={}, **kwargs)
