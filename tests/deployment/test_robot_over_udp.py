"""A robot in another process, whose messages come late or not at all."""

import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import metarl
from metarl.deployment.control_loop import ControlLoop

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
STEPS = 20


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
