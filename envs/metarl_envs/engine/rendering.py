"""Pictures of one simulation among many."""

import copy
import importlib
import os
import sys

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from mujoco.batch import Batch

from metarl_envs.errors import EnvironmentConfigError

_PIXELS = 480
_CHOICE, _WITHOUT_SCREEN, _PROBE = "MUJOCO_GL", ("egl", "osmesa"), 16


def choose_backend() -> None:
    """Where there is no screen and no choice was made, the first of EGL and OSMesa that works.

    Raises:
        EnvironmentConfigError: if neither does.
    """
    screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    if _CHOICE in os.environ or screen:
        return
    for name in _WITHOUT_SCREEN:
        try:
            context = importlib.import_module(f"mujoco.{name}").GLContext(_PROBE, _PROBE)
            context.free()
        except Exception:  # of whatever kind a missing library makes it raise
            continue
        os.environ[_CHOICE] = name
        return
    raise EnvironmentConfigError(
        "pictures without a screen need EGL or OSMesa, and neither works here: install libegl1 or "
        "libosmesa6"
    )


class Renderer:
    """Draws simulations of a model, through Gymnasium's renderer.

    Args:
        model: of the robot.

    Raises:
        EnvironmentConfigError: if nothing here draws.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        choose_backend()
        self._drawn = copy.copy(model), mujoco.MjData(model)
        camera = _following(model)
        self._renderer = MujocoRenderer(
            *self._drawn, _config(model), _PIXELS, _PIXELS, camera_id=camera
        )
        if camera is None:
            self._renderer.camera_id = None  # else its camera stays where it is

    def draw(self, batch: Batch, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one simulation, uint8 (height, width, 3), or None for mode "human"."""
        # the renderer keeps references: refill the same model and data
        model, data = self._drawn
        batch.get_model(row, model)
        batch.get_data(row, data)
        mujoco.mj_forward(model, data)
        frame: np.ndarray | None = self._renderer.render(render_mode)
        return frame

    def close(self) -> None:
        """Free the window or the off-screen context."""
        self._renderer.close()


def _following(model: mujoco.MjModel) -> int | None:
    """The model's own camera that follows the robot, if it has one."""
    modes = {int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)}
    found = [camera for camera in range(model.ncam) if int(model.cam_mode[camera]) in modes]
    return found[0] if found else None


def _config(model: mujoco.MjModel) -> dict[str, float]:
    """A camera that follows the first body, as far away as the robot is large."""
    kind = int(mujoco.mjtCamera.mjCAMERA_TRACKING)
    return {"type": kind, "trackbodyid": min(1, model.nbody - 1), "distance": 2 * model.stat.extent}
