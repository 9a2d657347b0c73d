"""A film to walk around in: the robot before and after adaptation, as a page of its own.

Both episodes start in the same state, side by side. A robot that travels stays where it is, and the
ground moves under it.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple, Protocol, runtime_checkable

import mujoco
import numpy as np
import trimesh
import viser

from metarl.adapted_policy import AdaptedPolicy, adapt
from metarl.learners.base import MetaLearner
from metarl.reports.episode import played, title
from metarl.trained_env import make_env
from metarl_envs.engine.simulations import NativeSimulations
from metarl_envs.single_env import SingleTaskEnv

_MOST_FRAMES = 150
_APART = 1.6  # metres between the two
_CAMERA, _LOOKED_AT = (0.0, -4.0, 1.5), (0.0, 0.0, 0.5)
_TRAVELS = {int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)}
_GREY = (150, 150, 150)  # before adaptation


@runtime_checkable
class _Simulated(Protocol):
    """An environment with an engine."""

    simulations: NativeSimulations


class _Film(NamedTuple):
    label: str
    model: mujoco.MjModel
    positions: np.ndarray  # (T, bodies, 3)
    quaternions: np.ndarray  # (T, bodies, 4), w first
    returns: np.ndarray  # (T,)


def replay_page(
    learner: MetaLearner,
    task: Mapping[str, Any],
    *,
    adaptation_steps: int,
    episodes: int,
    seed: int = 0,
) -> str | None:
    """The page, or None where there is no engine whose bodies could be shown."""
    films = list[_Film]()
    with closing(make_env(learner, task)) as env:
        if not isinstance(env.vector_env, _Simulated):
            return None
        for steps in sorted({0, adaptation_steps}):
            policy = adapt(learner, env, episodes=episodes, steps=steps, seed=seed)
            films.append(_film(env, policy, title(steps), seed))
        return _page(films, env.vector_env.step_s or 1.0 / env.vector_env.render_fps)


def _film(env: SingleTaskEnv, policy: AdaptedPolicy, label: str, seed: int) -> _Film:
    batch = env.vector_env
    assert isinstance(batch, _Simulated)
    model = batch.simulations.batch.get_model(0)
    data = mujoco.MjData(model)
    places, turns, returns = [], [], []
    for total in played(env, policy, seed):
        batch.simulations.batch.get_data(0, data)
        mujoco.mj_kinematics(model, data)
        places.append(data.xpos.copy())
        turns.append(data.xquat.copy())
        returns.append(total)
    # each state beside the return after its action: no action follows the last one
    return _Film(label, model, np.stack(places[:-1]), np.stack(turns[:-1]), np.array(returns[1:]))


def _page(films: Sequence[_Film], dt: float) -> str:
    with redirect_stdout(StringIO()):  # viser greets
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        server.initial_camera.position = _CAMERA
        server.initial_camera.look_at = _LOOKED_AT
        serializer = server.get_scene_serializer()
        lanes = [_Lane(server, film, _APART * index) for index, film in enumerate(films)]
        longest = max(len(film.returns) for film in films)
        every = -(-longest // _MOST_FRAMES)
        for frame in [*range(0, longest - 1, every), longest - 1]:
            for lane in lanes:
                lane.show(frame)
            serializer.insert_sleep(every * dt)
        return serializer.as_html()
    finally:
        with redirect_stdout(StringIO()):
            server.stop()


class _Lane:
    """One robot, its ground and its label."""

    def __init__(self, server: viser.ViserServer, film: _Film, side: float) -> None:
        self._film, self._side = film, np.array([0.0, side, 0.0])
        scene, model, path = server.scene, film.model, f"/{film.label}"
        jointed = model.nbody > 1 and model.body_jntnum[1] > 0
        self._travels = jointed and int(model.jnt_type[model.body_jntadr[1]]) in _TRAVELS
        self._ground = scene.add_grid(f"{path}/ground", width=12.0, height=1.2, cell_size=1.0)
        self._label = scene.add_label(f"{path}/label", film.label)
        self._bodies = []
        for body in range(1, model.nbody):
            frame = scene.add_frame(f"{path}/body{body}", show_axes=False)
            self._bodies.append(frame)
            for geom in range(model.ngeom):
                if model.geom_bodyid[geom] == body and model.geom_rgba[geom, 3] > 0:
                    _add_geom(scene, f"{path}/body{body}/geom{geom}", model, geom, grey=side == 0.0)

    def show(self, frame: int) -> None:
        """Where everything is in a frame; the last one stays."""
        film = self._film
        frame = min(frame, len(film.returns) - 1)
        gone = film.positions[frame, 1] - film.positions[0, 1] if self._travels else np.zeros(3)
        gone = np.array([gone[0], gone[1], 0.0])
        for body, handle in enumerate(self._bodies, start=1):
            handle.position = film.positions[frame, body] - gone + self._side
            handle.wxyz = film.quaternions[frame, body]
        self._ground.position = self._side - np.array([gone[0] % 1.0, 0.0, 0.0])
        self._label.position = self._side + np.array([self._side[1] - 1.2, 0.0, 1.2])
        self._label.text = f"{film.label}: return {film.returns[frame]:.0f}"


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
        return trimesh.Trimesh(
            model.mesh_vert[first : first + count], model.mesh_face[start : start + faces]
        )
    return None
