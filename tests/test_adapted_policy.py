import gymnasium
import numpy as np
import pytest
import torch
from conftest import TINY

import metarl
from metarl.environments.fit import spec_of_spaces
from metarl.environments.single import native_batch
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.interaction.sampler import collect
from metarl.params import flatten
from metarl.policies.actors import Percept
from metarl.seeding import Purpose

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


class Inverted(gymnasium.RewardWrapper):
    """A wrapper of the user's own: the goal is to flee."""

    def reward(self, reward):
        return -reward


def test_wrappers_of_ones_own_are_honoured(learner):
    plain, inverted = (
        metarl.adapt(learner, env, episodes=6, steps=1, seed=3)
        for env in (Plain(make()), Inverted(make()))
    )
    start = learner.begin(1, 1).params_M
    # advantages are normalised: the opposite reward moves the parameters the opposite way
    for name, value in start.items():
        moves = [(p.state.params_M[name] - value).flatten() for p in (plain, inverted)]
        if moves[0].abs().max() > 1e-6:
            assert torch.cosine_similarity(*moves, dim=0) < -0.9, name


class Plain(gymnasium.Wrapper):
    """Changes nothing, but nobody can know."""


def test_a_policy_adapted_through_the_api_acts_as_the_evaluators(memory_learner, learner):
    """Native batch or one episode after the other: the trial of RL2 is the same, to the bit."""
    native, plain = (
        metarl.adapt(memory_learner, env, episodes=1, steps=3)
        for env in (make(), gymnasium.wrappers.TimeLimit(PlainPoint(), 10))
    )
    trial = metarl.adapt(memory_learner, make(), episodes=3, steps=1)
    for policy in (plain, trial):
        assert torch.equal(native.state.parts["hidden"], policy.state.parts["hidden"])
    env = native_batch(make(), 1, 10)
    state = memory_learner.begin(1, 1)
    for step in range(3):
        path = (0, Purpose.ADAPTATION, step)
        state = memory_learner.adapt(state, collect(env, memory_learner, state, path, [0], 10))
    assert torch.equal(native.state.parts["hidden"], state.parts["hidden"])


def test_predicting_step_by_step_is_acting_in_rollouts(memory_learner, learner):
    """The loop that a user writes feeds the actor what the sampler feeds it."""
    for each in (memory_learner, learner):
        policy = metarl.adapt(each, make(), episodes=2, steps=1)
        env, state, reward, rewards = make(), None, None, []
        obs, _ = env.reset(seed=1)
        actor, seen = each.actor(policy.state), None
        for t in range(5):
            action, state = policy.predict(obs, state, deterministic=True, reward=reward)
            previous = np.zeros((1, 1, 2), np.float32) if t == 0 else seen.actions_MEA
            last = np.full((1, 1), reward if reward is not None else 0.0, np.float32)
            obs_MEO = np.asarray(obs, np.float32)[None, None]
            seen = actor.act(Percept(obs_MEO, previous, last, np.full((1, 1), t == 0)), None)
            np.testing.assert_array_equal(action, np.clip(seen.actions_MEA[0, 0], -1, 1))
            obs, reward, *_ = env.step(action)
            rewards.append(reward)
        assert len(set(rewards)) > 1


def test_discrete_actions_are_indices(tmp_path):
    """CartPole with nothing to adapt to, but a categorical policy."""
    config = parse_config({**TINY, "env": {"id": "plugged:DiscretePoint-v0"}})
    probe = gymnasium.make("plugged:DiscretePoint-v0")
    spec = spec_of_spaces(probe.observation_space, probe.action_space)
    learner = build_learner(config, spec)
    policy = metarl.adapt(learner, probe, episodes=3, steps=1)
    obs, _ = probe.reset(seed=0)
    action, _ = policy.predict(obs)
    assert action in probe.action_space and int(action) == action
    several, _ = policy.predict(np.stack([obs, obs]))
    assert several.shape == (2,) and probe.action_space.contains(several[0])


def test_the_seed_names_the_noise_of_prediction(learner):
    policies = [metarl.adapt(learner, make(), episodes=2, steps=0, seed=s) for s in (0, 0, 1)]
    first, again, other = (policy.predict(np.zeros(2))[0] for policy in policies)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


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
    document = {**TINY, "learner": {"name": "rl2"}, "policy": {}, "iterations": 1}
    metarl.train(parse_config(document), folder)
    return metarl.load(folder)


def test_a_memory_adapts_to_any_gymnasium_environment(memory_learner):
    env = gymnasium.wrappers.TimeLimit(PlainPoint(), 10)
    policy = metarl.adapt(memory_learner, env, episodes=3, steps=1)
    assert (policy.state.parts["hidden"] != 0).any()
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"obs": [float("nan"), 0.0]}, "an observation is not finite: no action follows"),
        ({"obs": [1e300, 0.0]}, "an observation is not finite"),
        ({"obs": [0.0, 0.0, 0.0]}, r"observations have shape \(3,\), expected \(2,\) or \(N, 2\)"),
        ({"obs": [[0.0], [0.0, 1.0]]}, "an observation must be an array of numbers"),
        ({"obs": ["a", "b"]}, "an observation must be an array of numbers"),
        ({"obs": [0.0, 0.0], "reward": "x"}, "a reward must be an array of numbers"),
        ({"obs": [0.0, 0.0], "reward": float("inf")}, "a reward is not finite"),
        ({"obs": [0.0, 0.0], "reward": [1.0, 2.0]}, "2 rewards for 1 observations"),
        ({"obs": [0.0, 0.0], "episode_start": [True, False]}, "2 episode starts for 1"),
        ({"obs": [0.0, 0.0], "state": "x"}, "state must be what the previous call"),
    ],
)
def test_predict_refuses_what_no_action_follows_from(tiny_run, arguments, message):
    env = gymnasium.make("metarl/PointNavigation-v0", action_scale=10.0)
    policy = metarl.adapt(metarl.load(tiny_run), env, episodes=1, steps=1)
    with pytest.raises(metarl.ConfigError, match=message):
        policy.predict(**arguments)
