"""Native environments against Gymnasium's v5 classes, to the bit."""

import gymnasium
import mujoco
import numpy as np
import pytest

import metarl_envs  # noqa: F401
from metarl_envs.tasks import batches as task_batches

STEPS, ROW, N = 1000, 1, 3


def run(native, reference, observe, seed=5):
    """Step both with the same random actions; compare state and observation after each step.

    Yields (native reward, x before, x after, action) and resets both where the episode ends.
    """
    rng = np.random.default_rng(0)
    obs, expected = native.reset(seed=seed)[0], reference.reset(seed=seed + ROW)[0]
    assert np.array_equal(obs[ROW], observe(expected))
    for step in range(STEPS):
        action = rng.uniform(-1, 1, (N, *reference.action_space.shape)).astype(np.float32)
        x_before = reference.data.qpos[0]
        obs, reward, terminated, _, _ = native.step(action)
        expected, their_reward, their_end, _, _ = reference.step(action[ROW])
        assert np.array_equal(native.qpos[ROW], reference.data.qpos), step
        assert np.array_equal(native.qvel[ROW], reference.data.qvel), step
        assert np.array_equal(obs[ROW], observe(expected)), step
        assert terminated[ROW] == their_end, step
        yield reward[ROW], their_reward, x_before, reference.data.qpos[0], action[ROW], their_end
        if terminated.any():
            again = seed + step + 1
            native.reset(seed=again)
            reference.reset(seed=again + ROW)


@pytest.mark.parametrize("target", [0.0, 2.5])
def test_half_cheetah_vel(target):
    native = gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=N, max_episode_steps=STEPS)
    native.set_tasks({"target_velocity": np.full(N, target)})
    reference = gymnasium.make("HalfCheetah-v5").unwrapped

    def observe(obs):
        return np.concatenate([obs, reference.get_body_com("torso")])

    for reward, _, before, after, action, _ in run(native, reference, observe):
        velocity = (after - before) / 0.05
        cost = 0.05 * np.square(action.astype(np.float64)).sum()
        assert abs(reward + abs(velocity - target) + cost) < 1e-12


@pytest.mark.parametrize("forward", [0, 1])
def test_half_cheetah_dir(forward):
    native = gymnasium.make_vec(
        "metarl/HalfCheetahDir-v0", num_envs=N, max_episode_steps=STEPS, torso_position=False
    )
    native.set_tasks({"forward": np.full(N, forward)})
    reference = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05).unwrapped
    for reward, theirs, before, after, _, _ in run(native, reference, lambda obs: obs):
        expected = theirs if forward else theirs - 2 * (after - before) / 0.05
        assert abs(reward - expected) < 1e-6  # Gymnasium sums the float32 action's squares


@pytest.mark.parametrize("name", ["Walker2d", "Hopper"])
@pytest.mark.parametrize("timestep", [None, 0.004])
def test_rand_params_robots_at_the_nominal_task(name, timestep):
    native = gymnasium.make_vec(
        f"metarl/{name}RandParams-v0", num_envs=N, timestep=timestep, max_episode_steps=STEPS
    )
    nominal = task_batches.repeat(task_batches.batch_of_one(native.nominal_task), N)
    native.set_tasks(nominal)
    reference = gymnasium.make(f"{name}-v5").unwrapped
    if timestep is not None:
        reference.model.opt.timestep = timestep
    dt = 4 * reference.model.opt.timestep
    ends = 0
    for reward, theirs, before, after, action, ended in run(native, reference, lambda obs: obs):
        cost = 1e-3 * np.square(action.astype(np.float64)).sum()
        assert abs(reward - ((after - before) / dt + 1.0 - cost)) < 1e-12
        # the v5 classes do not pay for health in the last step, the literature does
        assert abs(reward - theirs - float(ended)) < 1e-6
        ends += ended
    assert ends > 3


def test_reacher_goal():
    goal = np.array([0.05, 0.12])
    native = gymnasium.make_vec("metarl/ReacherGoal-v0", num_envs=N, max_episode_steps=STEPS)
    native.set_tasks({"goal": np.tile(goal, (N, 1))})
    reference = gymnasium.make("Reacher-v5").unwrapped
    rng = np.random.default_rng(0)
    native.reset(seed=0)
    reference.reset(seed=0)
    reference.set_state(native.qpos[ROW].copy(), native.qvel[ROW].copy())
    assert np.array_equal(native.qpos[ROW, 2:], goal)
    for step in range(STEPS):
        action = rng.uniform(-1, 1, (N, 2)).astype(np.float32)
        obs, reward, _, _, _ = native.step(action)
        expected, their_reward, _, _, _ = reference.step(action[ROW])
        assert np.array_equal(native.qpos[ROW], reference.data.qpos), step
        assert np.array_equal(obs[ROW, :4], expected[:4])
        assert np.array_equal(obs[ROW, 4:6], expected[6:8])
        assert np.array_equal(obs[ROW, 6:], reference.get_body_com("fingertip")[:2])
        vector = reference.get_body_com("fingertip") - reference.get_body_com("target")
        cost = np.square(action[ROW].astype(np.float64)).sum()
        assert abs(reward[ROW] - (-np.linalg.norm(vector) - cost)) < 1e-12
        assert abs(reward[ROW] - their_reward) < 1e-6


def test_observation_of_the_reacher_hides_the_goal():
    env = gymnasium.make_vec("metarl/ReacherGoal-v0", num_envs=N)
    observations = []
    for goal in ([0.1, 0.1], [-0.1, 0.0]):
        env.set_tasks({"goal": np.tile(goal, (N, 1))})
        observations.append(env.reset(seed=0)[0])
    assert np.array_equal(*observations)


def test_compiled_models_are_gymnasiums():
    env = gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=1).unwrapped
    reference = gymnasium.make("HalfCheetah-v5").unwrapped.model
    assert np.array_equal(env.model.body_mass, reference.body_mass)
    assert env.model.opt.timestep == reference.opt.timestep == 0.01
    assert mujoco.mj_getTotalmass(env.model) == pytest.approx(14.0)
