"""Learners of other kinds go through trainer, evaluator, checkpoint and `adapt` as they are."""

import gymnasium
import numpy as np
import pytest
import torch
from skeletons import Latent, Planner
from small_runs import SmallRun, check_steps_from_state_to_state, tensors

import metarl
from metarl.experiment.config import parse_config
from metarl.learners import LEARNERS
from metarl.params import flatten

POINT = "metarl/PointNavigation-v0"
CLASSES = {"latent": Latent, "planner": Planner}


@pytest.fixture(params=list(CLASSES))
def name(request, monkeypatch):
    monkeypatch.setitem(LEARNERS, request.param, CLASSES[request.param])
    return request.param


def config_of(name, **changes):
    return parse_config(
        {
            "env": {"id": POINT, "kwargs": {"action_scale": 10.0}},
            "learner": {"name": name},
            "tasks": {"kind": "fixed", "num": 5},
            "meta_batch": 3,
            "episodes": 4,
            "horizon": 10,
            "iterations": 4,
            "evaluation": {"num_tasks": 5, "episodes": 3, "adaptation_steps": 2},
            "checkpoint": {"every": 2},
            **changes,
        }
    )


def test_train_evaluate_resume_and_adapt(name, tmp_path):
    result = metarl.train(config_of(name), tmp_path / "whole")
    assert result.returns.shape == (3, 5, 3) and np.isfinite(result.returns).all()
    metarl.train(config_of(name, iterations=2), tmp_path / "parts")
    metarl.train(config_of(name), tmp_path / "parts", resume=True)
    whole, parts = (metarl.load(tmp_path / run) for run in ("whole", "parts"))
    assert torch.equal(flatten(whole.meta_parameters), flatten(parts.meta_parameters))
    env = gymnasium.make(POINT, task={"goal": [0.3, 0.3]}, action_scale=10.0, max_episode_steps=10)
    policy = metarl.adapt(whole, env, episodes=4, steps=2)
    action, state = policy.predict(np.zeros(2))
    assert env.action_space.contains(action.astype(np.float32))
    policy.predict(np.zeros(2), state, reward=-0.5)


def test_acting_from_state_to_state(name):
    check_steps_from_state_to_state(SmallRun(name))


def test_a_planner_comes_nearer_to_a_goal_it_has_learned_about(monkeypatch):
    monkeypatch.setitem(LEARNERS, "planner", Planner)
    run = SmallRun("planner", h=20)
    before = run.collect(run.begin(), 1)
    after = run.collect(run.step(run.begin()), 1)
    assert after.returns_ME.mean() > before.returns_ME.mean() + 1.0
    assert after.log_probs_MEH is None


def test_z_is_drawn_at_the_start_of_an_episode_and_kept(monkeypatch):
    monkeypatch.setitem(LEARNERS, "latent", Latent)
    run = SmallRun("latent")
    rollouts = run.collect(run.begin())
    latents = rollouts.extras["latents"]
    assert torch.equal(latents[:, :, :1].expand_as(latents), latents)
    assert len(latents[:, :, 0].flatten(0, 1).unique(dim=0)) == 12
    state = run.learner.adapt(run.begin(), rollouts)
    narrow = run.collect(state, 1).extras["latents"][:, :, 0].std(1)
    assert narrow.max() < latents[:, :, 0].std(1).max()
    assert all(len(t) == 3 for t in tensors(state))


def test_replay_is_kept_by_task_in_the_newest_checkpoint_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(LEARNERS, "latent", Latent)
    metarl.train(config_of("latent"), tmp_path / "run")
    checkpoints = tmp_path / "run/checkpoints"
    kept = [p.parent.name for p in checkpoints.glob("*/buffers.safetensors")]
    assert kept == ["iteration_000004"]
    loaded = metarl.load(tmp_path / "run")
    assert loaded.replay == {}  # what only resuming needs is not read
    (checkpoints / "iteration_000004/buffers.safetensors").unlink()
    metarl.load(tmp_path / "run")
    with pytest.raises(metarl.CheckpointError, match="only the newest checkpoint can be resumed"):
        metarl.train(config_of("latent", iterations=5), tmp_path / "run", resume=True)
