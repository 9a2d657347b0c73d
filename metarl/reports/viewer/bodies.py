"""What can be pushed and loaded, wherever its simulation lives.

Shapes: B bodies, the world first.
"""

from typing import Protocol

import mujoco
import numpy as np

from metarl_envs.engine.simulations import NativeSimulations
from metarl_envs.gymnasium_envs import PluginEnv
from metarl_envs.single_env import SingleTaskEnv

_ROW = np.array([0])  # the one simulation


class Bodies(Protocol):
    """Bodies of one robot; its arrays are live."""

    @property
    def mass_B(self) -> np.ndarray:
        """In kg."""
        ...

    @property
    def inertia_B3(self) -> np.ndarray:
        """In kg m^2."""
        ...

    @property
    def force_B6(self) -> np.ndarray:
        """From outside: N, and N m."""
        ...

    def derive(self) -> None:
        """After a change of mass: what follows from it."""
        ...


class NativeBodies:
    """Bodies of a native environment."""

    def __init__(self, simulations: NativeSimulations) -> None:
        self._simulations = simulations

    @property
    def mass_B(self) -> np.ndarray:
        return self._simulations.field("body_mass")[0]

    @property
    def inertia_B3(self) -> np.ndarray:
        return self._simulations.field("body_inertia")[0]

    @property
    def force_B6(self) -> np.ndarray:
        return self._simulations.bind("xfrc_applied")[0]

    def derive(self) -> None:
        self._simulations.derive(_ROW)


class PluginBodies:
    """Bodies of a plugged-in MuJoCo environment."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._scratch = mujoco.MjData(model)

    @property
    def mass_B(self) -> np.ndarray:
        return self._model.body_mass

    @property
    def inertia_B3(self) -> np.ndarray:
        return self._model.body_inertia

    @property
    def force_B6(self) -> np.ndarray:
        return self._data.xfrc_applied

    def derive(self) -> None:
        mujoco.mj_setConst(self._model, self._scratch)  # overwrites positions


def bodies_of(env: SingleTaskEnv) -> Bodies | None:
    """The bodies of its robot; None where it is no simulation of MuJoCo."""
    batch = env.vector_env
    simulations = getattr(batch, "simulations", None)
    if isinstance(simulations, NativeSimulations):
        return NativeBodies(simulations)
    inner = batch.env_of(0) if isinstance(batch, PluginEnv) else None
    model, data = (getattr(inner, name, None) for name in ("model", "data"))
    if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
        return PluginBodies(model, data)
    return None
