import gymnasium
import mujoco
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError, TaskError
from metarl_envs.parts.variations import VARIATIONS
from metarl_envs.tasks import batches as task_batches

N = 3
ROBOTS = ["HalfCheetahVel", "AntDir", "Walker2d", "ReacherGoal"]


def make(robot, variations, num_envs=N, **kwargs):
    return gymnasium.make_vec(
        f"metarl/{robot}-v0", num_envs=num_envs, variations=variations, **kwargs
    ).unwrapped


def actions_of(env, steps=10):
    rng = np.random.default_rng(0)
    space = env.single_action_space
    return rng.uniform(space.low, space.high, (steps, env.num_envs, *space.shape))


def run(env, actions, seed=0):
    return [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("name", list(VARIATIONS))
class TestEveryVariationOnEveryRobot:
    def test_changes_something_and_the_nominal_value_nothing(self, robot, name):
        soon = {"every": 3, "duration": 2} if name == "pushes" else {}
        env, plain = make(robot, {name: soon}), make(robot, {"link_mass": {}})
        actions = actions_of(env)
        task = {k: np.asarray(v)[None] for k, v in env.nominal_task.items()}
        env.set_tasks(task_batches.repeat(task, N))
        nominal = run(env, actions)
        assert np.array_equal(nominal, run(plain, actions))
        for split in ("test", "train"):
            sampled = env.task_distribution(split).sample(N, 3)
            keys = set(make_keys(name)) & set(sampled)
            env.set_tasks(task_batches.repeat(task, N) | {k: sampled[k] for k in keys})
            changed = run(env, actions)
            # training delays include zero; a planar arm that touches nothing feels no weight
            unfelt = robot == "ReacherGoal" and name in ("friction", "gravity")
            if split == "test" and not unfelt:
                assert not np.array_equal(nominal, changed)

    def test_splits_are_disjoint(self, robot, name):
        env = make(robot, {name: {}})
        for split in env.task_splits:
            tasks = env.task_distribution(split).sample(50, 0)
            task_batches.check_tasks(env.task_space, tasks, 50)
            for other in env.task_splits:
                inside = env.task_distribution(other).contains(tasks)
                assert inside.all() if other == split else not inside.any()

    def test_reset_to_nominal_restores_the_model(self, robot, name):
        env = make(robot, {name: {}})
        env.set_tasks(env.task_distribution("train").sample(N, 0))
        env.reset(seed=0)
        task = {k: np.asarray(v)[None] for k, v in env.nominal_task.items()}
        env.set_tasks(task_batches.repeat(task, N))
        env.reset(seed=0)
        model = env.simulations.batch.get_model(1)
        for field in dir(env.model):
            value = getattr(env.model, field)
            if isinstance(value, np.ndarray):
                assert np.array_equal(value, getattr(model, field)), field
        assert np.array_equal(model.opt.gravity, env.model.opt.gravity)


def make_keys(name):
    return {
        "link_mass": ["link_mass_scale"],
        "payload": ["payload_mass"],
        "joint_damping": ["joint_damping_scale"],
        "friction": ["friction_scale"],
        "gravity": ["gravity_scale"],
        "slope": ["slope"],
        "actuator_strength": ["actuator_strength"],
        "dead_actuators": ["actuator_alive"],
        "stuck_actuators": ["actuator_free"],
        "pushes": ["push_force"],
        "action_delay": ["action_delay"],
        "observation_noise": ["observation_noise_std"],
    }[name]


def with_task(env, **values):
    task = {k: np.repeat(np.asarray(v)[None], env.num_envs, 0) for k, v in env.nominal_task.items()}
    env.set_tasks(task | {k: np.repeat(np.asarray(v)[None], N, 0) for k, v in values.items()})
    env.reset(seed=0)
    return env.simulations.batch.get_model(0)


def test_goal_and_payload_in_one_task():
    env = make("HalfCheetahVel", {"payload": {"body": "torso", "max_mass": 2.0}})
    model = with_task(env, target_velocity=2.0, payload_mass=1.0)
    torso = mujoco.mj_name2id(env.model, mujoco.mjtObj.mjOBJ_BODY, "torso")
    difference = model.body_mass - env.model.body_mass
    assert difference[torso] == pytest.approx(1.0) and np.count_nonzero(difference) == 1
    inertia = model.body_inertia[torso] - env.model.body_inertia[torso]
    np.testing.assert_allclose(inertia, 0.4 * 0.05**2)
    assert model.body_subtreemass[0] == pytest.approx(15.0)


def test_link_mass_and_payload_combine():
    env = make("HalfCheetahVel", {"link_mass": {"bodies": ["torso"]}, "payload": {}})
    model = with_task(env, link_mass_scale=[1.5], payload_mass=1.0)
    assert model.body_mass[1] == pytest.approx(1.5 * env.model.body_mass[1] + 1.0)


def test_link_mass_scales_inertia_too():
    env = make("Walker2d", {"link_mass": {"bodies": ["leg", "foot"]}})
    model = with_task(env, link_mass_scale=[2.0, 0.5])
    ratio = model.body_inertia[1:] / env.model.body_inertia[1:]
    assert sorted(set(np.round(ratio.mean(axis=1), 9))) == [0.5, 1.0, 2.0]


def test_slope_tilts_gravity_without_changing_it():
    env = make("HalfCheetahVel", {"slope": {}})
    gravity = with_task(env, slope=0.1).opt.gravity
    np.testing.assert_allclose(gravity, 9.81 * np.array([-np.sin(0.1), 0.0, -np.cos(0.1)]))


def test_dead_actuator_does_nothing():
    env = make("HalfCheetahVel", {"dead_actuators": {"held_out": [5]}})
    actions = actions_of(env)
    with_task(env, actuator_alive=[1, 1, 0, 1, 1, 1])
    first = run(env, actions)
    actions[:, :, 2] = 1.0
    assert np.array_equal(first, run(env, actions))
    actions[:, :, 1] = 1.0
    assert not np.array_equal(first, run(env, actions))


def test_crippled_legs_of_the_ant():
    legs = [[2, 3], [4, 5], [6, 7], [0, 1]]
    env = make("AntDir", {"dead_actuators": {"groups": legs, "held_out": [3]}})
    train = env.task_distribution("train").sample(20, 0)["actuator_alive"]
    test = env.task_distribution("test").sample(20, 0)["actuator_alive"]
    assert (train[:, :2] == 1).all() and (test[:, :2] == 0).all() and (test[:, 2:] == 1).all()


def test_delayed_actions_arrive_late():
    env, plain = make("HalfCheetahVel", {"action_delay": {}}), make("HalfCheetahVel", {})
    actions = actions_of(env, 8)
    with_task(env, action_delay=2)
    late = run(env, actions)
    shifted = np.concatenate([np.zeros_like(actions[:2]), actions[:-2]])
    assert np.array_equal(late, run(plain, shifted))
    assert np.array_equal(late, run(env, actions))  # nothing is left over from the last episode


@pytest.mark.parametrize(("sound", "share"), [(0.0, 1 / 3), (0.6, 0.6), (0.75, 0.75)])
def test_some_robots_act_in_time(sound, share):
    env = make("HalfCheetahVel", {"action_delay": {"max_steps": 4, "sound": sound}})
    train = env.task_distribution("train").sample(3000, 0)["action_delay"]
    assert np.mean(train == 0) == pytest.approx(share, abs=0.03)
    assert np.mean(train == 2) == pytest.approx((1 - share) / 2, abs=0.03)
    test = env.task_distribution("test").sample(300, 0)["action_delay"]
    assert set(test.tolist()) == {1, 3}


def test_observation_noise_has_its_standard_deviation_and_moves_nothing():
    env, plain = make("HalfCheetahVel", {"observation_noise": {}}), make("HalfCheetahVel", {})
    actions = actions_of(env, 300)
    env.max_episode_steps = plain.max_episode_steps = 300
    with_task(env, observation_noise_std=0.05)
    noise = np.stack(run(env, actions)) - np.stack(run(plain, actions))
    assert noise.std() == pytest.approx(0.05, rel=0.05) and abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.05
    again = np.stack(run(env, actions)) - np.stack(run(plain, actions))
    assert np.array_equal(noise, again)


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        ({"paylod": {}}, "unknown variation 'paylod' .did you mean 'payload'"),
        ({"payload": {"mass": 1.0}}, "variation 'payload'"),
        ({"payload": {"body": "torzo"}}, "no body 'torzo' .did you mean 'torso'"),
        ({"link_mass": {"low": 2.0, "high": 1.0}}, "must be positive and increase"),
        ({"slope": {"max_angle": 3.0}}, "must increase within"),
        ({"action_delay": {"max_steps": 0}}, "max_steps >= 1"),
        ({"dead_actuators": {"held_out": [9]}}, "held_out some but not all"),
    ],
)
def test_bad_variations(variations, message):
    with pytest.raises(EnvironmentConfigError, match=message):
        make("HalfCheetahVel", variations)


def test_value_outside_the_space():
    env = make("HalfCheetahVel", {"payload": {}})
    with pytest.raises(TaskError, match="payload_mass"):
        with_task(env, payload_mass=-1.0)


def test_nothing_held_out_breaks_all_in_training_and_in_the_test():
    env = make("HalfCheetahVel", {"dead_actuators": {"held_out": [], "sound": 0.25}, "payload": {}})
    drawn = {
        split: env.task_distribution(split).sample(400, 0)["actuator_alive"]
        for split in ("train", "test")
    }
    assert len(np.unique(drawn["test"], axis=0)) == 6 and (drawn["test"].sum(1) == 5).all()
    assert len(np.unique(drawn["train"], axis=0)) == 7
    assert 0.15 < (drawn["train"].sum(1) == 6).mean() < 0.35


def test_false_is_no_variation():
    env = make("HalfCheetahVel", {"payload": False, "friction": {}})
    assert set(env.task_space) == {"target_velocity", "friction_scale"}


def test_what_is_dead_at_test_may_be_weak_in_training():
    dead = {"held_out": [1], "left": [0.0, 0.25], "sound": 0.5}
    env = make("HalfCheetahVel", {"dead_actuators": dead})
    drawn = env.task_distribution("train").sample(2000, 0)["actuator_alive"]
    assert drawn[:, 1].min() == 1.0 and set(np.unique(drawn)) == {0.0, 0.25, 1.0}
    for share, often in ((0.0, 0.25), (0.25, 0.25), (1.0, 0.5)):
        assert (drawn.min(axis=1) == share).mean() == pytest.approx(often, abs=0.04)
    tested = env.task_distribution("test").sample(10, 0)["actuator_alive"]
    np.testing.assert_array_equal(tested, np.tile([1.0, 0.0, 1.0, 1.0, 1.0, 1.0], (10, 1)))
