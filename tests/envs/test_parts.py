"""Goals, parts and variations, on every robot in the same way."""

import gymnasium
import numpy as np
import pytest

import metarl_envs
from metarl_envs.engine.simulations import physics_threads
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import Forward, Heading, Place, TargetVelocity
from metarl_envs.parts.variations.payload import Payload
from metarl_envs.robots.half_cheetah import HalfCheetah
from metarl_envs.robots.reacher import Reacher

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
