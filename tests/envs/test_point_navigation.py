import gymnasium
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError, TaskError
from metarl_envs.tasks.distributions import PolarTasks, UniformTasks

DENSE, SPARSE = "metarl/PointNavigation-v0", "metarl/PointNavigationSparse-v0"


def test_moves_by_the_clipped_action_and_pays_the_distance():
    env = gymnasium.make_vec(DENSE, num_envs=2)
    env.set_tasks({"goal": np.array([[0.3, 0.4], [-0.1, 0.0]])})
    env.reset(seed=0)
    obs, rewards, *_ = env.step(np.array([[0.05, -0.7], [-0.1, 0.0]]))
    np.testing.assert_allclose(obs, [[0.05, -0.1], [-0.1, 0.0]])
    np.testing.assert_allclose(rewards, [-np.hypot(0.25, 0.5), 0.0], atol=1e-15)


def test_sparse_reward():
    env = gymnasium.make_vec(SPARSE, num_envs=2)
    env.set_tasks({"goal": np.array([[0.0, 0.15], [0.0, 1.0]])})
    env.reset(seed=0)
    _, rewards, terminated, _, info = env.step(np.zeros((2, 2)))
    np.testing.assert_allclose(rewards, [0.85, 0.0])
    assert info["success"].tolist() == [True, False] and not terminated.any()


def test_terminates_at_the_goal_if_asked():
    env = gymnasium.make_vec(DENSE, num_envs=2, terminate_at_goal=True)
    env.set_tasks({"goal": np.array([[0.1, 0.0], [0.2, 0.0]])})
    env.reset(seed=0)
    assert env.step(np.tile([0.1, 0.0], (2, 1)))[2].tolist() == [True, False]


def test_reset_noise():
    env = gymnasium.make_vec(DENSE, num_envs=500, reset_noise=1.0)
    obs, _ = env.reset(seed=0)
    assert np.abs(obs).max() <= 1.0 and obs.std() > 0.5


def test_semicircle_goals():
    env = gymnasium.make_vec(SPARSE)
    goals = env.task_distribution("train").sample(500, 0)["goal"]
    np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1.0)
    assert (goals[:, 1] >= 0).all() and goals[:, 0].min() < -0.9 < 0.9 < goals[:, 0].max()
    assert (env.task_distribution("extrapolation").sample(100, 0)["goal"][:, 1] < 0).all()


def test_draws_the_point_and_the_goal():
    env = gymnasium.make(DENSE, render_mode="rgb_array", task={"goal": [0.3, 0.4]})
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (256, 256, 3) and len(np.unique(frame.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize(
    "kwargs", [{"reward": "spare"}, {"goals": "circle"}, {"goal_range": -1.0}, {"reset_noise": -1}]
)
def test_bad_arguments(kwargs):
    with pytest.raises(EnvironmentConfigError, match=next(iter(kwargs))):
        gymnasium.make_vec(DENSE, **kwargs)
    with pytest.raises(EnvironmentConfigError, match="render_mode"):
        gymnasium.make(DENSE, render_mode="human")


def test_empty_ranges_and_sample_sizes_are_refused():
    with pytest.raises(TaskError, match="range of 'x' is empty"):
        UniformTasks({"x": 1.0}, {"x": 1.0})
    with pytest.raises(TaskError, match="increasing"):
        PolarTasks("x", (1.0, 0.5), (0.0, 1.0))
    with pytest.raises(TaskError, match="must be positive, got 0"):
        UniformTasks({"x": 0.0}, {"x": 1.0}).sample(0, 0)
