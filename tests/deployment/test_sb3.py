"""stable-baselines3 goes on from adapted weights, and trains on native batches."""

import gymnasium
import numpy as np
import pytest
from small_runs import SmallRun
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

import metarl
from metarl.deployment.sb3_vec_env import TaskVecEnv
from metarl.errors import ConfigError, EnvironmentFitError

POINT, HOPPER = "metarl/PointNavigation-v0", "metarl/HopperRandParams-v0"


def adapted(name="maml", **learner):
    run = SmallRun(name, **learner)
    env = gymnasium.make(POINT, action_scale=10.0, task={"goal": [0.3, 0.1]}, max_episode_steps=20)
    return metarl.adapt(run.learner, env, episodes=5), env


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "reptile"])
def test_the_model_acts_as_the_policy(name):
    policy, env = adapted(name)
    model = metarl.to_sb3(policy, env, n_steps=8, batch_size=8)
    obs = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    expected, _ = policy.predict(obs, deterministic=True)
    np.testing.assert_allclose(model.predict(obs, deterministic=True)[0], expected, atol=1e-6)
    std = float(policy.state.params_M["log_std"][0, 0])
    assert float(model.policy.log_std[0].detach()) == pytest.approx(std)


@pytest.mark.slow
def test_it_trains_on_from_there():
    policy, env = adapted(policy={"init_std": 0.3})
    before = evaluate_policy(policy, env, 20, warn=False)[0]
    batch = gymnasium.make_vec(POINT, num_envs=16, action_scale=10.0, max_episode_steps=20)
    batch.unwrapped.set_tasks({"goal": [[0.3, 0.1]] * 16})
    model = metarl.to_sb3(policy, TaskVecEnv(batch), n_steps=40, batch_size=160, seed=0)
    start = evaluate_policy(model, env, 20, warn=False)[0]
    assert start == pytest.approx(before, rel=1e-4)
    model.learn(10_000)
    assert evaluate_policy(model, env, 20, warn=False)[0] > start + 1.0


@pytest.mark.parametrize(
    ("name", "learner"),
    [("rl2", {}), ("cavia", {}), ("maml", {"normalization": {"observations": True}})],
)
def test_what_it_has_no_form_for_is_refused(name, learner):
    policy, env = adapted(name, **learner)
    with pytest.raises(ConfigError, match="stable-baselines3 has plain networks on observations"):
        metarl.to_sb3(policy, env)


def test_another_environment_is_refused():
    policy, _ = adapted()
    with pytest.raises(EnvironmentFitError, match="observations of size"):
        metarl.to_sb3(policy, gymnasium.make(HOPPER))
    with pytest.raises(EnvironmentFitError, match="actions from"):  # its scale is another
        metarl.to_sb3(policy, TaskVecEnv(gymnasium.make_vec(POINT, num_envs=2)))
    with pytest.raises(EnvironmentFitError, match="a native batch, please"):
        TaskVecEnv(gymnasium.make(POINT))


def test_options_of_ppo():
    policy, env = adapted()
    assert metarl.to_sb3(policy, env, device="cpu", n_steps=8, batch_size=8).n_steps == 8
    with pytest.raises(ConfigError, match="leave it out"):
        metarl.to_sb3(policy, env, policy_kwargs={})


def test_episodes_of_a_batch_start_again_at_once():
    batch = gymnasium.make_vec(HOPPER, num_envs=3, max_episode_steps=200)
    env, alone = TaskVecEnv(batch), gymnasium.make_vec(HOPPER, num_envs=3, max_episode_steps=200)
    env.seed(4)
    obs = env.reset()
    expected, _ = alone.reset(seed=4)
    np.testing.assert_array_equal(obs, expected.astype(np.float32))
    totals, rng = np.zeros(3), np.random.default_rng(0)
    ended = 0
    for _ in range(120):
        actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        obs, rewards, done, infos = env.step(actions)
        totals += rewards
        for row in np.flatnonzero(done):
            ended += 1
            assert infos[row]["episode"]["r"] == pytest.approx(totals[row], rel=1e-4)
            assert not np.array_equal(infos[row]["terminal_observation"], obs[row])
            assert abs(obs[row, 0] - 1.25) < 0.02  # upright again
            totals[row] = 0.0
    assert ended > 3


def test_an_algorithm_of_sb3_learns_on_it():
    env = TaskVecEnv(gymnasium.make_vec(POINT, num_envs=4, max_episode_steps=10))
    model = PPO("MlpPolicy", env, n_steps=20, batch_size=40, seed=0)
    model.learn(200)
    assert len(model.ep_info_buffer) >= 4
