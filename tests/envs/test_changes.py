"""Variations that come into force in mid-episode, payloads off the centre, stuck joints, pushes."""

import gymnasium
import numpy as np
import pytest
from mujoco.batch import Batch

from metarl_envs.engine.model import load_model
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.observed_task import ObservedTask
from metarl_envs.parts.variations import VARIATIONS
from metarl_envs.parts.variations.payload import Payload
from metarl_envs.robots.quadruped_models import quadruped_file, quadruped_model

N, STEPS, AT = 4, 12, 5
CHEETAH, QUADRUPED = "metarl/HalfCheetahVel-v0", "metarl/Quadruped-v0"


def make(env_id, variations, num_envs=N, **kwargs):
    return gymnasium.make_vec(env_id, num_envs=num_envs, variations=variations, **kwargs).unwrapped


def actions_of(env, steps=STEPS):
    size = (steps, env.num_envs, *env.single_action_space.shape)
    return np.random.default_rng(0).uniform(-1, 1, size)


def run(env, actions, seed=0):
    return np.stack([env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)])


def set_all(env, **values):
    task = {k: np.repeat(np.asarray(v)[None], env.num_envs, 0) for k, v in env.nominal_task.items()}
    changed = {k: np.repeat(np.asarray(v)[None], env.num_envs, 0) for k, v in values.items()}
    env.set_tasks(task | changed)


def extreme(name):
    """Values of a variation that are felt at once."""
    return {
        "link_mass": {"link_mass_scale": np.full(7, 2.0)},
        "payload": {"payload_mass": 3.0},
        "joint_damping": {"joint_damping_scale": 3.0},
        "friction": {"friction_scale": 0.3},
        "gravity": {"gravity_scale": 1.5},
        "slope": {"slope": 0.2},
        "actuator_strength": {"actuator_strength": np.full(6, 0.4)},
        "dead_actuators": {"actuator_alive": np.array([1, 1, 0, 1, 1, 1.0])},
        "stuck_actuators": {"actuator_free": np.array([1, 1, 0, 1, 1, 1.0])},
        "action_delay": {"action_delay": 1},
        "observation_noise": {"observation_noise_std": 0.1},
        "pushes": {"push_force": 50.0},
    }[name]


@pytest.mark.parametrize("name", list(VARIATIONS))
def test_a_change_acts_at_its_step_and_is_gone_with_the_next_episode(name):
    own = {"every": 3, "duration": 2} if name == "pushes" else {}
    changing = make(CHEETAH, {name: {**own, "at": AT}})
    never = make(CHEETAH, {name: {**own, "at": 10**6}})
    actions = actions_of(changing)
    for env in (changing, never):
        set_all(env, **extreme(name))
    before, plain = run(changing, actions), run(never, actions)
    late = {"friction": 4, "pushes": 2}.get(name, 0)  # until it touches the ground, or is pushed
    seen = AT + (name != "observation_noise")  # an action is chosen on what is noisy already
    np.testing.assert_array_equal(before[:seen], plain[:seen])
    assert not np.array_equal(before[AT + 1 + late], plain[AT + 1 + late])
    np.testing.assert_array_equal(run(changing, actions), before)


def test_a_plain_model_before_the_change_and_the_tasks_own_after_it():
    env, whole = (make(CHEETAH, {"payload": {**at}}) for at in ({"at": AT}, {}))
    plain = make(CHEETAH, {"link_mass": {}})
    actions = actions_of(env)
    set_all(env, payload_mass=2.0)
    set_all(whole, payload_mass=2.0)
    np.testing.assert_array_equal(run(env, actions)[: AT + 1], run(plain, actions)[: AT + 1])
    changed, own = env.simulations.batch.get_model(0), whole.simulations
    whole.reset(seed=0)
    np.testing.assert_array_equal(changed.body_mass, own.batch.get_model(0).body_mass)
    np.testing.assert_array_equal(changed.dof_invweight0, own.batch.get_model(0).dof_invweight0)


def test_every_episode_draws_its_step_and_ended_ones_draw_nothing():
    env = make(CHEETAH, {"payload": {"at": [2, 8]}}, num_envs=40)
    set_all(env, payload_mass=3.0)
    observed = ObservedTask(env)
    rows = run(observed, actions_of(env))
    carried = rows[..., -2] if rows[..., -1].std() == 0 else rows[..., -1]
    first = (carried > 0).argmax(axis=0)  # observed before the first action that meets it
    assert set(first.tolist()) <= set(range(2, 9)) and len(set(first.tolist())) > 4
    assert ((carried == 0) | (carried == 3.0)).all()


@pytest.mark.parametrize("at", [-1, [3], [5, 2], 1.5, True, "late", 10**20, [0, 10**20]])
def test_a_bad_step_is_refused(at):
    with pytest.raises(EnvironmentConfigError, match="at must be a step or"):
        make(CHEETAH, {"payload": {"at": at}})


@pytest.mark.parametrize("env_id", ["metarl/Hopper-v0", QUADRUPED])
def test_a_payload_off_the_centre_is_a_ball_welded_on(env_id):
    """Against a model compiled with one."""
    mass, position = 2.5, np.array([0.1, 0.05, 0.12])
    env = make(env_id, {"payload": {"position": [[-0.2, -0.1, 0.0], [0.2, 0.1, 0.2]]}}, 1)
    set_all(env, payload_mass=mass, payload_position=position)
    env.reset(seed=0)
    qpos, qvel = env.qpos[0].copy(), env.qvel[0].copy()

    def weld(spec):
        if env_id == QUADRUPED:
            quadruped_model("go1").edit(spec)
        ball = spec.worldbody.first_body().add_body(pos=position)
        ball.explicitinertial, ball.mass, ball.ipos = True, mass, [0, 0, 0]
        ball.inertia = np.full(3, 0.4 * mass * 0.05**2)

    file = quadruped_file("go1") if env_id == QUADRUPED else "hopper.xml"
    model = load_model(str(file), env.model.opt.timestep, weld)
    other = Batch(model, 1, 1)
    other.reset(np.arange(1))
    other.bind("qpos")[0], other.bind("qvel")[0] = qpos, qvel
    other.forward(np.arange(1))
    for action in actions_of(env, 10):
        env.step(action)
        other.bind("ctrl")[0] = action
        other.step(None, nstep=env.frame_skip)
    np.testing.assert_allclose(env.qpos[0], other.bind("qpos")[0], atol=1e-9)
    np.testing.assert_allclose(env.qvel[0], other.bind("qvel")[0], atol=1e-7)


def test_a_payload_of_nothing_leaves_the_model_as_it_is():
    env = make(QUADRUPED, {"payload": {"position": [[-0.2, -0.1, 0.0], [0.2, 0.1, 0.2]]}})
    set_all(env)
    env.reset(seed=0)
    np.testing.assert_array_equal(
        env.simulations.batch.get_model(0).body_iquat, env.model.body_iquat
    )


def test_two_parts_of_one_key_are_refused():
    with pytest.raises(EnvironmentConfigError, match="two parts vary the same task key"):
        make(CHEETAH, {"payload": {}}, parts=[Payload()])


@pytest.mark.parametrize("env_id", [CHEETAH, QUADRUPED])
def test_a_stuck_joint_stays_where_it_was_and_the_others_move(env_id):
    env = make(env_id, {"stuck_actuators": {"at": 3}})
    free = np.ones(env.model.nu)
    free[1] = 0.0
    set_all(env, actuator_free=free)
    env.reset(seed=0)
    angles = []
    for action in actions_of(env, 30):
        env.step(action)
        angles.append(env.qpos[:, -env.model.nu :].copy())
    moved = np.ptp(np.stack(angles)[8:], axis=0)  # a tenth of a second after it got stuck
    assert moved[:, 1].max() < 0.06 and np.delete(moved, 1, axis=1).min() > 0.05


def test_pushes_move_what_they_push_for_as_long_as_they_last():
    env = make(CHEETAH, {"pushes": {"every": 4, "duration": 2}})
    set_all(env, push_force=30.0)
    env.reset(seed=0)
    forces = []
    for _ in range(12):
        env.step(np.zeros((N, 6)))
        forces.append(env.simulations.bind("xfrc_applied")[:, 1, :3].copy())
    sizes = np.linalg.norm(forces, axis=-1)
    pushed = np.arange(12) % 4 < 2
    pushed[:4] = False
    np.testing.assert_allclose(sizes, np.where(pushed, 30.0, 0.0)[:, None] * np.ones(N))
    assert len(np.unique(np.round(np.stack(forces)[[4, 8]], 6), axis=0)) == 2
    env.reset(seed=0)
    assert not env.simulations.bind("xfrc_applied").any()


def test_from_the_first_step_is_as_without():
    first, whole = (make(CHEETAH, {"friction": at}) for at in ({"at": 0}, {}))
    actions = actions_of(first)
    for env in (first, whole):
        set_all(env, friction_scale=0.4)
    np.testing.assert_array_equal(run(first, actions), run(whole, actions))


def test_a_new_task_waits_for_the_next_episode_also_where_something_changes():
    env = make(CHEETAH, {"payload": {"at": 3}, "friction": {}})
    set_all(env, payload_mass=1.0)
    env.reset(seed=0)
    set_all(env, payload_mass=2.0, friction_scale=0.5)
    for action in actions_of(env, 5):
        env.step(action)
    model = env.simulations.batch.get_model(0)
    assert model.body_mass[1] == env.model.body_mass[1] + 1.0
    np.testing.assert_array_equal(model.geom_friction, env.model.geom_friction)
    assert (env.tasks_in_force["payload_mass"] == 1.0).all()


def test_noise_of_a_robot_does_not_depend_on_who_is_reset_or_goes_on_beside_it():
    """Around a step at which new noise is drawn."""
    found = []
    for beside in (False, True):
        env = make(CHEETAH, {"observation_noise": {}}, max_episode_steps=300)
        set_all(env, observation_noise_std=0.1)
        env.reset(seed=0)
        actions, rows = actions_of(env, 140), []
        for step, action in enumerate(actions):
            rows.append(env.step(action)[0][0])
            if beside and step == 127:
                rows[-1] = env.reset(options={"reset_mask": np.arange(N) == 1})[0][0]
        rows.append(env.reset(options={"reset_mask": np.arange(N) == 0})[0][0])
        found.append(np.stack(rows))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        ({"payload": {"radius": float("nan")}}, "payload radius must be in"),
        ({"payload": {"body": "world"}}, "the world carries no payload"),
        ({"payload": {"position": "abc"}}, "payload position must be"),
        ({"payload": {"position": [[0, 0, 0], [1, 1]]}}, "payload position must be"),
        ({"dead_actuators": {"groups": [0, 1]}}, "groups must hold actuator indices"),
        ({"dead_actuators": {"groups": [[0.5], [1]]}}, "groups must hold actuator indices"),
        ({"dead_actuators": {"sound": 0.999999}}, "sound must be a share up to 0.99"),
        ({"dead_actuators": {"left": []}}, r"left must list shares of force below 1, got \[\]"),
        ({"dead_actuators": {"left": [0.5, 1.0]}}, "left must list shares of force below 1"),
        ({"dead_actuators": {"left": 0.5}}, "left must list shares of force below 1, got 0.5"),
        ({"action_delay": 3}, "'action_delay' takes a mapping of arguments, or false, got 3"),
        ({"action_delay": {"sound": -0.1}}, "sound must be a share up to 0.99"),
        ({"stuck_actuators": {"friction": float("inf")}}, "friction must be positive and at most"),
        ({"pushes": {"duration": 1.5}}, "duration must be a positive whole number"),
        ({"pushes": {"every": 2, "duration": 3}}, "a push must last between"),
        ({"action_delay": {"max_steps": 1.5}}, "max_steps >= 1"),
    ],
)
def test_bad_numbers_are_one_sentence(variations, message):
    with pytest.raises(EnvironmentConfigError, match=message):
        make(CHEETAH, variations)


def test_no_mask_is_all_of_them():
    env = make(CHEETAH, {"payload": {"at": 2}})
    first = env.reset(seed=0)[0]
    env.step(np.ones((N, 6)))
    env.reset(seed=1, options={"reset_mask": None})
    assert (env.elapsed_steps == 0).all()
    np.testing.assert_array_equal(env.reset(seed=0, options={"reset_mask": None})[0], first)
