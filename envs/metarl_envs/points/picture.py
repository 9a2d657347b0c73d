"""Pictures of a point and its goal in the plane."""

import numpy as np

_PIXELS = 256


def draw_points(goal: np.ndarray, position: np.ndarray, side: float) -> np.ndarray:
    """A picture of a square of the plane around the origin, uint8, (256, 256, 3)."""
    axis = (np.arange(_PIXELS) + 0.5) / _PIXELS * side - side / 2
    frame = np.full((_PIXELS, _PIXELS, 3), 255, np.uint8)
    for centre, color in ((goal, (40, 160, 60)), (position, (30, 60, 200))):
        x, y = axis[None, :] - centre[0], -axis[:, None] - centre[1]
        frame[x**2 + y**2 < (side / 40) ** 2] = color
    return frame
