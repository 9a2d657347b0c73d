"""A film to walk around in: the robot before and after adaptation, as a page of its own.

Both episodes start in the same state, side by side.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import mujoco
import viser

from metarl.adapted_policy import AdaptedPolicy, adapt
from metarl.learners.base import MetaLearner
from metarl.reports.episode import played, title
from metarl.reports.scene import CAMERA, LOOKED_AT, Pose, RobotShape, Simulated, pose_of
from metarl.trained_env import make_env
from metarl_envs.single_env import SingleTaskEnv

_MOST_FRAMES = 150
_APART = 1.6  # metres between the two


class _Film(NamedTuple):
    label: str
    model: mujoco.MjModel
    poses: list[Pose]
    returns: list[float]


def replay_page(
    learner: MetaLearner,
    task: Mapping[str, Any],
    *,
    adaptation_steps: int,
    episodes: int,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> str | None:
    """The page, or None where there is no engine whose bodies could be shown."""
    films = list[_Film]()
    with closing(make_env(learner, task, env_kwargs=env_kwargs)) as env:
        if not isinstance(env.vector_env, Simulated):
            return None
        for steps in sorted({0, adaptation_steps}):
            policy = adapt(learner, env, episodes=episodes, steps=steps, seed=seed)
            films.append(_film(env, policy, title(steps), seed))
        return _page(films, env.vector_env.step_s or 1.0 / env.vector_env.render_fps)


def _film(env: SingleTaskEnv, policy: AdaptedPolicy, label: str, seed: int) -> _Film:
    batch = env.vector_env
    assert isinstance(batch, Simulated)
    model = batch.simulations.batch.get_model(0)
    data = mujoco.MjData(model)
    poses, returns = [], []
    for total in played(env, policy, seed):
        poses.append(pose_of(batch.simulations.batch, model, data))
        returns.append(total)
    # each state beside the return after its action: no action follows the last one
    return _Film(label, model, poses[:-1], returns[1:])


def _page(films: Sequence[_Film], dt: float) -> str:
    with redirect_stdout(StringIO()):  # viser greets
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        server.initial_camera.position = CAMERA
        server.initial_camera.look_at = LOOKED_AT
        serializer = server.get_scene_serializer()
        shapes = [
            RobotShape(server, film.label, film.model, film.poses[0], _APART * index, index == 0)
            for index, film in enumerate(films)
        ]
        longest = max(len(film.returns) for film in films)
        every = -(-longest // _MOST_FRAMES)
        for frame in [*range(0, longest - 1, every), longest - 1]:
            for film, shape in zip(films, shapes, strict=True):
                at = min(frame, len(film.poses) - 1)  # the last one stays
                shape.show(film.poses[at], f"{film.label}: return {film.returns[at]:.0f}")
            serializer.insert_sleep(every * dt)
        return serializer.as_html()
    finally:
        with redirect_stdout(StringIO()):
            server.stop()
