"""An exported policy does what `predict` does, step by step, whatever the learner."""

import gymnasium
import numpy as np
import onnxruntime
import pytest
from small_runs import SmallRun

import metarl
from metarl.adapted_policy import AdaptedPolicy
from metarl.errors import ConfigError
from metarl.learners import LEARNERS
from metarl.learners.base import MetaLearner

MEMORIES = {
    "rl2": {},
    "lstm": {"memory": "lstm"},
    "transformer": {"memory": "transformer", "hidden_size": 8},
    "varibad": {},
    "rma": {},
    "distillation": {},
    "convolution": {"memory": "convolution", "inputs": ["observation", "action"]},
}


def exported(learner, path, episodes=2):
    env = gymnasium.make("metarl/PointNavigation-v0", action_scale=10.0, max_episode_steps=12)
    policy = AdaptedPolicy(learner, learner.begin(1, 1), env.action_space)
    if not learner.adapts_to_demonstrations:
        policy = metarl.adapt(learner, env, episodes=episodes, steps=1)
    policy.export(path)
    return env, policy, onnxruntime.InferenceSession(path)


PLANNERS = {"grbal", "rebal"}  # no network, but a search


@pytest.mark.parametrize("name", sorted(set(LEARNERS) - set(MEMORIES) - PLANNERS))
def test_a_reactive_policy(name, tmp_path):
    run = SmallRun(name)
    run.iterate()
    _, policy, session = exported(run.learner, tmp_path / "policy.onnx")
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    obs *= np.array([[1.0], [10.0], [0.1], [0.0], [100.0]], np.float32)
    expected, _ = policy.predict(obs, deterministic=True)
    (found,) = session.run(None, {"obs": obs})
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [i.name for i in session.get_inputs()] == ["obs"]


@pytest.mark.parametrize("case", MEMORIES)
def test_a_memory_is_input_and_output(case, tmp_path):
    run = SmallRun(case if case in LEARNERS else "rl2", **MEMORIES[case])
    run.iterate()
    env, policy, session = exported(run.learner, tmp_path / "policy.onnx")
    names = [value.name for value in session.get_outputs()]
    obs, _ = env.reset(seed=0)
    state, memory, reward = None, {"previous_action": np.full((1, 2), 9.0, np.float32)}, 7.0
    for step in range(30):  # beyond a trial, where a window slides
        first = step in (0, 12)
        known = np.float32([[np.nan if first else reward]])  # there is none
        given = {
            "obs": obs[None].astype(np.float32),
            **({"previous_reward": known} if run.learner.acts_on_rewards else {}),
            "first": np.float32([[first]]),
            **memory,
        }
        found = dict(zip(names, session.run(None, given), strict=True))
        action, state = policy.predict(
            obs, state, np.array([first]), deterministic=True, reward=reward
        )
        np.testing.assert_allclose(found["action"][0], action, atol=1e-6)
        memory = {n.removeprefix("next_"): v for n, v in found.items() if n != "action"}
        obs, reward, *_ = env.step(action)
        obs, reward = obs.astype(np.float32), float(np.float32(reward))


def test_normalised_observations(tmp_path):
    run = SmallRun("maml", normalization={"observations": True})
    run.iterate()
    _, policy, session = exported(run.learner, tmp_path / "policy.onnx")
    obs = np.float32([[0.3, -0.2]])
    (found,) = session.run(None, {"obs": obs})
    np.testing.assert_allclose(found, policy.predict(obs, deterministic=True)[0], atol=1e-6)


def test_what_cannot_be_written(tmp_path, monkeypatch):
    run = SmallRun("maml")
    env = gymnasium.make("metarl/PointNavigation-v0", action_scale=10.0)
    policy = metarl.adapt(run.learner, env, episodes=1, steps=0)
    with pytest.raises(ConfigError, match=r"must end in .onnx, got 'policy.pt'"):
        policy.export(tmp_path / "policy.pt")
    monkeypatch.setattr(type(run.learner), "acting_module", MetaLearner.acting_module)
    with pytest.raises(ConfigError, match="MAML has no form that could be exported"):
        policy.export(tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())
