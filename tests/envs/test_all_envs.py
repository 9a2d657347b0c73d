"""Properties that every registered environment has. A new environment adds no test code."""

import itertools
import json

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as stable_baselines3_check

import metarl_envs
from metarl_envs.observed_task import ObservedTask
from metarl_envs.robots.base import MujocoTaskEnv
from metarl_envs.tasks import batches as task_batches

# Observations as the literature defines them: a planar robot's sideways position, contact forces
# (of bodies that touch nothing), the world body's inertia and velocity, the root's actuator forces
CONSTANT = {
    "metarl/HalfCheetah-v0": [18],
    "metarl/HalfCheetahVel-v0": [18],
    "metarl/HalfCheetahDir-v0": [18],
    "metarl/AntGoal-v0": list(range(29, 113)),
    "metarl/HumanoidDir-v0": [
        *range(45, 55),
        *range(185, 191),
        *range(269, 275),
        *range(292, 376),
    ],
    "metarl/QuadrupedStand-v0": [42, 43, 44],  # its command
}
N, STEPS = 4, 15
IDS = list(metarl_envs.ENVIRONMENTS)
SPLITS = ("train", "validation", "test", "gap", "extrapolation")


@pytest.fixture(params=IDS)
def env_id(request):
    return request.param


def make(env_id, num_envs=N, **kwargs):
    return gymnasium.make_vec(env_id, num_envs=num_envs, **kwargs).unwrapped


def actions_of(env, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    space = env.single_action_space
    size = (steps, env.num_envs, *space.shape)
    return rng.uniform(space.low, space.high, size).astype(np.float32)


def episode(env, actions, seed):
    """Observations, rewards and flags of one episode, from the reset on."""
    records = [env.reset(seed=seed)[0]]
    for action in actions:
        records.extend(np.asarray(part) for part in env.step(action)[:4])
    return records


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_seed_same_episode_to_the_bit(env_id):
    env, again = make(env_id), make(env_id)
    tasks = env.task_distribution("train").sample(N, 0)
    for one in (env, again):
        one.set_tasks(tasks)
    actions = actions_of(env)
    assert equal(episode(env, actions, 3), episode(again, actions, 3))
    assert equal(episode(env, actions, 3), episode(env, actions, 3))


def test_physics_threads_change_nothing(env_id):
    if not isinstance(make(env_id), MujocoTaskEnv):
        assert "num_threads" not in make(env_id).__init__.__annotations__
        return
    actions = actions_of(make(env_id))
    one, two = make(env_id, num_threads=1), make(env_id, num_threads=2)
    assert equal(episode(one, actions, 0), episode(two, actions, 0))


def test_spaces_and_dtypes(env_id):
    env = make(env_id)
    obs, info = env.reset(seed=0)
    assert obs.shape == env.observation_space.shape and obs.dtype == np.float64
    assert info == {}
    assert env.single_action_space.is_bounded()
    obs, rewards, terminated, truncated, _ = env.step(actions_of(env)[0])
    assert obs.shape == env.observation_space.shape and np.isfinite(obs).all()
    assert rewards.shape == terminated.shape == truncated.shape == (N,)
    assert terminated.dtype == truncated.dtype == bool


def test_initial_states_vary_where_the_definition_says_so(env_id):
    env = make(env_id)
    first, second = env.reset(seed=0)[0], env.reset(seed=100)[0]
    varies = not np.array_equal(first, second)
    assert varies == ("PointNavigation" not in env_id)  # that point starts at the origin


def test_observations_share_no_memory_and_none_is_constant(env_id):
    env = make(env_id)
    observations = episode(env, actions_of(env, 40), 0)[0::1]
    observations = [part for part in observations if part.shape == env.observation_space.shape]
    for before, after in itertools.pairwise(observations):
        assert not np.shares_memory(before, after)
    constant = np.flatnonzero(np.stack(observations).std(axis=(0, 1)) == 0)
    assert set(constant.tolist()) <= set(CONSTANT.get(env_id, []))


def test_tasks_change_rewards_or_dynamics(env_id):
    env = make(env_id)
    tasks = env.task_distribution("train").sample(2, 0)
    outcomes = []
    for index in range(2):
        env.set_tasks(task_batches.take(tasks, [index] * N))
        outcomes.append(episode(env, actions_of(env, 60), 0))
    if "PointNavigationSparse" in env_id:  # random actions need not reach any goal
        pytest.skip("covered by test_point_navigation.py::test_sparse_reward")
    assert not equal(*outcomes)


def test_splits_are_disjoint_and_inside_the_task_space(env_id):
    env = make(env_id)
    samples = {}
    for split in env.task_splits:
        assert split in SPLITS
        samples[split] = env.task_distribution(split).sample(300, 1)
        task_batches.check_tasks(env.task_space, samples[split], 300)
        assert env.task_distribution(split).contains(samples[split]).all()
    assert {"train", "test"} <= samples.keys()
    if env.shares_tasks:
        return
    for split, tasks in samples.items():
        for other in set(samples) - {split}:
            assert not env.task_distribution(other).contains(tasks).any(), (split, other)


@pytest.mark.parametrize("split", ["test", "gap"])
def test_a_held_out_task_differs_in_effect_from_its_nearest_training_task(env_id, split):
    """What holds a task out matters: moved just into training, it plays otherwise."""
    env = make(env_id, **({"variations": {"payload": {}}} if "Quadruped" in env_id else {}))
    if env.shares_tasks or "PointNavigationSparse" in env_id:
        pytest.skip("no task is held out, or none is reached by chance")
    train, held_out = env.task_distribution("train"), env.task_distribution(split)
    ranges = {key: np.ptp(values, axis=0) for key, values in train.sample(300, 0).items()}
    for task in range(3):
        before = task_batches.take(held_out.sample(3, 1), [task] * N)
        after = nearest(before, train, ranges)
        outcomes = []
        for tasks in (before, after):
            env.set_tasks(tasks)
            outcomes.append(episode(env, actions_of(env, 60), 0))
        assert not equal(*outcomes), (before, after)


def nearest(tasks, train, ranges):
    """The same tasks with one value moved as little as needed into the training tasks."""
    for reach in np.linspace(0.005, 0.3, 60):
        for key, span in ranges.items():
            for index in np.ndindex(span.shape):
                for sign in (-1, 1):
                    moved = {name: values.copy() for name, values in tasks.items()}
                    moved[key][(slice(None), *index)] += sign * reach * span[index]
                    if train.contains(moved).all():
                        return moved
    raise AssertionError(f"no training task near {tasks}")


def test_task_samples_follow_the_seed_and_extend(env_id):
    distribution = make(env_id).task_distribution("train")
    first, again, longer = (distribution.sample(n, 5) for n in (7, 7, 20))
    other = distribution.sample(7, 6)
    for key in first:
        assert np.array_equal(first[key], again[key])
        if not make(env_id).shares_tasks:
            assert np.array_equal(first[key], longer[key][:7])
            assert not np.array_equal(first[key], other[key])


def test_tasks_survive_json_to_the_bit(env_id):
    env = make(env_id)
    tasks = env.task_distribution("train").sample(5, 0)
    document = json.loads(json.dumps(task_batches.to_json(tasks)))
    back = task_batches.from_json(env.task_space, document)
    for key, values in tasks.items():
        assert np.array_equal(values, back[key]) and values.dtype == back[key].dtype


def test_setting_tasks_twice_is_setting_them_once(env_id):
    once, twice = make(env_id), make(env_id)
    tasks = once.task_distribution("train").sample(N, 0)
    once.set_tasks(tasks)
    twice.set_tasks(tasks)
    twice.reset(seed=9)
    twice.set_tasks(tasks)
    actions = actions_of(once)
    assert equal(episode(once, actions, 0), episode(twice, actions, 0))


def test_tasks_are_in_force_from_the_next_reset_only(env_id):
    env, untouched = make(env_id), make(env_id)
    actions = actions_of(env)
    env.reset(seed=0), untouched.reset(seed=0)
    env.set_tasks(env.task_distribution("train").sample(N, 0))
    for action in actions:
        ours, theirs = env.step(action), untouched.step(action)
        assert equal(ours[:4], theirs[:4])


def test_nominal_task_restores_everything_to_the_bit(env_id):
    fresh, used = make(env_id), make(env_id)
    used.set_tasks(used.task_distribution("train").sample(N, 0))
    used.reset(seed=5)
    nominal = task_batches.repeat(task_batches.batch_of_one(used.nominal_task), N)
    used.set_tasks(nominal)
    actions = actions_of(fresh)
    assert equal(episode(fresh, actions, 0), episode(used, actions, 0))
    if isinstance(used, MujocoTaskEnv):
        assert_same_model(used.simulations.batch.get_model(1), used.model)


def assert_same_model(model, reference):
    for name in dir(reference):
        value = getattr(reference, name)
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, getattr(model, name)), name


def test_single_view_equals_batch(env_id):
    env = make(env_id)
    tasks = env.task_distribution("train").sample(N, 0)
    env.set_tasks(tasks)
    actions = actions_of(env)
    batch = episode(env, actions, 7)
    for index in (0, N - 1):
        task = {key: values[index] for key, values in tasks.items()}
        single = gymnasium.make(env_id, task=task)
        obs, _ = single.reset(seed=7 + index)
        assert np.array_equal(obs, batch[0][index])
        for t, action in enumerate(actions):
            obs, reward, terminated, truncated, _ = single.step(action[index])
            parts = batch[1 + 4 * t : 5 + 4 * t]
            assert np.array_equal(obs, parts[0][index]) and reward == parts[1][index]
            assert (terminated, truncated) == (parts[2][index], parts[3][index])
            if terminated:
                break


def test_ended_episodes_stand_still(env_id):
    env = make(env_id, max_episode_steps=3)
    env.reset(seed=0)
    actions = actions_of(env)
    for t in range(3):
        obs, _, terminated, truncated, _ = env.step(actions[t])
    assert (terminated | truncated).all()
    later = env.step(actions[3])
    assert np.array_equal(later[0], obs) and (later[1] == 0).all()
    assert np.array_equal(later[2], terminated) and np.array_equal(later[3], truncated)


def test_partial_reset_leaves_the_others_alone(env_id):
    env, reference = make(env_id), make(env_id)
    actions = actions_of(env)
    env.reset(seed=0), reference.reset(seed=0)
    for action in actions[:5]:
        env.step(action), reference.step(action)
    mask = np.array([True, False, False, True])
    env.reset(options={"reset_mask": mask})
    after, expected = env.step(actions[5])[0], reference.step(actions[5])[0]
    assert np.array_equal(after[~mask], expected[~mask])


def test_gymnasium_checker(env_id):
    gymnasium_check(gymnasium.make(env_id).unwrapped, skip_render_check=True)


def test_stable_baselines3_checker(env_id):
    stable_baselines3_check(gymnasium.make(env_id))


def test_action_scale_divides_actions(env_id):
    plain, scaled = make(env_id, action_scale=1.0), make(env_id, action_scale=4.0)
    actions = actions_of(plain)
    assert equal(episode(plain, actions, 0), episode(scaled, 4.0 * actions, 0))


def test_observed_task_is_appended(env_id):
    env = make(env_id)
    observed = ObservedTask(env)
    tasks = env.task_distribution("train").sample(N, 0)
    observed.set_tasks(tasks)
    obs, _ = observed.reset(seed=0)
    flat = np.concatenate([tasks[k].reshape(N, -1) for k in env.task_space.spaces], axis=1)
    assert np.array_equal(obs[:, env.observation_size :], flat)
    obs, *_ = observed.step(actions_of(env)[0])
    assert obs.shape == observed.observation_space.shape
    assert np.array_equal(obs[:, env.observation_size :], flat)
