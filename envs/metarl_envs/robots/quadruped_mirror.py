"""Left and right of a quadruped, exchanged: y becomes -y."""

from collections.abc import Sequence

import numpy as np

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mirror import Exchange, Mirror, beside, exchange
from metarl_envs.parts.base import TaskPart
from metarl_envs.robots.quadruped_models import LEGS

_OTHER_SIDE = {"L": "R", "R": "L"}
_LEG = [LEGS.index(leg[0] + _OTHER_SIDE[leg[1]]) for leg in LEGS]
_HIP = np.tile([-1.0, 1.0, 1.0], len(LEGS))  # hips turn about the axis forwards
JOINTS = exchange([3 * leg + joint for leg in _LEG for joint in range(3)], _HIP.tolist())
_MOTORS = exchange(JOINTS.source.tolist())  # what belongs to motors, and has no direction
VECTOR = exchange(range(3), [1.0, -1.0, 1.0])
ROTATION = exchange(range(3), [-1.0, 1.0, -1.0])
_COMMAND = exchange(range(3), [1.0, -1.0, -1.0])  # forwards, to the left, turning left
_OBS = beside(VECTOR, ROTATION, JOINTS, JOINTS, JOINTS, _COMMAND)


def quadruped_mirror(parts: Sequence[TaskPart]) -> Mirror:
    """The mirror image of a quadruped whose task has these parts.

    The robots are symmetric but for centres of mass millimetres off the middle, damping, armature
    and friction of joints (`go2`, `aliengo`) and the meshes of `mini_cheetah`'s shins.

    Raises:
        EnvironmentConfigError: if one of the parts has none.
    """
    found: dict[str, Exchange] = {}
    for part in parts:
        own = part.mirrored(_MOTORS)
        if own is None:
            raise EnvironmentConfigError(
                f"{', '.join(part.spaces) or type(part).__name__} has no mirror image; friction, "
                "gravity, damping, slope, a payload on the trunk, late actions and the strengths "
                "of motors have one"
            )
        found |= own
    return Mirror(_OBS, JOINTS, beside(*(found[key] for key in sorted(found))))
