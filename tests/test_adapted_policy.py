import gymnasium
import numpy as np
import pytest
import torch
from conftest import TINY

import metarl
from metarl.experiment.config import parse_config
from metarl.params import flatten

ID = "metarl/PointNavigation-v0"


@pytest.fixture
def learner(tiny_run):
    return metarl.load(tiny_run)


def make(**kwargs):
    task = {"goal": [0.3, -0.2]}
    return gymnasium.make(ID, task=task, action_scale=10.0, max_episode_steps=10, **kwargs)


def test_adapts_and_predicts_like_stable_baselines3(learner):
    before = flatten(learner.meta_parameters).clone()
    policy = metarl.adapt(learner, make(), episodes=6, steps=2)
    assert torch.equal(flatten(learner.meta_parameters), before)
    obs = np.array([0.1, 0.2])
    action, state = policy.predict(obs, deterministic=True)
    assert action.shape == (2,) and make().action_space.contains(action)
    again, _ = policy.predict(obs, state, deterministic=True)
    assert np.array_equal(action, again)
    several, _ = policy.predict(np.tile(obs, (3, 1)), deterministic=True)
    np.testing.assert_allclose(several, np.tile(action, (3, 1)), atol=1e-6)
    sampled = [policy.predict(obs)[0] for _ in range(5)]
    assert len({tuple(s) for s in sampled}) == 5


def test_adaptation_changes_the_policy_with_the_task(learner):
    obs = np.zeros(2)
    actions = []
    for goal in ([0.4, 0.4], [-0.4, -0.4]):
        env = gymnasium.make(ID, task={"goal": goal}, action_scale=10.0, max_episode_steps=10)
        policy = metarl.adapt(learner, env, episodes=20, steps=1)
        actions.append(policy.predict(obs, deterministic=True)[0])
    assert (actions[0] > actions[1]).all()


class PlainPoint(gymnasium.Env):
    """The same task as somebody else's environment."""

    def __init__(self):
        self._env = make().unwrapped
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._env.reset(seed=seed)

    def step(self, action):
        return self._env.step(action)


def test_any_gymnasium_environment_can_be_adapted_to(learner):
    env = gymnasium.wrappers.TimeLimit(PlainPoint(), 10)
    policy = metarl.adapt(learner, env, episodes=6, steps=2)
    assert policy.predict(np.zeros(2), deterministic=True)[0].shape == (2,)


@pytest.mark.parametrize("kwargs", [{"episodes": 0}, {"steps": -1}, {"seed": -1}])
def test_bad_sizes(learner, kwargs):
    with pytest.raises(metarl.UserError, match=f"got .*{next(iter(kwargs.values()))}"):
        metarl.adapt(learner, make(), **kwargs)


def test_environment_that_does_not_fit(learner):
    with pytest.raises(metarl.UserError, match=r"actions from .*the learner was trained with"):
        metarl.adapt(learner, gymnasium.make(ID))
    with pytest.raises(metarl.UserError, match="observations of size 4"):
        metarl.adapt(learner, gymnasium.make("CartPole-v1"))


@pytest.fixture(scope="module")
def memory_learner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rl2"
    metarl.train(parse_config({**TINY, "learner": {"name": "rl2"}, "iterations": 1}), folder)
    return metarl.load(folder)


def test_a_memory_adapts_to_any_gymnasium_environment(memory_learner):
    env = gymnasium.wrappers.TimeLimit(PlainPoint(), 10)
    policy = metarl.adapt(memory_learner, env, episodes=3, steps=1)
    empty = memory_learner.begin(1, 1).parts["hidden"]
    assert not np.array_equal(policy.state.parts["hidden"], empty)
    fresh = metarl.adapt(memory_learner, env, episodes=3, steps=0)
    actions = [p.predict(np.zeros(2), deterministic=True)[0] for p in (policy, fresh)]
    assert not np.array_equal(*actions)


def test_a_memory_acts_on_the_rewards_of_a_loop_of_ones_own(memory_learner):
    env = make()
    policy = metarl.adapt(memory_learner, env, episodes=2, steps=1)
    obs, _ = env.reset(seed=0)
    _, state = policy.predict(obs, deterministic=True)
    with pytest.raises(metarl.ConfigError, match="give predict the reward"):
        policy.predict(obs, state, deterministic=True)
    after = [
        policy.predict(obs, state, deterministic=True, reward=reward)[0] for reward in (0.0, -5.0)
    ]
    assert not np.array_equal(*after)
    # at an episode's start neither the previous action nor its reward counts
    start = np.array([True])
    first = [policy.predict(obs, state, start, True, reward=reward)[0] for reward in (0.0, -5.0)]
    assert np.array_equal(*first)
