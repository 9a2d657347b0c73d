"""Variations of a robot: what a worn joint, a heavier payload or a slope does to any of them.

Each is a part of the task (`parts.base.TaskPart`) and combines with every native robot and every
goal, from Python or from a config:

    gymnasium.make_vec("metarl/HalfCheetahVel-v0", variations={"payload": {"max_mass": 3.0}})

`train` and `test` interleave over the stated range; `extrapolation` lies outside it. With `at` any
of them comes into force in mid-episode: `{"dead_actuators": {"at": 100}}`, see `onset.FromStep`. A
new variation is one class and one line here.
"""

from collections.abc import Mapping
from typing import Any, Literal

from metarl_envs.errors import EnvironmentConfigError, did_you_mean
from metarl_envs.parts.base import TaskPart
from metarl_envs.parts.variations.actuation import (
    ActionDelay,
    ActuatorStrength,
    DeadActuators,
    StuckActuators,
)
from metarl_envs.parts.variations.body import (
    Friction,
    Gravity,
    JointDamping,
    LinkMass,
    Slope,
)
from metarl_envs.parts.variations.onset import FromStep
from metarl_envs.parts.variations.payload import Payload
from metarl_envs.parts.variations.pushes import Pushes
from metarl_envs.parts.variations.sensing import ObservationNoise

Variations = Mapping[str, Mapping[str, Any] | Literal[False] | None] | None

VARIATIONS: dict[str, type[TaskPart]] = {
    "link_mass": LinkMass,
    "payload": Payload,
    "joint_damping": JointDamping,
    "friction": Friction,
    "gravity": Gravity,
    "slope": Slope,
    "actuator_strength": ActuatorStrength,
    "dead_actuators": DeadActuators,
    "stuck_actuators": StuckActuators,
    "action_delay": ActionDelay,
    "observation_noise": ObservationNoise,
    "pushes": Pushes,
}


def make_variations(
    settings: Mapping[str, Mapping[str, Any] | Literal[False] | None],
) -> list[TaskPart]:
    """Variations by name, each with its arguments; False for none, such as in an evaluation.

    Raises:
        EnvironmentConfigError: for an unknown name or argument.
    """
    parts = list[TaskPart]()
    for name, arguments in settings.items():
        if name not in VARIATIONS:
            raise EnvironmentConfigError(
                f"unknown variation {name!r}{did_you_mean(name, VARIATIONS)}; "
                f"allowed: {', '.join(VARIATIONS)}"
            )
        if arguments is False:
            continue
        if not isinstance(arguments, Mapping | None):
            raise EnvironmentConfigError(
                f"variation {name!r} takes a mapping of arguments, or false, got {arguments!r}"
            )
        own = dict(arguments or {})
        at = own.pop("at", None)
        try:
            part = VARIATIONS[name](**own)
        except TypeError as error:
            raise EnvironmentConfigError(f"variation {name!r}: {error}") from None
        parts.append(part if at is None else FromStep(part, at))
    return parts
