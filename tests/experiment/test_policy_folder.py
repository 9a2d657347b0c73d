"""Adapted policies go to files and to other processes, and come back as they were."""

import json
import pickle

import numpy as np
import pytest
import torch
from small_runs import SmallRun

import metarl
from metarl.errors import CheckpointError, ConfigError
from metarl.experiment.policy_folder import leaves, with_leaves
from metarl.learners import LEARNERS

PRETRAINED = ("maml_trpo", "rl2", "pearl")


def adapted(path):
    learner = metarl.load(path)
    env = metarl.make_env(learner, {"goal": [0.3, -0.2]}, horizon=10)
    return metarl.adapt(learner, env, episodes=3)


def acts(policy):
    obs = np.random.default_rng(0).normal(size=(4, 2))
    first, state = policy.predict(obs, deterministic=True)
    return [first, policy.predict(obs, state, deterministic=True, reward=np.ones(4))[0]]


def same(first, second):
    return all(np.array_equal(*pair) for pair in zip(acts(first), acts(second), strict=True))


@pytest.mark.parametrize("name", PRETRAINED)
def test_saved_and_loaded_or_pickled_it_acts_the_same(name, tmp_path):
    policy = adapted(f"zoo:point_navigation/{name}")
    fresh = metarl.load(f"zoo:point_navigation/{name}")
    begun = metarl.adapt(fresh, metarl.make_env(fresh), episodes=1, steps=0)
    assert not same(policy, begun)
    metarl.save_policy(policy, tmp_path / "policy")
    assert same(policy, metarl.load_policy(tmp_path / "policy"))
    assert same(policy, pickle.loads(pickle.dumps(policy)))
    metarl.save_policy(begun, tmp_path / "policy")  # in its place
    assert same(begun, metarl.load_policy(tmp_path / "policy"))
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_every_state_is_its_tensors(name):
    run = SmallRun(name, episodes=2)
    learner = run.learner
    support = run.shown.rollouts if learner.adapts_to_demonstrations else run.collect(run.begin())
    state = learner.adapt(run.begin(), support)
    named = leaves(state)
    again = with_leaves(learner.begin(1, 1), named)
    assert type(again) is type(state)
    assert leaves(again).keys() == named.keys()
    assert all(torch.equal(leaves(again)[key], value) for key, value in named.items())


@pytest.fixture
def saved(tiny_run, tmp_path):
    metarl.save_policy(adapted(tiny_run), tmp_path / "policy")
    return tmp_path / "policy"


@pytest.mark.parametrize("harm", ["cut", "empty", "nan", "no json", "gone", "of another"])
def test_damage_is_one_sentence(saved, harm):
    path = saved / "policy.safetensors"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "nan":
        path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    elif harm == "no json":
        (saved / "policy.json").write_text("{")
    elif harm == "gone":
        (saved / "policy.json").unlink()
    else:
        other = adapted("zoo:point_navigation/pearl")
        metarl.save_policy(other, saved.with_name("other"))
        path.write_bytes((saved.with_name("other") / path.name).read_bytes())
    with pytest.raises(CheckpointError, match="policy"):
        metarl.load_policy(saved)


def test_what_is_in_the_way_stays(tiny_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    policy = adapted(tiny_run)
    with pytest.raises(ConfigError, match="no policy: name another folder"):
        metarl.save_policy(policy, tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"
    policy.learner.trained_on = None
    with pytest.raises(ConfigError, match="comes from no checkpoint"):
        metarl.save_policy(policy, tmp_path / "new")


def test_the_file_is_documented_json(saved):
    about = json.loads((saved / "policy.json").read_text())
    assert about == {"low": [-1.0, -1.0], "high": [1.0, 1.0], "dtype": "float32"}
