"""Robot models: loading, probes, and indices of named objects."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import gymnasium.envs.mujoco as gymnasium_mujoco
import mujoco
import numpy as np

from metarl_envs.errors import EnvironmentConfigError, did_you_mean

_ASSETS = Path(gymnasium_mujoco.__file__).parent / "assets"

Kind = Literal["body", "geom", "joint", "actuator"]
_COUNTS = {"body": "nbody", "geom": "ngeom", "joint": "njnt", "actuator": "nu"}


def load_model(
    xml_file: str,
    timestep: float | None = None,
    edit: Callable[[mujoco.MjSpec], None] | None = None,
) -> mujoco.MjModel:
    """Compile a robot model: a name among Gymnasium's assets, or a path of your own.

    Args:
        xml_file: file name in Gymnasium's MuJoCo assets, or a path.
        timestep: simulator step in seconds, or None for the model's own.
        edit: changes the specification before it is compiled.

    Raises:
        EnvironmentConfigError: if there is no such file, or the timestep is not positive.
    """
    path = _ASSETS / xml_file if (_ASSETS / xml_file).is_file() else Path(xml_file)
    if not path.is_file():
        raise EnvironmentConfigError(f"no robot model {xml_file!r}: neither a path nor an asset")
    if timestep is not None and not timestep > 0:
        raise EnvironmentConfigError(f"timestep must be positive, got {timestep}")
    # Gymnasium's models use attributes that MuJoCo announces it will drop: no news to the user
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated and will be removed.*")
        spec = mujoco.MjSpec.from_file(str(path))
        if edit is not None:
            edit(spec)
        model = spec.compile()
    if timestep is not None:
        model.opt.timestep = timestep
    return model


def add_contact_probe(spec: mujoco.MjSpec, body: str) -> None:
    """Make the batch compute `cfrc_ext`: an accelerometer, whose value needs contact forces.

    Gymnasium computes them after the step (`mj_rnePostConstraint`); the batch at the first stage
    of the last simulator step. The probe changes no motion.
    """
    site = spec.body(body).add_site(name="contact_probe")
    spec.add_sensor(
        name="contact_probe",
        type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname=site.name,
    )


def object_id(model: mujoco.MjModel, kind: Kind, name: str) -> int:
    """Index of a named body, geom, joint or actuator.

    Raises:
        EnvironmentConfigError: if the model has none of that name.
    """
    names = [getattr(model, kind)(i).name for i in range(getattr(model, _COUNTS[kind]))]
    if name not in names:
        raise EnvironmentConfigError(
            f"the model has no {kind} {name!r}{did_you_mean(name, names)}; "
            f"it has: {', '.join(n for n in names if n)}"
        )
    return names.index(name)


def model_field(model: mujoco.MjModel, name: str) -> np.ndarray:
    """A copy of a model field's own values; `opt.<name>` for one of the options."""
    owner, _, attribute = name.rpartition(".")
    return np.array(getattr(model.opt if owner else model, attribute))
