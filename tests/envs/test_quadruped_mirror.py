"""The mirror image of a quadruped, against the physics of a mirrored robot."""

import gymnasium
import mujoco
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.mirror import mirror_of
from metarl_envs.observed_task import ObservedTask
from metarl_envs.parts.goals import KeylessGoal
from metarl_envs.robots.quadruped_mirror import JOINTS, ROTATION, VECTOR
from metarl_envs.tasks.batches import from_rows, rows_of

VARIED = {
    "payload": {"max_mass": 4.0, "position": [[-0.1, -0.1, 0.05], [0.1, 0.1, 0.1]]},
    "friction": {"low": 0.5, "high": 2.0},
    "actuator_strength": {"low": 0.4},
    "dead_actuators": {"held_out": []},
    "action_delay": {"max_steps": 2},
}


SIDES = {"FL": "FR", "FR": "FL", "RL": "RR", "RR": "RL"}


def image_of_the_first(env):
    """The second robot becomes the mirror image of the first."""
    qpos, qvel = env.qpos, env.qvel
    qpos[1, :3] = VECTOR.of(qpos[0, :3])
    qpos[1, 3:7] = qpos[0, 3:7] * [1.0, -1.0, 1.0, -1.0]
    qpos[1, 7:] = JOINTS.of(qpos[0, 7:])
    qvel[1] = np.concatenate([f.of(v) for f, v in parts(qvel[0])])
    env.command_N3[1] = env.command_N3[0] * [1.0, -1.0, -1.0]
    # models are not quite symmetric: trunks' centres and some joints' friction are off
    model, simulations = env.model, env.simulations
    names = [model.body(body).name for body in range(model.nbody)]
    other = [names.index(SIDES.get(name[:2], name[:2]) + name[2:]) for name in names]
    signs = {"mass": 1.0, "inertia": 1.0, "ipos": [1, -1, 1], "iquat": [1, -1, 1, -1]}
    for name, sign in signs.items():
        field = simulations.field(f"body_{name}")
        field[1] = field[0][other] * sign
    simulations.field("body_sameframe")[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    for name in ("damping", "armature", "frictionloss"):
        field = simulations.field(f"dof_{name}")
        field[1, 6:] = field[0, 6:][JOINTS.source]
    simulations.derive(np.array([1]))


def parts(velocities):
    return (
        (VECTOR, velocities[:3]),
        (ROTATION, velocities[3:6]),
        (JOINTS, velocities[6:]),
    )


@pytest.mark.parametrize("robot", ["go1", "go2", "aliengo"])  # mini_cheetah has the same shins left
def test_a_mirrored_robot_does_what_mirrors_show(robot):
    env = gymnasium.make_vec(
        "metarl/Quadruped-v0", num_envs=2, robot=robot, variations=VARIED
    ).unwrapped
    mirror, rng = env.mirror, np.random.default_rng(0)
    first = rows_of(env.task_distribution("train").sample(1, 4))
    env.set_tasks(from_rows(env.task_space, np.concatenate([first, mirror.task.of(first)])))
    env.reset(seed=0)
    image_of_the_first(env)
    worst = 0.0
    for step in range(10):
        action = rng.uniform(-0.5, 0.5, 12)
        obs, rewards, *_ = env.step(np.stack([action, mirror.action.of(action)]))
        worst = max(worst, np.abs(mirror.obs.of(obs[0]) - obs[1]).max())
        if step:  # the first one counts where the feet were at reset
            worst = max(worst, abs(rewards[0] - rewards[1]))
    assert worst < 1e-9
    assert np.abs(mirror.obs.of(obs[0]) - obs[0]).max() > 0.1


def make(**kwargs):
    return gymnasium.make_vec("metarl/Quadruped-v0", num_envs=1, **kwargs).unwrapped


def test_an_image_of_an_image_is_the_original():
    for one in make(variations=VARIED).mirror:
        numbers = np.random.default_rng(0).normal(size=(3, len(one.source)))
        np.testing.assert_array_equal(one.of(one.of(numbers)), numbers)


def test_the_image_of_an_observed_task_is_that_of_the_task():
    env = make(variations={"dead_actuators": {"held_out": [], "at": 5}, "slope": {}})
    told = ObservedTask(env)
    task = rows_of(env.task_distribution("train").sample(1, 1))
    seen = np.concatenate([np.arange(45.0)[None], task], axis=1)
    image = told.mirror.obs.of(seen)
    np.testing.assert_array_equal(image[:, :45], env.mirror.obs.of(seen[:, :45]))
    np.testing.assert_array_equal(image[:, 45:], env.mirror.task.of(task))
    dead = int(np.argmin(task[0, :12]))
    assert np.argmin(image[0, 45:57]) == dead + (3 if dead // 3 % 2 == 0 else -3)


class ToTheLeft(KeylessGoal):
    """Its image is another goal, and it says nothing of it."""

    needs = ("planar_velocity",)

    def reward(self, robot):
        return robot.planar_velocity[:, 1]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"variations": {"observation_noise": {}}}, "observation_noise_std"),
        ({"variations": {"link_mass": {}}}, "link_mass_scale"),
        ({"variations": {"payload": {"body": "FL_thigh"}}}, "payload_mass"),
        ({"goal": ToTheLeft(), "variations": {"friction": {}}}, "ToTheLeft"),
    ],
)
def test_what_has_no_image_is_named(arguments, what):
    for env in (make(**arguments), ObservedTask(make(**arguments))):
        with pytest.raises(EnvironmentConfigError, match=f"^{what} has no mirror image; friction"):
            _ = env.mirror


def test_other_robots_do_not_say():
    env = gymnasium.make_vec("metarl/Ant-v0", num_envs=1).unwrapped
    for one in (env, ObservedTask(env)):
        with pytest.raises(EnvironmentConfigError, match="does not say how left and right"):
            mirror_of(one)
