"""What can be pushed and loaded, wherever its simulation lives.

Shapes: B bodies, the world first.
"""

from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np

from metarl_envs.engine.simulations import NativeSimulations
from metarl_envs.gymnasium_envs import PluginEnv
from metarl_envs.observed_task import ObservedTask
from metarl_envs.single_env import SingleTaskEnv

_ROW = np.array([0])  # the one simulation


class Bodies(Protocol):
    """Bodies of one robot; its arrays are live.

    Attributes:
        carrier: the body that is pushed and loaded: the first that moves.
    """

    carrier: int

    @property
    def mass_B(self) -> np.ndarray:
        """In kg."""
        ...

    @property
    def inertia_B3(self) -> np.ndarray:
        """In kg m^2."""
        ...

    def push(self, force_N: np.ndarray) -> None:
        """A force on the carrier's centre of mass until another one is given, shape (3,), in N.

        As forces on the joints (`qfrc_applied`): those on bodies are the environments' own.
        """
        ...

    def derive(self) -> None:
        """After a change of mass: what follows from it."""
        ...


class NativeBodies:
    """Bodies of a native environment."""

    def __init__(self, simulations: NativeSimulations, carrier: int) -> None:
        self._simulations, self.carrier = simulations, carrier
        self._data = mujoco.MjData(simulations.model)

    @property
    def mass_B(self) -> np.ndarray:
        return self._simulations.field("body_mass")[0]

    @property
    def inertia_B3(self) -> np.ndarray:
        return self._simulations.field("body_inertia")[0]

    def push(self, force_N: np.ndarray) -> None:
        model, data = self._simulations.model, self._data
        self._simulations.batch.get_data(0, data)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        self._simulations.bind("qfrc_applied")[0] = _on_joints(model, data, self.carrier, force_N)

    def derive(self) -> None:
        self._simulations.derive(_ROW)


class PluginBodies:
    """Bodies of a plugged-in MuJoCo environment, which may make its model anew at any reset."""

    def __init__(self, env: gymnasium.Env, carrier: int) -> None:
        self._env: Any = env
        self.carrier = carrier

    @property
    def mass_B(self) -> np.ndarray:
        mass: np.ndarray = self._env.model.body_mass
        return mass

    @property
    def inertia_B3(self) -> np.ndarray:
        inertia: np.ndarray = self._env.model.body_inertia
        return inertia

    def push(self, force_N: np.ndarray) -> None:
        model, data = self._env.model, self._env.data
        data.qfrc_applied[:] = _on_joints(model, data, self.carrier, force_N)

    def derive(self) -> None:
        # on other data: it overwrites positions
        mujoco.mj_setConst(self._env.model, mujoco.MjData(self._env.model))


def bodies_of(env: SingleTaskEnv) -> Bodies | None:
    """The bodies of its robot; None where nothing moves that MuJoCo simulates."""
    batch = env.vector_env.env if isinstance(env.vector_env, ObservedTask) else env.vector_env
    simulations = getattr(batch, "simulations", None)
    if isinstance(simulations, NativeSimulations):
        carrier = _carrier(simulations.model)
        return None if carrier is None else NativeBodies(simulations, carrier)
    inner = batch.env_of(0) if isinstance(batch, PluginEnv) else None
    model = getattr(inner, "model", None)
    if inner is None or not isinstance(model, mujoco.MjModel):
        return None
    carrier = _carrier(model) if isinstance(getattr(inner, "data", None), mujoco.MjData) else None
    return None if carrier is None else PluginBodies(inner, carrier)


def _on_joints(
    model: mujoco.MjModel, data: mujoco.MjData, body: int, force_N: np.ndarray
) -> np.ndarray:
    """What a force on a body's centre of mass does to the joints."""
    towards_3V = np.zeros((3, model.nv))
    mujoco.mj_jacBodyCom(model, data, towards_3V, None, body)
    return force_N @ towards_3V


def _carrier(model: mujoco.MjModel) -> int | None:
    """The first body with a mass that is not welded to the world."""
    moving = np.flatnonzero((model.body_weldid > 0) & (model.body_mass > 0.0))
    return int(moving[0]) if len(moving) else None
