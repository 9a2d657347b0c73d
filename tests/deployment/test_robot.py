"""A robot as an environment, a learner on it, and everything that goes wrong with one."""

import time

import numpy as np
import pytest
from gymnasium import spaces

import metarl
from metarl.deployment.control_loop import ControlLoop
from metarl.errors import ConfigError, EnvironmentFitError
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.robot_env import Limits, RobotEnv


class Cart:
    """A robot in this process: position adds up actions; observations as a script says."""

    def __init__(self, heard=()):
        self.sent, self.stops, self.starts = [], 0, 0
        self._heard = list(heard)
        self._x = np.zeros(2)

    def start(self):
        self.starts += 1
        self._x = np.zeros(2)
        return self._x.copy()

    def act(self, action):
        self.sent.append(action)
        self._x = self._x + action

    def observe(self):
        if self._heard:
            found = self._heard.pop(0)
            return None if found is None else np.asarray(found)
        return self._x.copy()

    def stop(self):
        self.stops += 1


def env_of(cart, **options):
    box = spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1.0, 1.0, (2,))
    return RobotEnv(cart, *box, **{"rate_hz": 0.0, "max_episode_steps": 5, **options})


def test_actions_are_limited_and_episodes_end_at_rest():
    cart = Cart()
    env = env_of(cart, limits=Limits(change=0.25, low=-0.5, high=0.5))
    env.reset()
    for step in range(5):
        _, reward, terminated, truncated, _ = env.step(np.array([2.0, -2.0]) * (-1) ** step)
        assert reward == 0.0 and not terminated and truncated == (step == 4)
    sent = np.array(cart.sent)
    assert np.abs(sent).max() <= 0.5 and np.abs(np.diff(sent, axis=0)).max() <= 0.25
    assert env.timing.limited == 5 and cart.stops == 1
    assert len(env.timing.act_s) == 5


def test_what_the_user_rewards_is_what_was_sent_and_seen():
    seen = []
    env = env_of(
        Cart(), limits=Limits(high=0.5), reward=lambda *given: seen.append(given) or 1.5,
        terminated=lambda obs: obs[0] > 0.9,
    )  # fmt: skip
    env.reset()
    assert env.step(np.ones(2))[1:4] == (1.5, False, False)
    assert env.step(np.ones(2))[1:4] == (1.5, True, False)
    (obs, action, after), (second, _, _) = seen
    np.testing.assert_array_equal(
        [obs, action, after, second], [[0, 0], [0.5] * 2, [0.5] * 2] * 1 + [[0.5] * 2]
    )


def test_lost_observations_are_stood_in_for_and_too_many_end_the_episode():
    cart = Cart(heard=[None, None, [7.0, 7.0], None, None, None])
    env = env_of(cart, max_episode_steps=50, max_missed=2)
    env.reset()
    outcomes = [env.step(np.zeros(2)) for _ in range(6)]
    assert [o[0][0] for o in outcomes] == [0, 0, 7, 7, 7, 7]
    assert [o[3] for o in outcomes] == [False] * 5 + [True]
    assert [o[4]["missed"] for o in outcomes] == [True, True, False, True, True, True]
    assert env.timing.missed == 5 and cart.stops == 1


@pytest.mark.parametrize("rule", ["hold", "stop"])
def test_late_steps(rule):
    cart = Cart()
    env = env_of(cart, rate_hz=50.0, on_late=rule)
    env.reset()
    assert not env.step(np.zeros(2))[4]["late"]
    time.sleep(0.05)
    start = time.perf_counter()
    *_, truncated, info = env.step(np.ones(2))
    took = time.perf_counter() - start
    assert info["late"] and env.timing.late == 1 and truncated == (rule == "stop")
    if rule == "hold":  # sent at once, and a whole period follows
        assert len(cart.sent) == 2 and took > 0.015
        assert not env.step(np.zeros(2))[4]["late"]
    else:
        assert len(cart.sent) == 1 and cart.stops == 1 and env.timing.missed == 0


def test_steps_keep_the_beat():
    env = env_of(Cart(), rate_hz=100.0, max_episode_steps=30)
    env.reset()
    start = time.perf_counter()
    for _ in range(30):
        env.step(np.zeros(2))
    assert time.perf_counter() - start >= 0.3


@pytest.mark.parametrize(
    ("heard", "message"),
    [([[1.0]], r"observes shape \(1,\), expected \(2,\)"), ([[np.nan, 0.0]], "not finite")],
)
def test_what_no_action_follows_from_stops_the_robot(heard, message):
    cart = Cart(heard)
    env = env_of(cart)
    env.reset()
    with pytest.raises(EnvironmentConfigError, match=message):
        env.step(np.zeros(2))
    assert cart.stops == 1


@pytest.mark.parametrize(
    "options",
    [{"rate_hz": -1}, {"rate_hz": np.nan}, {"max_missed": -1}, {"on_late": "panic"}],
)
def test_bad_options(options):
    with pytest.raises(EnvironmentConfigError, match="must"):
        env_of(Cart(), **options)


def test_limits_leave_an_action_within_the_space():
    for wrong in ({"low": 0.5, "high": -0.5}, {"change": -0.1}, {"change": np.nan}):
        with pytest.raises(EnvironmentConfigError, match=r"leave no action|must be positive"):
            Limits(**wrong)
    cart = Cart()
    env = env_of(cart, limits=Limits(low=2.0, high=3.0))
    env.reset()
    env.step(np.zeros(2))
    assert (cart.sent[0] == 1.0).all()


@pytest.mark.parametrize("action", [[np.nan, 0.5], [0.5], [[0.5, 0.5]], [np.inf, 0.0]])
def test_no_action_that_is_none_reaches_the_robot(action):
    cart = Cart()
    env = env_of(cart, limits=Limits(change=0.1))
    env.reset()
    with pytest.raises(EnvironmentConfigError, match="an action must be finite and of shape"):
        env.step(np.array(action))
    assert cart.sent == [] and cart.stops == 1
    with pytest.raises(EnvironmentConfigError, match="the episode is over"):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))
    assert len(cart.sent) == 1


def test_a_reward_that_is_none_stops_the_robot(learner):
    values = iter([-1.0] * 14 + [np.nan])
    cart = Cart()
    loop = loop_on(cart, learner, reward=lambda obs, action, after: next(values))
    with pytest.raises(EnvironmentConfigError, match="the reward is nan"):
        loop.adapt(episodes=3)
    assert cart.starts == 2 and cart.stops >= 2


def test_a_start_that_fails_ends_at_rest():
    cart = Cart()
    cart.start = lambda: np.full(2, np.nan)
    with pytest.raises(EnvironmentConfigError, match="not finite"):
        env_of(cart).reset()
    assert cart.stops == 1


def test_noise_differs_from_run_to_run(learner):
    carts = Cart(), Cart()
    loop = loop_on(carts[0], learner, deterministic=False)
    loop.run()
    first = np.array(carts[0].sent)
    loop.run()
    second = np.array(carts[0].sent[len(first) :])
    assert not np.array_equal(first, second)
    loop_on(carts[1], learner, deterministic=False).run()
    np.testing.assert_array_equal(np.array(carts[1].sent), first)


@pytest.fixture
def learner(tiny_run):
    return metarl.load(tiny_run)


def loop_on(cart, learner, **options):
    reward = options.pop("reward", lambda obs, action, after: -float(np.abs(after).sum()))
    return ControlLoop(learner, env_of(cart, reward=reward, max_episode_steps=10), **options)


def test_adapting_on_a_robot_is_adapting_to_an_environment(learner):
    loop = loop_on(Cart(), learner)
    loop.adapt(episodes=3, steps=2)
    policy = metarl.adapt(learner, loop_on(Cart(), learner).env, episodes=3, steps=2)
    for name, value in policy.state.params_M.items():
        assert value.equal(loop.policy.state.params_M[name])
    report = loop.report()
    assert len(report.returns) == 6 and report.adapt_ms[0] > 0 and report.act_ms[0] > 0


def test_a_policy_is_saved_and_goes_on(learner, tmp_path):
    loop = loop_on(Cart(), learner)
    loop.adapt(episodes=2)
    metarl.save_policy(loop.policy, tmp_path / "adapted")
    restored = metarl.load_policy(tmp_path / "adapted")
    assert loop_on(Cart(), restored).run(2) == loop.run(2)
    again = loop_on(Cart(), restored)
    again.adapt(episodes=2)
    assert not again.policy.state.params_M["log_std"].equal(restored.state.params_M["log_std"])


def test_a_robot_without_rewards_or_of_another_size(learner):
    cart = Cart()
    with pytest.raises(ConfigError, match="adapting needs rewards"):
        loop_on(cart, learner, reward=None).adapt()
    box = spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(-1.0, 1.0, (2,))
    with pytest.raises(EnvironmentFitError, match="observations of size 3"):
        ControlLoop(learner, RobotEnv(cart, *box))
    with pytest.raises(ConfigError, match="must be positive"):
        loop_on(cart, learner).adapt(episodes=0)
    assert cart.starts == 0


def test_an_error_in_the_loop_stops_the_robot(learner):
    def broken(obs, action, after):
        raise RuntimeError("no such reward")

    cart = Cart()
    with pytest.raises(RuntimeError, match="no such reward"):
        loop_on(cart, learner, reward=broken).adapt(episodes=1)
    assert cart.stops >= 1
