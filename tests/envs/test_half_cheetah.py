import os
import re
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError

ID = "metarl/HalfCheetahVel-v0"


def test_pearl_list_is_the_published_one():
    env = gymnasium.make_vec(ID, task_list="pearl")
    train = env.task_distribution("train").tasks["target_velocity"]
    test = env.task_distribution("test").tasks["target_velocity"]
    assert (len(train), len(test)) == (100, 30)
    np.testing.assert_allclose(train[:5], [0.7861, 0.4761, 0.8344, 1.3780, 0.9630], atol=5e-5)
    np.testing.assert_allclose(test[:5], [2.0510, 0.0831, 0.7015, 2.2093, 2.8026], atol=5e-5)
    assert test.mean() == pytest.approx(1.4177, abs=5e-5)
    assert env.task_distribution("test").contains(env.task_distribution("test").sample(30, 0)).all()
    drawn = env.task_distribution("test").sample(30, 0)["target_velocity"]
    assert sorted(drawn) == sorted(test)


def test_velocity_range_is_configurable():
    env = gymnasium.make_vec(ID, velocity_range=(0.0, 2.0))
    for split in ("train", "test"):
        values = env.task_distribution(split).sample(2000, 0)["target_velocity"]
        # the last cell that is held out ends at 93 % of the range
        assert 0.0 <= values.min() < 0.05 and 1.85 < values.max() <= 2.0
        assert abs(values.mean() - 1.0) < 0.1
    beyond = env.task_distribution("extrapolation").sample(500, 0)["target_velocity"]
    assert beyond.min() > 2.0 and beyond.max() <= 3.0
    with pytest.raises(EnvironmentConfigError, match="velocity_range"):
        gymnasium.make_vec(ID, velocity_range=(2.0, 1.0))
    with pytest.raises(EnvironmentConfigError, match="task_list"):
        gymnasium.make_vec(ID, task_list="perl")


def test_control_step_and_observation():
    env = gymnasium.make_vec(ID)
    assert env.unwrapped.dt == pytest.approx(0.05)
    assert env.single_observation_space.shape == (20,)
    assert gymnasium.make_vec(ID, torso_position=False).single_observation_space.shape == (17,)
    assert gymnasium.make_vec(ID, frame_skip=1).unwrapped.dt == pytest.approx(0.01)


def test_diverged_simulation_ends_its_own_episode_only():
    env, reference = (gymnasium.make_vec(ID, num_envs=3) for _ in range(2))
    env.reset(seed=0), reference.reset(seed=0)
    action = np.zeros((3, 6), np.float32)
    before, _, _, _, _ = env.step(action)
    reference.step(action)
    env.unwrapped.qvel[1] = 1e12
    obs, rewards, terminated, truncated, info = env.step(action)
    expected = reference.step(action)
    assert info["diverged"].tolist() == [False, True, False]
    assert truncated.tolist() == [False, True, False] and not terminated.any()
    assert rewards[1] == 0 and np.array_equal(obs[1], before[1])
    assert np.array_equal(obs[[0, 2]], expected[0][[0, 2]])
    assert np.array_equal(rewards[[0, 2]], expected[1][[0, 2]])
    again = env.step(action)
    assert np.isfinite(again[0]).all() and again[3].tolist() == [False, True, False]
    assert "diverged" not in again[4]
    env.reset(seed=1)
    assert not env.step(action)[3].any()


RENDER = """
import gymnasium, metarl_envs
env = gymnasium.make(
    "metarl/HalfCheetahVel-v0", task={"target_velocity": 1.4}, render_mode="rgb_array"
)
env.reset(seed=0)
first = env.render()
for _ in range(20):
    env.step(env.action_space.high)
second = env.render()
assert first.shape == (480, 480, 3) and first.std() > 5 and (first != second).any()
print("rendered")
"""


def test_rendering_gives_a_picture():
    # its own process: the OpenGL backend is chosen when MuJoCo is first imported
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    done = subprocess.run(
        [sys.executable, "-c", RENDER], capture_output=True, text=True, env=environment
    )
    if "rendered" not in done.stdout and re.search("OpenGL|EGL|PyOpenGL", done.stderr):
        pytest.skip("no OpenGL on this machine")
    assert "rendered" in done.stdout, done.stderr
