import gymnasium
import mujoco
import numpy as np
import pytest
from scipy import stats

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError

WALKER, HOPPER = "metarl/Walker2dRandParams-v0", "metarl/HopperRandParams-v0"
FIELDS = ("body_mass", "body_inertia", "dof_damping", "geom_friction")
N = 3


@pytest.mark.parametrize(("env_id", "size"), [(WALKER, 65), (HOPPER, 41)])
def test_task_dimension_and_ranges(env_id, size):
    env = gymnasium.make_vec(env_id)
    assert sum(int(np.prod(space.shape)) for space in env.task_space.values()) == size
    tasks = env.task_distribution("train").sample(4000, 0)
    for key, values in tasks.items():
        base = 1.3 if key == "dof_damping_scale" else 1.5
        exponents = np.log(values.reshape(4000, -1)[:, -1]) / np.log(base)
        assert np.abs(exponents).max() <= 3.0
        assert stats.kstest(exponents, stats.uniform(-3, 6).cdf).pvalue > 1e-4
    assert tasks["body_mass_scale"].min() >= 0.2962 and tasks["body_mass_scale"].max() <= 3.3751
    assert tasks["dof_damping_scale"].min() >= 0.4551 and tasks["dof_damping_scale"].max() <= 2.1971


def test_tasks_scale_the_model_of_their_own_simulation():
    env = gymnasium.make_vec(WALKER, num_envs=N).unwrapped
    tasks = env.task_distribution("train").sample(N, 0)
    env.set_tasks(tasks)
    env.reset(seed=0)
    for row in range(N):
        model = env.simulations.batch.get_model(row)
        for field in FIELDS:
            expected = getattr(env.model, field) * tasks[f"{field}_scale"][row]
            assert np.array_equal(getattr(model, field), expected), field


def test_derived_constants_follow():
    env = gymnasium.make_vec(WALKER, num_envs=N).unwrapped
    env.set_tasks(env.task_distribution("train").sample(N, 0))
    env.reset(seed=0)
    model = env.simulations.batch.get_model(1)
    reference = env.simulations.batch.get_model(1)
    mujoco.mj_setConst(reference, mujoco.MjData(reference))
    for name in ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0"):
        assert np.array_equal(getattr(model, name), getattr(reference, name)), name
        assert not np.array_equal(getattr(model, name), getattr(env.model, name)), name


def test_a_simulation_steps_like_its_materialised_model():
    env = gymnasium.make_vec(HOPPER, num_envs=N).unwrapped
    env.set_tasks(env.task_distribution("train").sample(N, 1))
    env.reset(seed=0)
    model, data = env.simulations.batch.get_model(2), env.simulations.batch.get_data(2)
    action = np.full((N, 3), 0.3, np.float32)
    for _ in range(5):
        env.step(action)
        data.ctrl[:] = action[2]
        mujoco.mj_step(model, data, 4)
        assert np.array_equal(env.qpos[2], data.qpos)


def test_inertia_follows_mass_where_only_mass_varies():
    env = gymnasium.make_vec(WALKER, num_envs=1, vary=["body_mass"]).unwrapped
    assert set(env.task_space.spaces) == {"body_mass_scale"}
    scale = env.task_distribution("train").sample(1, 0)["body_mass_scale"]
    env.set_tasks({"body_mass_scale": scale})
    env.reset(seed=0)
    model = env.simulations.batch.get_model(0)
    np.testing.assert_array_equal(model.body_mass, env.model.body_mass * scale[0])
    np.testing.assert_array_equal(model.body_inertia, env.model.body_inertia * scale[0][:, None])


def test_extrapolation_lies_outside_the_training_range():
    env = gymnasium.make_vec(HOPPER, vary=["body_mass"])
    values = env.task_distribution("extrapolation").sample(200, 0)["body_mass_scale"]
    exponents = np.log(values) / np.log(1.5)
    assert (np.abs(exponents).max(axis=1) > 3.0).all() and np.abs(exponents).max() <= 4.0


def test_bad_arguments():
    with pytest.raises(EnvironmentConfigError, match="did you mean 'body_mass'"):
        gymnasium.make_vec(WALKER, vary=["body_mas"])
    with pytest.raises(EnvironmentConfigError, match="at least one"):
        gymnasium.make_vec(WALKER, vary=[])
    with pytest.raises(EnvironmentConfigError, match="log_scale_limit"):
        gymnasium.make_vec(WALKER, log_scale_limit=-1.0)
    with pytest.raises(EnvironmentConfigError, match="timestep"):
        gymnasium.make_vec(WALKER, timestep=0.0)
