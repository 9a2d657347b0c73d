"""Distances between tasks as a picture: the matrix, and a map of two dimensions."""

from pathlib import Path

import numpy as np

from metarl.errors import ConfigError


def plane(distances_MM: np.ndarray) -> np.ndarray:
    """Points whose distances are as near as two dimensions allow: shape (M, 2).

    Classical scaling (Torgerson 1952): the leading eigenvectors of the doubly centred matrix of
    squared distances, which `distances_MM` holds.

    Raises:
        ConfigError: if a distance is not finite.
    """
    if not np.isfinite(distances_MM).all():
        raise ConfigError("distances between tasks are not finite: no map can be drawn")
    count = len(distances_MM)
    centring = np.eye(count) - 1.0 / count
    values, vectors = np.linalg.eigh(-0.5 * centring @ distances_MM @ centring)
    leading = np.zeros((count, 2))
    kept = min(2, count)
    leading[:, :kept] = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1][:, :kept]
    return leading


def plot_task_distances(
    distances_MM: np.ndarray, path: str | Path, colours_M: np.ndarray | None = None
) -> None:
    """Write matrix and map as PNG.

    Args:
        distances_MM: squared distances.
        path: of the picture.
        colours_M: a number per task by which the map is coloured and the matrix sorted.
    """
    from matplotlib.figure import Figure

    order = np.arange(len(distances_MM)) if colours_M is None else np.argsort(colours_M)
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    matrix, chart = figure.subplots(1, 2)
    image = matrix.imshow(np.sqrt(np.maximum(distances_MM[np.ix_(order, order)], 0.0)))
    figure.colorbar(image, ax=matrix, label="learned distance")
    matrix.set_xlabel("task")
    matrix.set_ylabel("task")
    points = plane(distances_MM)
    chart.scatter(points[:, 0], points[:, 1], c=colours_M, s=18)
    chart.set_aspect("equal", adjustable="datalim")
    chart.set_title("the same distances in two dimensions", fontsize=10)
    figure.savefig(path, dpi=150)
