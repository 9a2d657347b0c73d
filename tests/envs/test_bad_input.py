"""Bad tasks, actions and sizes, refused by every registered environment."""

import gymnasium
import numpy as np
import pytest

import metarl_envs
from metarl_envs.errors import ActionError, EnvironmentConfigError, TaskError

N = 4


@pytest.fixture(params=list(metarl_envs.ENVIRONMENTS))
def env_id(request):
    return request.param


def make(env_id, num_envs=N, **kwargs):
    return gymnasium.make_vec(env_id, num_envs=num_envs, **kwargs).unwrapped


def an_action(env):
    space = env.single_action_space
    rng = np.random.default_rng(0)
    return rng.uniform(space.low, space.high, (env.num_envs, *space.shape)).astype(np.float32)


@pytest.mark.parametrize("change", ["unknown", "missing", "shape", "outside", "nan", "count"])
def test_bad_tasks_are_refused_and_change_nothing(env_id, change):
    env = make(env_id)
    tasks = env.task_distribution("train").sample(N, 0)
    key = next(iter(tasks))
    broken = {k: v.astype(float) for k, v in tasks.items()}
    if change == "unknown":
        broken[f"{key}x"] = broken[key]
    elif change == "missing":
        del broken[key]
    elif change == "shape":
        broken[key] = np.zeros((N, 77))
    elif change == "outside":
        broken[key] = np.full_like(broken[key], 1e6)
    elif change == "nan":
        broken[key] = np.full_like(broken[key], np.nan)
    else:
        broken = {k: v[: N - 1] for k, v in broken.items()}
    before = env.tasks
    with pytest.raises(TaskError, match="task key" if change == "count" else key):
        env.set_tasks(broken)
    assert env.tasks is before


@pytest.mark.parametrize("value", [0, -1, "a"])
def test_success_distance_is_positive(value):
    with pytest.raises(EnvironmentConfigError, match="success_distance must be positive"):
        make("metarl/ReacherGoal-v0", success_distance=value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_action_is_refused_before_anything_moves(env_id, value):
    env, reference = make(env_id), make(env_id)
    env.reset(seed=0), reference.reset(seed=0)
    action = an_action(env)
    broken = action.copy()
    broken[2, 0] = value
    with pytest.raises(ActionError, match="sub-environment 2 is not finite"):
        env.step(broken)
    assert np.array_equal(env.step(action)[0], reference.step(action)[0])


def test_action_of_wrong_shape_is_refused(env_id):
    env = make(env_id)
    env.reset(seed=0)
    with pytest.raises(ActionError, match="expected"):
        env.step(np.zeros((N, 99)))


@pytest.mark.parametrize(
    "kwargs", [{"num_envs": 0}, {"max_episode_steps": 0}, {"action_scale": 0.0}]
)
def test_bad_sizes_are_refused(env_id, kwargs):
    with pytest.raises(EnvironmentConfigError, match="must be positive"):
        make(env_id, **({"num_envs": N} | kwargs))


def test_unknown_split_is_refused(env_id):
    with pytest.raises(TaskError, match="did you mean 'train'"):
        make(env_id).task_distribution("trian")
