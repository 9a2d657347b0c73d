"""Pictures without a screen: the first library that works, or a sentence."""

import os
import sys

import gymnasium
import mujoco
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.engine import rendering
from metarl_envs.errors import EnvironmentConfigError


class Library:
    """Stands for `mujoco.egl` or `mujoco.osmesa`."""

    class GLContext:
        def __init__(self, width, height):
            pass

        def free(self):
            pass


def choose(monkeypatch, works, **environment):
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")

    def imported(name):
        if name.removeprefix("mujoco.") not in works:
            raise AttributeError("no such library")
        return Library

    monkeypatch.setattr(rendering.importlib, "import_module", imported)
    rendering.choose_backend()
    chosen = os.environ.get("MUJOCO_GL")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return chosen


def test_the_first_that_works(monkeypatch):
    assert choose(monkeypatch, {"egl", "osmesa"}) == "egl"
    assert choose(monkeypatch, {"osmesa"}) == "osmesa"


def test_choices_and_screens_are_left_alone(monkeypatch):
    assert choose(monkeypatch, {"egl"}, MUJOCO_GL="glfw") == "glfw"
    assert choose(monkeypatch, {"egl"}, DISPLAY=":0") is None


def test_nothing_that_draws_is_one_sentence(monkeypatch):
    with pytest.raises(EnvironmentConfigError, match="need EGL or OSMesa, and neither works"):
        choose(monkeypatch, set())


@pytest.mark.parametrize("robot", ["HalfCheetahVel", "AntDir", "ReacherGoal", "HopperRandParams"])
def test_the_camera_follows_the_robot(robot):
    """40 metres on, a picture still differs from one without the robot."""
    try:
        rendering.choose_backend()
    except EnvironmentConfigError:
        pytest.skip("nothing here draws")
    env = gymnasium.make(f"metarl/{robot}-v0", render_mode="rgb_array")
    env.reset(seed=0)
    simulations = env.unwrapped.vector_env.simulations
    model, data = simulations.batch.get_model(0), mujoco.MjData(simulations.batch.get_model(0))
    seen = []
    for away in (0.0, 40.0):
        simulations.batch.get_data(0, data)
        if robot != "ReacherGoal":  # it stands on a table
            data.qpos[0] += away
        renderer = rendering.Renderer(model)
        batch = type("Batch", (), {"get_model": lambda *_: None})()
        batch.get_data = lambda _, into: mujoco.mj_copyData(into, model, data)
        picture = renderer.draw(batch, 0, "rgb_array")
        model.geom_rgba[1:, 3], kept = 0.0, model.geom_rgba[1:, 3].copy()
        model.geom_matid[1:], material = -1, model.geom_matid[1:].copy()
        empty = rendering.Renderer(model).draw(batch, 0, "rgb_array")
        model.geom_rgba[1:, 3], model.geom_matid[1:] = kept, material
        seen.append(float((picture != empty).any(-1).mean()))
    assert min(seen) > 0.01, seen
