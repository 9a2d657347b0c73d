"""The quadruped against hand calculations, and at its edges."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import TargetVelocity
from metarl_envs.robots import quadruped_models
from metarl_envs.robots.quadruped_models import QUADRUPEDS
from metarl_envs.robots.quadruped_rewards import DEFAULT_WEIGHTS, TERMS

N = 3


def make(env_id="metarl/Quadruped-v0", num_envs=N, **kwargs):
    return gymnasium.make_vec(env_id, num_envs=num_envs, **kwargs).unwrapped


def tasks_of(env, **values):
    task = {k: np.repeat(np.asarray(v)[None], env.num_envs, 0) for k, v in env.nominal_task.items()}
    return task | {k: np.asarray(v) for k, v in values.items()}


@pytest.mark.parametrize("robot", QUADRUPEDS)
def test_every_robot_stands_still_in_its_stance(robot):
    env = make("metarl/QuadrupedStand-v0", robot=robot)
    env.reset(seed=0)
    standing = env.height.copy()
    for _ in range(100):
        _, rewards, terminated, *_ = env.step(np.zeros((N, 12)))
    assert not terminated.any() and (env.height > 0.7 * standing).all()
    assert (rewards > 0.9 * (2.0 + 0.5 + 1.0)).all()
    assert np.abs(env.qvel).max() < 0.2


def test_motors_are_pd_servos_within_their_torque():
    env = make(robot="go2", frame_skip=1, timestep=0.001)
    env.reset(seed=0)
    model, limit = quadruped_models.QUADRUPEDS["go2"], env.model.actuator_forcerange[:, 1]
    np.testing.assert_array_equal(limit, [23.7, 23.7, 45.43] * 4)  # of the model's own motors
    rng, saturated = np.random.default_rng(0), 0
    for _ in range(60):
        control = rng.uniform(-1, 1, (N, 12))
        q, dq = env.qpos[:, 7:].copy(), env.qvel[:, 6:].copy()
        env.step(control)
        wanted = model.stiffness * (model.joints + control - q) - model.damping * dq
        np.testing.assert_allclose(env.torque_NA, np.clip(wanted, -limit, limit), atol=1e-9)
        saturated += (np.abs(wanted) > limit).sum()
    assert saturated


def test_the_observation_is_what_sensors_of_the_robot_give():
    env = make(command={"forward": [-1, 1], "yaw_rate": [-1, 1]})
    env.reset(seed=0)
    action = np.random.default_rng(0).uniform(-1, 1, (N, 12))
    for _ in range(10):
        obs, *_ = env.step(action)
    # quaternions are (w, x, y, z) here
    trunk = Rotation.from_quat(np.roll(env.qpos[:, 3:7], -1, axis=1)).inv()
    np.testing.assert_allclose(obs[:, :3], trunk.apply([0.0, 0.0, -1.0]), atol=1e-12)
    np.testing.assert_allclose(env.linear_velocity_N3, trunk.apply(env.qvel[:, :3]), atol=1e-12)
    np.testing.assert_allclose(env.up_N3, trunk.apply([0.0, 0.0, 1.0]), atol=1e-12)
    np.testing.assert_array_equal(obs[:, 3:6], env.qvel[:, 3:6])
    np.testing.assert_allclose(obs[:, 6:18], env.qpos[:, 7:] - [0.0, 0.8, -1.6] * 4)
    np.testing.assert_array_equal(obs[:, 18:30], env.qvel[:, 6:])
    np.testing.assert_allclose(obs[:, 30:42], action)
    np.testing.assert_array_equal(obs[:, 42:], env.command_N3)


def test_the_observation_shows_nothing_of_the_task():
    env = make()
    first = env.reset(seed=0)[0]
    env.set_tasks(env.task_distribution("train").sample(N, 0))
    np.testing.assert_array_equal(env.reset(seed=0)[0], first)


def test_on_a_slope_gravity_is_felt_where_it_is():
    env = make(variations={"slope": {}})
    env.set_tasks(tasks_of(env, slope=[-0.2, 0.0, 0.2]))
    obs, _ = env.reset(seed=0)
    np.testing.assert_allclose(obs[:, 0], -np.sin([-0.2, 0.0, 0.2]), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(obs[:, :3], axis=1), 1.0)


def test_terms_of_the_reward_by_hand():
    robot = SimpleNamespace(
        command_N3=np.array([[0.8, 0.0, 0.5]]),
        linear_velocity_N3=np.array([[0.9, 0.1, 0.2]]),
        mean_velocity_N3=np.array([[0.3, 0.1, 0.4]]),
        angular_velocity_N3=np.array([[0.1, 0.2, 0.4]]),
        up_N3=np.array([[0.6, 0.0, 0.8]]),
        joint_acceleration_NA=np.array([[10.0, 20.0]]),
        torque_NA=np.array([[3.0, -4.0]]),
        action_change_NA=np.array([[0.1, -0.2]]),
        foot_speed_N4=np.array([[1.0, 2.0, 3.0, 0.5]]),
        foot_contact_N4=np.array([[True, False, False, True]]),
    )
    found = {name: float(term(robot)[0]) for name, term in TERMS.items()}
    assert found == pytest.approx(
        {
            "velocity_tracking": np.exp(-(0.5**2 + 0.1**2) / 0.25),
            "yaw_tracking": np.exp(-(0.1**2) / 0.25),
            "progress": 0.3 / 0.8,
            "vertical_velocity": 0.04,
            "roll_pitch_rate": 0.05,
            "orientation": 0.36,
            "torque": 25.0,
            "joint_acceleration": 500.0,
            "action_rate": 0.05,
            "foot_slip": 1.25,
        }
    )


def test_the_reward_is_the_weighted_sum_and_never_negative():
    env = make(command={"forward": 0.5})
    env.reset(seed=0)
    rng, zeros = np.random.default_rng(0), 0
    for step in range(40):
        _, rewards, *_ = env.step(rng.uniform(-1, 1, (N, 12)) * step / 40)
        total = sum(weight * TERMS[name](env) for name, weight in DEFAULT_WEIGHTS.items())
        np.testing.assert_allclose(rewards, np.maximum(total, 0.0))
        zeros += (total < 0).sum()
    assert zeros
    silent = make(reward_weights=dict.fromkeys(TERMS, 0.0))
    silent.reset(seed=0)
    assert not silent.step(np.ones((N, 12)))[1].any()


@pytest.mark.parametrize(
    "pose",
    [{2: 0.1}, {3: 0.0, 4: 1.0}, {3: np.cos(0.6), 5: np.sin(0.6)}],
    ids=["lies", "on its back", "69 degrees"],
)
def test_a_fall_ends_the_episode(pose):
    env = make()
    env.reset(seed=0)
    env.qpos[1, list(pose)] = list(pose.values())
    *_, terminated, _, _ = env.step(np.zeros((N, 12)))
    assert terminated.tolist() == [False, True, False]


def test_commands_are_drawn_in_their_ranges_and_again_after_their_time():
    ranges = {"forward": [0.2, 1.0], "sideways": 0.3, "yaw_rate": [-0.5, 0.5]}
    env = make(num_envs=50, command=ranges, command_steps=4)
    seen = [env.reset(seed=0)[0][:, 42:]]
    for _ in range(9):
        seen.append(env.step(np.zeros((50, 12)))[0][:, 42:])
    commands = np.stack(seen)
    changes = (commands[1:] != commands[:-1]).any(axis=(1, 2))
    assert np.flatnonzero(changes).tolist() == [3, 7]
    assert (commands[..., 1] == 0.3).all()
    assert 0.2 <= commands[..., 0].min() < 0.3 and 0.9 < commands[..., 0].max() <= 1.0
    assert (np.abs(commands[..., 2]) <= 0.5).all()


def test_a_robot_that_has_fallen_draws_no_command():
    """Its next episode does not depend on how long the others go on."""
    resets = []
    for waits in (1, 9):
        env = make(command_steps=2)
        env.reset(seed=0)
        for _ in range(2):
            env.qpos[0, 2] = 0.1
            env.step(np.zeros((N, 12)))
        for _ in range(waits):
            env.step(np.zeros((N, 12)))
        resets.append(env.reset(options={"reset_mask": np.array([True, False, False])})[0][0])
    np.testing.assert_array_equal(*resets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"robot": "go3"}, "unknown robot 'go3' .did you mean 'go2'.*; allowed: go1, go2"),
        ({"command": {"foward": 1.0}}, "unknown command 'foward' .did you mean 'forward'"),
        ({"command": {"forward": [1.0, 0.0]}}, r"number or \[low, high\] within"),
        ({"command": {"forward": 99.0}}, r"number or \[low, high\] within"),
        ({"command": {"forward": float("nan")}}, r"number or \[low, high\] within"),
        ({"command": {"forward": []}}, r"number or \[low, high\] within"),
        ({"command": {"forward": "fast"}}, r"number or \[low, high\] within"),
        ({"command": [0.5]}, "command must be a mapping"),
        ({"command_steps": 0}, "command_steps must be a positive whole number"),
        ({"command_steps": 2.5}, "command_steps must be a positive whole number"),
        ({"robot": None}, "unknown robot None"),
        ({"reward_weights": {"torque": float("nan")}}, "weight of 'torque' must be a number"),
        ({"reward_weights": ["torque"]}, "reward_weights must be a mapping"),
        ({"env_id": "metarl/QuadrupedStand-v0", "command": {}}, "QuadrupedStand takes no command"),
        ({"reward_weights": {"torqe": 1.0}}, "unknown reward term 'torqe' .did you mean 'torque'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message):
    with pytest.raises(EnvironmentConfigError, match=message):
        make(**arguments)


def test_without_the_models_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(quadruped_models, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentConfigError, match=r"pip install .metarl-robotics\[quadrupeds\]"):
        make()


def test_another_goal_is_not_cut_off_at_zero():
    env = make(goal=TargetVelocity((0.0, 1.0)), variations={})
    env.set_tasks(tasks_of(env, target_velocity=np.full(N, 1.0)))
    env.reset(seed=0)
    rewards = env.step(np.zeros((N, 12)))[1]
    assert (rewards < -0.5).all()


def test_a_weak_motor_is_weak_at_its_limit_too():
    env = make(robot="aliengo", variations={"actuator_strength": {}}, frame_skip=1)
    torques = []
    for strength in (1.0, 0.5):
        env.set_tasks(tasks_of(env, actuator_strength=np.full((N, 12), strength)))
        env.reset(seed=0)
        env.step(np.ones((N, 12)))
        torques.append(env.torque_NA.copy())
    limits = env.model.actuator_forcerange[:, 1]
    assert (np.abs(torques[0]) == limits).any()
    np.testing.assert_allclose(torques[1], 0.5 * torques[0])


def test_the_tracking_error_is_that_under_the_command_of_the_step():
    env = make(command={"forward": (-1.0, 1.0)}, command_steps=3)
    env.reset(seed=0)
    differs = False
    for _ in range(9):
        command = env.command_N3.copy()
        *_, info = env.step(np.zeros((N, 12)))
        error = np.linalg.norm(env.mean_velocity_N3[:, :2] - command[:, :2], axis=1)
        np.testing.assert_allclose(info["tracking_error"], error)
        differs |= not np.array_equal(env.command_N3, command)
    assert differs
