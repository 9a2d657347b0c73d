"""Rewards recomputed by hand from the states of Gymnasium's own classes, stepped beside ours."""

import gymnasium
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.tasks import batches as task_batches

N, ROW, STEPS = 3, 1, 300


def beside(env_id, task, reference_id, their_kwargs=None, **kwargs):
    """Yield (ours, theirs, step): our row's reward and state, and their environment."""
    native = gymnasium.make_vec(env_id, num_envs=N, max_episode_steps=STEPS, **kwargs).unwrapped
    native.set_tasks(task_batches.repeat(task_batches.batch_of_one(task), N))
    reference = gymnasium.make(reference_id, **(their_kwargs or {})).unwrapped
    native.reset(seed=4), reference.reset(seed=4 + ROW)
    rng = np.random.default_rng(0)
    space = reference.action_space
    for step in range(STEPS):
        action = rng.uniform(space.low, space.high, (N, *space.shape)).astype(np.float32)
        before = positions(reference)
        scaled = action * native.action_scale
        obs, reward, terminated, _, _ = native.step(scaled.astype(np.float64))
        expected, _, _, _, info = reference.step(action[ROW])
        assert np.array_equal(native.qpos[ROW], reference.data.qpos), step
        assert np.array_equal(native.qvel[ROW], reference.data.qvel), step
        after = positions(reference)
        cost = np.square(action[ROW].astype(np.float64)).sum()
        yield reward[ROW], obs[ROW], expected, (after - before) / reference.dt, cost, native, info
        if terminated[ROW] or terminated.any():
            native.reset(seed=step)
            reference.reset(seed=step + ROW)


def positions(reference):
    name = type(reference).__name__
    if name == "AntEnv":
        return reference.data.body("torso").xpos[:2].copy()
    if name == "HumanoidEnv":
        mass = reference.model.body_mass[:, None]
        return ((mass * reference.data.xipos).sum(0) / mass.sum())[:2]
    return reference.data.qpos[:2].copy()


@pytest.mark.parametrize(
    ("kwargs", "task", "angle"),
    [
        ({}, {"forward": 1}, 0.0),
        ({}, {"forward": 0}, np.pi),
        ({"directions": "any"}, {"heading": 2.0}, 2.0),
    ],
)
def test_ant_dir(kwargs, task, angle):
    theirs = {"include_cfrc_ext_in_observation": False}
    ours = beside("metarl/AntDir-v0", task, "Ant-v5", theirs, contact_cost_weight=0.0, **kwargs)
    for reward, obs, expected, velocity, cost, _, _ in ours:
        assert np.array_equal(obs, expected)
        along = velocity @ [np.cos(angle), np.sin(angle)]
        assert reward == pytest.approx(along + 1.0 - 0.5 * cost, abs=1e-9)


def test_ant_vel():
    for reward, _, _, velocity, cost, _, _ in beside(
        "metarl/AntVel-v0", {"target_velocity": 1.7}, "Ant-v5", contact_cost_weight=0.0
    ):
        expected = 1.0 - abs(velocity[0] - 1.7) + 0.05 - 0.005 * cost
        assert reward == pytest.approx(expected, abs=1e-9)


def test_ant_goal():
    goal = np.array([1.5, -2.0])
    theirs = {"terminate_when_unhealthy": False}
    ours = beside("metarl/AntGoal-v0", {"goal": goal}, "Ant-v5", theirs)
    for reward, obs, _, _, cost, native, _ in ours:
        assert obs.shape == (113,)
        contact = 5e-4 * np.square(obs[29:]).sum()
        distance = np.abs(native.simulations.body_positions("torso")[ROW, :2] - goal).sum()
        assert reward == pytest.approx(-distance - 0.1 * cost - contact, abs=1e-9)


def test_ant_contact_cost_is_of_gymnasiums_size():
    ours, theirs = [], []
    kwargs = {"include_cfrc_ext_in_observation": False, "terminate_when_unhealthy": False}
    for reward, _, _, velocity, cost, _, info in beside(
        "metarl/AntDir-v0", {"forward": 1}, "Ant-v5", kwargs, healthy_z_range=None
    ):
        ours.append(velocity[0] + 1.0 - 0.5 * cost - reward)
        theirs.append(-info["reward_contact"])
    assert 0.5 < np.mean(ours) / np.mean(theirs) < 2.0
    assert np.corrcoef(ours, theirs)[0, 1] > 0.3


def test_humanoid_dir():
    shared = np.r_[0:45, 55:185, 191:269, 275:292]  # without the world body's rows
    for reward, obs, expected, velocity, cost, native, _ in beside(
        "metarl/HumanoidDir-v0", {"heading": 0.7}, "Humanoid-v5", action_scale=1.0
    ):
        assert np.array_equal(obs[shared], expected[:270])
        contact = min(5e-7 * np.square(native.derived[-1][ROW]).sum(), 10.0)
        along = 5 * velocity @ [np.cos(0.7), np.sin(0.7)]  # per simulator step, not control step
        assert reward == pytest.approx(0.25 * along - 0.1 * cost - contact + 5.0, abs=1e-6)


@pytest.mark.parametrize(
    ("env_id", "task", "expected_of"),
    [
        ("Walker2dVel", {"target_velocity": 4.0}, lambda v: -abs(v - 4.0) + 15.0),
        ("Walker2dDir", {"forward": 0}, lambda v: -v + 1.0),
        ("Walker2dDir", {"forward": 1}, lambda v: v + 1.0),
        ("HopperVel", {"target_velocity": 2.0}, lambda v: -abs(v - 2.0) + 1.0),
    ],
)
def test_walkers(env_id, task, expected_of):
    robot = "Walker2d-v5" if "Walker" in env_id else "Hopper-v5"
    ours = beside(f"metarl/{env_id}-v0", task, robot, {"frame_skip": 8})
    for reward, obs, expected, velocity, cost, native, _ in ours:
        assert np.array_equal(obs, expected) and native.dt == pytest.approx(0.016)
        assert reward == pytest.approx(expected_of(velocity[0]) - 1e-3 * cost, abs=1e-9)


def test_swimmer_has_the_right_sign():
    for reward, obs, expected, velocity, cost, _, _ in beside(
        "metarl/SwimmerVel-v0", {"target_velocity": 0.15}, "Swimmer-v5"
    ):
        assert np.array_equal(obs, expected)
        assert reward == pytest.approx(-abs(velocity[0] - 0.15) - 1e-4 * cost, abs=1e-12)


def test_arm_reach():
    goal = np.array([0.5, -0.1, 0.1])
    env = gymnasium.make_vec("metarl/ArmReach-v0", num_envs=2).unwrapped
    env.set_tasks({"goal": np.tile(goal, (2, 1))})
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.uniform(-1, 1, (2, 7))
        obs, reward, _, _, info = env.step(action)
        distance = np.linalg.norm(obs[:, 14:] - goal, axis=1)
        cost = 0.1 * np.square(2 * action).sum(axis=1)
        np.testing.assert_allclose(reward, -distance - cost)
        assert np.array_equal(info["is_success"], distance < 0.05)
    # the seven-joint arm of Pusher-v5: same links, same motors
    pusher = gymnasium.make("Pusher-v5").unwrapped.model
    assert np.array_equal(env.model.body_mass[1:], pusher.body_mass[1 : env.model.nbody])
    assert np.array_equal(env.model.actuator_ctrlrange, pusher.actuator_ctrlrange)
    assert env.model.nv == 7


def test_arm_targets_are_within_reach():
    env = gymnasium.make_vec("metarl/ArmReach-v0", num_envs=400).unwrapped
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    low, high = env.model.jnt_range.T
    env.qpos[:] = rng.uniform(low, high, env.qpos.shape)
    env.simulations.batch.forward()
    goals = env.task_distribution("train").sample(200, 0)["goal"]
    distance = np.linalg.norm(goals[:, None] - env.tip[None], axis=2).min(axis=1)
    assert np.median(distance) < 0.15  # 400 random poses come close to most targets


def test_arm_reach_with_varying_link_masses():
    env = gymnasium.make_vec("metarl/ArmReach-v0", num_envs=2, variations={"link_mass": {}})
    assert set(env.task_space.spaces) == {"goal", "link_mass_scale"}


class TestPointCorners:
    def make(self, **kwargs):
        env = gymnasium.make_vec("metarl/PointCorners-v0", num_envs=2, **kwargs).unwrapped
        env.set_tasks({"corner": np.array([0, 2])})
        env.reset(seed=0)
        return env

    def test_dense_rewards(self):
        for kind, power in (("dense", 1), ("dense_squared", 2)):
            env = self.make(reward=kind)
            obs, rewards, *_ = env.step(np.array([[0.1, 0.7], [-0.2, 0.0]]))
            goal = np.array([[2.0, 2.0], [-2.0, -2.0]])
            np.testing.assert_allclose(rewards, -(np.linalg.norm(obs - goal, axis=1) ** power))

    def test_sparse_reward_pays_the_gain_near_the_right_corner_only(self):
        env = self.make()
        env.position[:] = [[0.5, 0.5], [0.5, 0.5]]
        _, rewards, *_ = env.step(np.full((2, 2), 0.1))
        gain = np.hypot(1.5, 1.5) - np.hypot(1.4, 1.4)
        np.testing.assert_allclose(rewards, [gain, 0.0], atol=1e-12)
        env.position[:] = 0.0
        assert (env.step(np.full((2, 2), 0.1))[1] == 0).all()  # too close to the origin

    def test_momentum(self):
        env = self.make(momentum=True)
        start = env.position.copy()
        for _ in range(3):
            obs, *_ = env.step(np.full((2, 2), 0.1))
        np.testing.assert_allclose(obs[:, 2:], 0.3)
        np.testing.assert_allclose(obs[:, :2] - start, 0.1 + 0.2 + 0.3)

    def test_bad_arguments(self):
        with pytest.raises(EnvironmentConfigError, match="reward"):
            self.make(reward="none")


def test_bad_arguments():
    with pytest.raises(EnvironmentConfigError, match="directions"):
        gymnasium.make_vec("metarl/AntDir-v0", directions="four")
    with pytest.raises(EnvironmentConfigError, match="goal_radius"):
        gymnasium.make_vec("metarl/AntGoal-v0", goal_radius=-1.0)
    with pytest.raises(EnvironmentConfigError, match="goal_margin"):
        gymnasium.make_vec("metarl/ArmReach-v0", goal_margin=0.0)
