"""Goals, parts and variations, on every robot in the same way."""

import ast
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import metarl_envs
from metarl_envs.engine.simulations import physics_threads
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Forward, Heading, Place, TargetVelocity
from metarl_envs.parts.variations.body import Payload
from metarl_envs.robots.half_cheetah import HalfCheetah
from metarl_envs.robots.reacher import Reacher

ENVS = Path(metarl_envs.__file__).parent
ROBOTS = [
    env_id
    for env_id, registration in metarl_envs.ENVIRONMENTS.items()
    if registration.location.startswith("robots.")
]


@pytest.mark.parametrize("env_id", ROBOTS)
def test_every_robot_takes_parts(env_id):
    env = gymnasium.make_vec(env_id, num_envs=2, parts=[Payload(max_mass=1.0)])
    assert "payload_mass" in env.task_space.spaces
    tasks = env.task_distribution("test").sample(2, 0)
    env.set_tasks(tasks)
    env.reset(seed=0)
    changed = env.simulations.batch.get_model(0).body_mass[1] - env.model.body_mass[1]
    assert changed == pytest.approx(tasks["payload_mass"][0])


@pytest.mark.parametrize("goal", [Heading(), Place(3.0)])
def test_a_goal_that_the_robot_cannot_serve_is_refused_before_the_first_step(goal):
    with pytest.raises(EnvironmentConfigError, match="which HalfCheetah does not have"):
        HalfCheetah(2, goal=goal)
    with pytest.raises(EnvironmentConfigError, match="needs the quantity 'forward_velocity'"):
        Reacher(2, goal=Forward())


def test_named_quantities_are_those_of_the_model():
    env = HalfCheetah(2, goal=TargetVelocity((0.0, 2.0)))
    env.reset(seed=0)
    before = env.qpos[:, 0].copy()
    env.step(np.ones((2, 6)))
    np.testing.assert_array_equal(env.forward_velocity, (env.qpos[:, 0] - before) / env.dt)
    env.simulations.batch.forward()
    np.testing.assert_allclose(env.height, env.simulations.body_positions("torso")[:, 2])


def test_physics_threads_are_those_asked_for():
    with physics_threads(1):
        assert HalfCheetah(2).simulations.batch.nthread == 1
        assert HalfCheetah(2, num_threads=2).simulations.batch.nthread == 2


def _modules():
    return {
        ".".join(("metarl_envs", *p.relative_to(ENVS).with_suffix("").parts)): p
        for p in ENVS.rglob("*.py")
        if p.name != "__init__.py"
    }


def _imports(path, modules):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules else node.module)
    return found & modules.keys()


def test_imports_go_round_in_no_circle():
    modules = _modules()
    edges = {name: _imports(path, modules) for name, path in modules.items()}
    done = set()
    while ready := {name for name in edges if name not in done and edges[name] <= done}:
        done |= ready
    assert done == edges.keys()


@pytest.mark.parametrize(
    ("room", "above"),
    [
        ("tasks", ("engine", "parts", "robots", "points", "gymnasium_envs")),
        ("engine", ("parts", "robots", "points", "gymnasium_envs")),
        ("parts", ("robots", "points", "gymnasium_envs")),
        ("points", ("engine", "parts", "robots", "gymnasium_envs")),
        ("robots", ("points", "gymnasium_envs")),
    ],
)
def test_rooms_look_one_way(room, above):
    modules = _modules()
    for name, path in modules.items():
        if name.startswith(f"metarl_envs.{room}."):
            for imported in _imports(path, modules):
                assert imported.split(".")[1] not in above, f"{name} imports {imported}"
