"""Variations of the body and the world: masses, damping, friction, gravity, slope."""

from collections.abc import Mapping, Sequence

import numpy as np

from metarl_envs.engine.model import object_id
from metarl_envs.mirror import Exchange, unchanged
from metarl_envs.parts.base import Simulations
from metarl_envs.parts.variations.base import RangeVariation, ScaleVariation


class LinkMass(ScaleVariation):
    """Masses of links, inertia following: `{"link_mass_scale": factors}`.

    Args:
        low: smallest factor in training.
        high: largest.
        bodies: names of the bodies that vary, one factor each; None for every moving body.
    """

    def __init__(
        self, low: float = 0.5, high: float = 2.0, bodies: Sequence[str] | None = None
    ) -> None:
        super().__init__("link_mass_scale", low, high)
        self._names = bodies

    def prepare(self, simulations: Simulations) -> None:
        names = self._names
        self._ids = (
            np.arange(1, simulations.model.nbody)
            if names is None
            else np.array([object_id(simulations.model, "body", name) for name in names])
        )
        self._shape = (len(self._ids),)

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        where = np.ix_(rows, self._ids)
        simulations.field("body_mass")[where] *= values
        simulations.field("body_inertia")[where] *= values[:, :, None]


class JointDamping(ScaleVariation):
    """One factor on the damping of every joint: `{"joint_damping_scale": factor}`.

    Args:
        low: smallest factor in training.
        high: largest.
    """

    def __init__(self, low: float = 0.3, high: float = 3.0) -> None:
        super().__init__("joint_damping_scale", low, high)

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: unchanged(1)}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        simulations.field("dof_damping")[rows] *= values[:, None]


class Friction(ScaleVariation):
    """One factor on the friction of every geom: `{"friction_scale": factor}`.

    MuJoCo takes the larger friction of two geoms in contact, so both must vary together.

    Args:
        low: smallest factor in training.
        high: largest.
    """

    def __init__(self, low: float = 0.3, high: float = 3.0) -> None:
        super().__init__("friction_scale", low, high)

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: unchanged(1)}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        simulations.field("geom_friction")[rows] *= values[:, None, None]


class Gravity(ScaleVariation):
    """A factor on gravity: `{"gravity_scale": factor}`.

    Args:
        low: smallest factor in training.
        high: largest.
    """

    def __init__(self, low: float = 0.5, high: float = 1.5) -> None:
        super().__init__("gravity_scale", low, high)

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: unchanged(1)}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        simulations.field("opt.gravity")[rows] *= values[:, None]


class Slope(RangeVariation):
    """Ground that rises along x by an angle in rad, as a tilt of gravity: `{"slope": angle}`.

    Args:
        max_angle: largest angle up or down in training; extrapolation goes half as far again.
    """

    def __init__(self, max_angle: float = 0.2) -> None:
        super().__init__(
            "slope",
            -max_angle,
            max_angle,
            outer=(-1.5 * max_angle, 1.5 * max_angle),
            bounds=(-1.2, 1.2),
            nominal=0.0,
        )

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {self._key: unchanged(1)}

    def _apply(self, simulations: Simulations, values: np.ndarray, rows: np.ndarray) -> None:
        gravity = simulations.field("opt.gravity")
        x, y, z = gravity[rows].T
        cos, sin = np.cos(values), np.sin(values)
        gravity[rows] = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1)
