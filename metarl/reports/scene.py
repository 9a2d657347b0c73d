"""Robots as shapes in a browser's scene (viser), for replays and for the live viewer.

A robot that travels stays where it is, and the ground moves under it.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import mujoco
import numpy as np
import trimesh
import viser

from metarl_envs.engine.simulations import NativeSimulations

_TRAVELS = {int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)}
_GREY = (150, 150, 150)
_MOST_FACES, _CELLS = 500, 16  # of a mesh, and of its longest side
CAMERA, LOOKED_AT = (0.0, -4.0, 1.5), (0.0, 0.0, 0.5)


@runtime_checkable
class Simulated(Protocol):
    """An environment with an engine."""

    simulations: NativeSimulations
    step_s: float | None


class Pose(NamedTuple):
    """Where the bodies of a robot are.

    Attributes:
        positions: shape (bodies, 3).
        quaternions: shape (bodies, 4), w first.
    """

    positions: np.ndarray
    quaternions: np.ndarray


def pose_of(batch: "mujoco.batch.Batch", model: mujoco.MjModel, data: mujoco.MjData) -> Pose:
    """That of the first simulation of a batch; `data` is written."""
    batch.get_data(0, data)
    mujoco.mj_kinematics(model, data)
    return Pose(data.xpos.copy(), data.xquat.copy())


class RobotShape:
    """One robot, its ground and its label.

    Args:
        server: of the scene.
        name: of the label.
        model: of the robot.
        start: where it begins.
        side: how far to the side it stands, in metres.
        grey: whether it is drawn without its colours.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        name: str,
        model: mujoco.MjModel,
        start: Pose,
        side: float = 0.0,
        grey: bool = False,
    ) -> None:
        self._start, self._side = start, np.array([0.0, side, 0.0])
        scene, path = server.scene, f"/{name}"
        jointed = model.nbody > 1 and model.body_jntnum[1] > 0
        self._travels = jointed and int(model.jnt_type[model.body_jntadr[1]]) in _TRAVELS
        self._ground = scene.add_grid(f"{path}/ground", width=12.0, height=1.2, cell_size=1.0)
        self._label = scene.add_label(f"{path}/label", name)
        self._bodies = []
        for body in range(1, model.nbody):
            frame = scene.add_frame(f"{path}/body{body}", show_axes=False)
            self._bodies.append(frame)
            for geom in range(model.ngeom):
                if model.geom_bodyid[geom] == body and model.geom_rgba[geom, 3] > 0:
                    _add_geom(scene, f"{path}/body{body}/geom{geom}", model, geom, grey)

    def show(self, pose: Pose, label: str) -> None:
        """Put everything where it is."""
        gone = pose.positions[1] - self._start.positions[1] if self._travels else np.zeros(3)
        gone = np.array([gone[0], gone[1], 0.0])
        for body, handle in enumerate(self._bodies, start=1):
            handle.position = pose.positions[body] - gone + self._side
            handle.wxyz = pose.quaternions[body]
        self._ground.position = self._side - np.array([gone[0] % 1.0, 0.0, 0.0])
        self._label.position = self._side + np.array([self._side[1] - 1.2, 0.0, 1.2])
        self._label.text = label


def _add_geom(scene: Any, name: str, model: mujoco.MjModel, geom: int, grey: bool) -> None:
    mesh = _mesh(model, geom)
    if mesh is None:
        return
    material = model.geom_matid[geom]
    rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    color = _GREY if grey else tuple(int(255 * c) for c in rgba[:3])
    scene.add_mesh_simple(
        name,
        np.asarray(mesh.vertices, np.float32),
        np.asarray(mesh.faces, np.uint32),
        color=color,
        position=model.geom_pos[geom],
        wxyz=model.geom_quat[geom],
    )


def _mesh(model: mujoco.MjModel, geom: int) -> Any:
    """A geom's surface, or None of what has no end."""
    kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom]
    shapes = mujoco.mjtGeom
    if kind == shapes.mjGEOM_SPHERE:
        return trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    if kind == shapes.mjGEOM_CAPSULE:
        return trimesh.creation.capsule(2 * size[1], size[0], count=[12, 12])
    if kind == shapes.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(size[0], 2 * size[1], sections=20)
    if kind == shapes.mjGEOM_BOX:
        return trimesh.creation.box(2 * size)
    if kind == shapes.mjGEOM_ELLIPSOID:
        return trimesh.creation.icosphere(subdivisions=2).apply_scale(size)
    if kind == shapes.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        start, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return _coarse(
            trimesh.Trimesh(
                model.mesh_vert[first : first + count], model.mesh_face[start : start + faces]
            )
        )
    return None


def _coarse(mesh: Any) -> Any:
    """A mesh of many faces with vertices on a grid, where neighbours fall together."""
    if len(mesh.faces) <= _MOST_FACES:
        return mesh
    cell = mesh.extents.max() / _CELLS
    rough = trimesh.Trimesh(np.round(mesh.vertices / cell) * cell, mesh.faces)
    rough.update_faces(rough.nondegenerate_faces() & rough.unique_faces())
    rough.remove_unreferenced_vertices()
    # what is thinner than a cell would fall flat
    flat = not len(rough.faces) or (rough.extents < 0.5 * mesh.extents).any()
    return mesh if flat else rough
