"""Terms of a quadruped's reward, each a function of the robot, by name.

Definitions as in legged_gym (Rudin et al. 2022, arXiv 2109.11978, appendix A), foot slip as in
MuJoCo Playground (Zakka et al. 2025, arXiv 2502.08844, its Go1 joystick task). Weights are ours:
twice theirs on the velocity and a tenth or less on what counts against the robot, with which it
walks after some three million steps; legged_gym takes a hundred and more, and walks nicer. Its
action rate counts actions of a quarter of a radian, this one radians. A new term is one function
and one line. Shapes: N simulations.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from metarl_envs.errors import EnvironmentConfigError, did_you_mean

_LEAST_COMMAND = 0.1  # m/s, below which there is no direction to make progress in
_TOLERANCE = 0.25  # (m/s)^2 and (rad/s)^2, legged_gym's tracking_sigma


class Walker(Protocol):
    """What a term may ask: all of the state after the control step, in the trunk's frame.

    Attributes:
        command_N3: commanded velocities forwards and to the left in m/s, and yaw rate in rad/s.
        linear_velocity_N3: of the trunk in m/s.
        mean_velocity_N3: forwards and to the left in m/s, and yaw rate in rad/s, averaged
            exponentially with a time constant of a third of a second, from rest, so that rocking on
            the spot is no way to follow a command.
        angular_velocity_N3: of the trunk in rad/s.
        up_N3: the ground's normal.
        joint_acceleration_NA: mean over the control step in rad/s^2.
        torque_NA: of the motors in N m.
        action_change_NA: difference of the last two controls in rad.
        foot_speed_N4: horizontal speed of every foot in m/s.
        foot_contact_N4: whether it stands on the ground.
    """

    command_N3: np.ndarray
    linear_velocity_N3: np.ndarray
    mean_velocity_N3: np.ndarray
    angular_velocity_N3: np.ndarray
    up_N3: np.ndarray
    joint_acceleration_NA: np.ndarray
    torque_NA: np.ndarray
    action_change_NA: np.ndarray
    foot_speed_N4: np.ndarray
    foot_contact_N4: np.ndarray


Term = Callable[[Walker], np.ndarray]


def _squared(values_NX: np.ndarray) -> np.ndarray:
    return np.vecdot(values_NX, values_NX)


def velocity_tracking(robot: Walker) -> np.ndarray:
    """exp(-|v - v*|^2 / 0.25) of the mean horizontal velocity: 1 is perfect."""
    error_N2 = robot.mean_velocity_N3[:, :2] - robot.command_N3[:, :2]
    return np.exp(-_squared(error_N2) / _TOLERANCE)


def yaw_tracking(robot: Walker) -> np.ndarray:
    """exp(-(w - w*)^2 / 0.25) of the mean yaw rate: 1 is perfect."""
    error_N = robot.mean_velocity_N3[:, 2] - robot.command_N3[:, 2]
    return np.exp(-(error_N**2) / _TOLERANCE)


def progress(robot: Walker) -> np.ndarray:
    """Mean velocity along the commanded one, relative to it, at most 1; 1 where none is commanded.

    As the forward term of RMA (Kumar et al. 2021), whose gradient is the same at every speed.
    """
    wanted_N2 = robot.command_N3[:, :2]
    squares_N = _squared(wanted_N2)
    along_N = np.vecdot(robot.mean_velocity_N3[:, :2], wanted_N2)
    share_N = along_N / np.maximum(squares_N, _LEAST_COMMAND**2)
    return np.where(squares_N < _LEAST_COMMAND**2, 1.0, np.minimum(share_N, 1.0))


def vertical_velocity(robot: Walker) -> np.ndarray:
    """Squared, (m/s)^2."""
    return robot.linear_velocity_N3[:, 2] ** 2


def roll_pitch_rate(robot: Walker) -> np.ndarray:
    """Squared, (rad/s)^2."""
    return _squared(robot.angular_velocity_N3[:, :2])


def orientation(robot: Walker) -> np.ndarray:
    """Squared sine of the angle between the trunk and the ground."""
    return _squared(robot.up_N3[:, :2])


def torque(robot: Walker) -> np.ndarray:
    """Sum of squares over motors, (N m)^2."""
    return _squared(robot.torque_NA)


def joint_acceleration(robot: Walker) -> np.ndarray:
    """Sum of squares over joints, (rad/s^2)^2."""
    return _squared(robot.joint_acceleration_NA)


def action_rate(robot: Walker) -> np.ndarray:
    """Sum of squares of the change of control since the last step, rad^2."""
    return _squared(robot.action_change_NA)


def foot_slip(robot: Walker) -> np.ndarray:
    """Sum over standing feet of their squared speed, (m/s)^2."""
    return (robot.foot_contact_N4 * robot.foot_speed_N4**2).sum(axis=1)


TERMS: dict[str, Term] = {
    "velocity_tracking": velocity_tracking,
    "yaw_tracking": yaw_tracking,
    "progress": progress,
    "vertical_velocity": vertical_velocity,
    "roll_pitch_rate": roll_pitch_rate,
    "orientation": orientation,
    "torque": torque,
    "joint_acceleration": joint_acceleration,
    "action_rate": action_rate,
    "foot_slip": foot_slip,
}
DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "velocity_tracking": 2.0,
        "yaw_tracking": 0.5,
        "progress": 1.0,
        "vertical_velocity": -0.5,
        "orientation": -0.5,
        "torque": -2e-5,
        "action_rate": -0.02,
        "foot_slip": -0.02,
    }
)


def merged_weights(changed: Mapping[str, float] | None) -> dict[str, float]:
    """The default weights with some of them replaced; terms of weight zero are left out.

    Raises:
        EnvironmentConfigError: for an unknown term, or a weight that is no finite number.
    """
    if changed is not None and not isinstance(changed, Mapping):
        raise EnvironmentConfigError(
            f"reward_weights must be a mapping from term to weight, got {changed!r}"
        )
    for name, weight in (changed or {}).items():
        if not isinstance(weight, int | float) or not math.isfinite(weight):
            raise EnvironmentConfigError(f"the weight of {name!r} must be a number, got {weight!r}")
        if name not in TERMS:
            raise EnvironmentConfigError(
                f"unknown reward term {name!r}{did_you_mean(name, TERMS)}; "
                f"allowed: {', '.join(TERMS)}"
            )
    weights = {**DEFAULT_WEIGHTS, **(changed or {})}
    return {name: float(weight) for name, weight in weights.items() if weight}
