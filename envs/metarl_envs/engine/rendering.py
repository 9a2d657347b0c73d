"""Pictures of one simulation among many."""

import copy

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from mujoco.batch import Batch

# Metres from the robot, for models without a camera of their own that follows it
_CAMERA = {"distance": 4.0}
_PIXELS = 480


class Renderer:
    """Draws simulations of a model, through Gymnasium's renderer.

    Args:
        model: of the robot.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._drawn = copy.copy(model), mujoco.MjData(model)
        self._renderer = MujocoRenderer(
            *self._drawn, default_cam_config=_CAMERA, width=_PIXELS, height=_PIXELS
        )

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
