"""A payload: a ball of extra mass, at the centre of a body or somewhere on it.

Shapes: N simulations.
"""

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.engine.model import object_id
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mirror import Exchange, exchange, unchanged
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.splits import Splits, box_splits

_MOST, _FARTHEST = 1e3, 10.0  # kg, m
_FURTHER = 0.5  # extrapolation goes half as far again


class Payload(TaskPart):
    """A ball of extra mass in kg on a named body: `{"payload_mass": m}`.

    With a box of positions also `{"payload_position": [x, y, z]}` in m, in the body's frame.

    Args:
        max_mass: largest mass in training; extrapolation goes half as far again.
        body: name of the body that carries it; None for the root.
        radius: of the ball in m, which sets its inertia 2/5 m r^2.
        position: lowest and highest position of its centre, or None for the body's centre of mass.
    """

    def __init__(
        self,
        max_mass: float = 3.0,
        body: str | None = None,
        radius: float = 0.05,
        position: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        if not 0 < max_mass <= _MOST:
            raise EnvironmentConfigError(
                f"the range of 'payload_mass' must increase within [0, {_MOST:g}], "
                f"got [0, {max_mass}]"
            )
        if not 0 < radius <= _FARTHEST:
            raise EnvironmentConfigError(
                f"payload radius must be in (0, {_FARTHEST:g}], got {radius}"
            )
        try:
            box = None if position is None else np.asarray(position, float)
        except (ValueError, TypeError):  # ragged, or no numbers
            box = np.zeros(0)
        if box is not None and (
            box.shape != (2, 3) or not (np.abs(box) <= _FARTHEST).all() or (box[0] >= box[1]).any()
        ):
            raise EnvironmentConfigError(
                "payload position must be [lowest, highest], three numbers each that increase, "
                f"within {_FARTHEST:g} m, got {position}"
            )
        self._mass, self._body, self._radius, self._box = max_mass, body, radius, box

    def prepare(self, simulations: Simulations) -> None:
        self._id = 1 if self._body is None else object_id(simulations.model, "body", self._body)
        if self._id == 0:
            raise EnvironmentConfigError("the world carries no payload: name another body")
        self._centre = simulations.model.body_ipos[self._id].copy()

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        mass = {"payload_mass": spaces.Box(0.0, _MOST, (), np.float64)}
        if self._box is None:
            return mass
        return {**mass, "payload_position": spaces.Box(-_FARTHEST, _FARTHEST, (3,), np.float64)}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        mass = {"payload_mass": np.zeros(())}
        return mass if self._box is None else {**mass, "payload_position": self._centre}

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange] | None:
        if self._id != 1:  # the trunk is in the middle; other bodies may have another side
            return None
        found = {"payload_mass": unchanged(1)}
        if self._box is not None:
            found["payload_position"] = exchange(range(3), [1.0, -1.0, 1.0])
        return found

    def splits(self) -> Splits:
        def bounds(mass: float, corner: int, wider: float) -> dict[str, np.ndarray]:
            values = {"payload_mass": np.full((), mass)}
            if self._box is not None:
                middle = self._box.mean(axis=0)
                at = middle + (1.0 + wider) * (self._box[corner] - middle)
                values["payload_position"] = np.clip(at, -_FARTHEST, _FARTHEST)
            return values

        further = min((1.0 + _FURTHER) * self._mass, _MOST)
        outer = bounds(0.0, 0, _FURTHER), bounds(further, 1, _FURTHER)
        return box_splits(bounds(0.0, 0, 0.0), bounds(self._mass, 1, 0.0), outer)

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        masses = tasks["payload_mass"]
        inertia = simulations.field("body_inertia")
        of_ball = 0.4 * masses * self._radius**2
        if self._box is not None:
            self._off_centre(simulations, masses, of_ball, tasks["payload_position"], rows)
        else:
            inertia[rows, self._id] += of_ball[:, None]
        simulations.field("body_mass")[rows, self._id] += masses

    def _off_centre(
        self,
        simulations: Simulations,
        masses: np.ndarray,
        of_ball: np.ndarray,
        positions: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """The body's inertia with a ball beside its centre, by the parallel axis theorem."""
        fields = [simulations.field(f"body_{n}") for n in ("mass", "inertia", "ipos", "iquat")]
        # MuJoCo skips what it takes for one frame when it compiles the model
        simulations.field("body_sameframe")[rows, self._id] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        identity = np.eye(3)
        for row, mass, ball, position in zip(rows, masses, of_ball, positions, strict=True):
            if mass == 0.0:
                continue
            own, inertia, centre, quaternion = (field[row, self._id] for field in fields)
            frame, rotation = np.empty(9), np.empty(4)
            mujoco.mju_quat2Mat(frame, quaternion)
            axes = frame.reshape(3, 3)
            offset = position - centre
            reduced = own * mass / (own + mass)
            about = axes @ np.diag(inertia) @ axes.T + ball * identity
            about += reduced * (offset @ offset * identity - np.outer(offset, offset))
            moments, directions = np.linalg.eigh(about)
            directions[:, 0] *= np.sign(np.linalg.det(directions))
            mujoco.mju_mat2Quat(rotation, np.ascontiguousarray(directions).ravel())
            fields[1][row, self._id] = moments
            fields[2][row, self._id] = centre + mass / (own + mass) * offset
            fields[3][row, self._id] = rotation
