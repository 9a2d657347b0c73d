"""A robot in another process, and everything that goes wrong with one."""

import importlib
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import metarl
from metarl.deployment.control_loop import ControlLoop
from metarl.errors import ConfigError, EnvironmentFitError
from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.robot_env import Limits, RobotEnv

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
STEPS = 20


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
        assert len(cart.sent) == 1 and cart.stops == 1


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


@pytest.mark.parametrize("options", [{"rate_hz": -1}, {"max_missed": -1}, {"on_late": "panic"}])
def test_bad_options(options):
    with pytest.raises(EnvironmentConfigError, match="must"):
        env_of(Cart(), **options)


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


# Over a socket


@pytest.fixture(scope="module")
def robot():
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("robot")
    finally:
        sys.path.remove(str(EXAMPLES))
        sys.modules.pop("robot")


@pytest.fixture(scope="module")
def adapted(robot):
    learner = metarl.load("zoo:point_navigation/maml_trpo")
    env = metarl.make_env(learner, {"goal": robot.GOAL})
    return metarl.adapt(learner, env, episodes=10)


def simulated_return(robot, policy):
    """Of the same episode without any robot between."""
    env = gymnasium.make(robot.ENV, task={"goal": robot.GOAL}, action_scale=robot.ACTION_SCALE)
    obs, _ = env.reset(seed=0)
    total, state = 0.0, None
    for _ in range(STEPS):
        action, state = policy.predict(obs, state, deterministic=True, reward=0.0)
        obs, reward, *_ = env.step(action)
        total += reward
    return total


@pytest.mark.slow
def test_a_policy_on_the_robot_earns_what_it_earns_in_simulation(robot, adapted):
    with robot.running(period_s=0.2) as port:
        env = robot.robot_env(port, rate_hz=50.0, max_episode_steps=STEPS)
        found = ControlLoop(adapted, env).run(2)
        env.robot.close()
    assert env.timing.missed == 0
    np.testing.assert_allclose(found, simulated_return(robot, adapted), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "onnx.reference"])
def test_a_file_drives_the_robot_where_there_is_no_torch(robot, adapted, runtime, tmp_path):
    adapted.export(tmp_path / "policy.onnx")
    program = f"""
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.path[:0] = {[str(EXAMPLES), *sys.path]!r}
import numpy as np, robot
if {runtime!r} == "onnxruntime":
    from onnxruntime import InferenceSession as Session
else:
    from onnx.reference import ReferenceEvaluator as Session
session = Session({str(tmp_path / "policy.onnx")!r})
with robot.running(period_s=0.5) as port:
    env = robot.robot_env(port, rate_hz=20.0, max_episode_steps={STEPS})
    obs, _ = env.reset()
    total, done = 0.0, False
    while not done:
        action = session.run(None, {{"obs": obs[None].astype(np.float32)}})[0][0]
        obs, reward, over, done, _ = env.step(action)
        total += reward
assert env.timing.missed == 0
print(total)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = simulated_return(robot, adapted)
    np.testing.assert_allclose(float(done.stdout), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["maml_trpo", "rl2"])  # the second one adapts as it acts
def test_it_adapts_though_messages_are_late_and_lost(robot, method):
    with robot.running(drop=0.05, delay_s=0.001, period_s=0.01) as port:
        env = robot.robot_env(port, rate_hz=100.0, max_episode_steps=50)
        loop = ControlLoop(metarl.load(f"zoo:point_navigation/{method}"), env)
        before = loop.run(1)
        loop.adapt(episodes=8 if method == "maml_trpo" else 2)
        after = loop.run(2)
        env.robot.close()
    assert np.mean(after) > -8.0 and (method == "rl2" or before[0] < -12.0)
    assert loop.report().missed > 0
