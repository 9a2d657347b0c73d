"""The learner interface, held by every registered learner; a new one adds no test code."""

import pickle

import numpy as np
import pytest
import torch
from small_runs import (
    E,
    M,
    SmallRun,
    check_steps_from_state_to_state,
    percept,
    tensors,
    vector,
)

from metarl.errors import CheckpointError
from metarl.experiment.building import from_checkpoint
from metarl.experiment.checkpoint import checkpoint_path, read_checkpoint, restore_buffers
from metarl.experiment.checkpoint_writing import Snapshot, save_checkpoint
from metarl.experiment.cost import Cost
from metarl.learners import LEARNERS
from metarl.training.run_folder import resumed_checkpoint

NEVER_LEARN = {"random_init"}
NEVER_ADAPT = {"domain_randomization", "sysid"}  # within so few steps
HOPPER = "metarl/HopperRandParams-v0"


@pytest.fixture(params=list(LEARNERS))
def name(request):
    return request.param


def test_adapt_returns_a_new_state_and_leaves_everything_else_alone(name):
    run = SmallRun(name)
    before = vector(run.learner)
    state = run.begin()
    kept = [t.clone() for t in tensors(state)]
    rollouts = run.collect(state)
    adapted = run.learner.adapt(state, rollouts)
    assert torch.equal(vector(run.learner), before)
    assert kept and all(torch.equal(a, b) for a, b in zip(kept, tensors(state), strict=True))
    assert all(t.shape[0] == M for t in tensors(adapted))
    first, second = run.collect(state, 1), run.collect(adapted, 1)
    assert torch.equal(first.actions_MEHA, second.actions_MEHA) == (name in NEVER_ADAPT)


def test_acting_leaves_the_state_alone(name):
    run = SmallRun(name)
    state = run.begin()
    kept = [t.clone() for t in tensors(state)]
    actor = run.learner.actor(state)
    for _ in range(3):
        actor.act(percept(0.3), None)
    assert all(torch.equal(a, b) for a, b in zip(kept, tensors(state), strict=True))


def test_acting_from_state_to_state_is_acting_in_one_actor(name):
    """A loop of one's own makes a new actor in every step; rollouts keep theirs."""
    run = SmallRun(name)
    check_steps_from_state_to_state(run)


def test_a_state_pickles(name):
    run = SmallRun(name)
    state = run.step(run.begin())
    again = pickle.loads(pickle.dumps(state))
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(again), strict=True))
    first, second = run.collect(state, 1), run.collect(again, 1)
    assert torch.equal(first.actions_MEHA, second.actions_MEHA)


@pytest.mark.parametrize("env_id", ["metarl/PointNavigation-v0", HOPPER])
def test_adaptation_depends_on_the_state_before_and_the_rollouts_alone(name, env_id):
    """Whoever collected them: no cache, no memory of acting."""
    run = SmallRun(name, env_id, h=30)
    state = run.step(run.begin())
    rollouts = run.collect(state, 1)
    recorded = rollouts.map(torch.clone)
    assert recorded.acted is None
    run.collect(run.begin(), 5)  # acting in between
    first, again = (run.learner.adapt(state, r) for r in (rollouts, recorded))
    for a, b in zip(tensors(first), tensors(again), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    # rollouts that another state collected are learned from, not mistaken for one's own
    other = run.collect(run.begin(), 1)
    first, again = (run.learner.adapt(state, r) for r in (other, other.map(torch.clone)))
    for a, b in zip(tensors(first), tensors(again), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_any_number_of_steps_and_episodes_at_test_time(name):
    run = SmallRun(name, episodes=7)
    state = run.begin()
    for step in range(4):
        rollouts = run.collect(state, step)
        assert rollouts.log_probs_MEH is None or rollouts.log_probs_MEH.isfinite().all()
        state = run.learner.adapt(state, rollouts)


def test_a_state_acts_in_any_number_of_episodes(name):
    run = SmallRun(name)
    state = run.learner.begin(M, 2)
    state = run.step(state)
    assert run.collect(state).actions_MEHA.shape[:2] == (M, E)
    run.learner.adapt(state, run.collect(state))


def test_one_task_and_one_episode(name):
    run = SmallRun(name, num_tasks=1, episodes=1, h=30)
    metrics = run.iterate()
    assert all(np.isfinite(v) for v in metrics.values() if not isinstance(v, str))
    run.step(run.begin())


@pytest.mark.parametrize("learner_name", sorted(set(LEARNERS) - NEVER_LEARN))
def test_episodes_that_end_at_once(learner_name):
    run = SmallRun(learner_name, h=30)
    rollouts = run.collect(run.begin())
    rollouts.valid_MEH[:, :, 1:] = False
    rollouts.valid_MEH[0, 0] = False  # not even a first step: it diverged
    state = run.learner.adapt(run.begin(), rollouts.map(torch.clone))
    assert all(torch.isfinite(t).all() for t in tensors(state))


def test_iterate_learns_and_is_deterministic(name):
    first, again = SmallRun(name), SmallRun(name)
    before = vector(first.learner)
    metrics, same = first.iterate(2), again.iterate(2)
    assert torch.equal(vector(first.learner), vector(again.learner))
    assert metrics == same
    assert torch.equal(before, vector(first.learner)) == (name in NEVER_LEARN)


def test_save_and_load_reproduce_actions_and_learning_to_the_bit(name, tmp_path):
    run = SmallRun(name)
    run.iterate()
    save_checkpoint(checkpoint_path(tmp_path, 1), Snapshot(run.learner, run.config, 1, Cost(), {}))
    checkpoint = read_checkpoint(tmp_path)
    loaded = from_checkpoint(checkpoint, run.config)
    restore_buffers(loaded, checkpoint)
    rollouts, again = run.collect(run.begin(), 5), run.collect(run.begin(loaded), 5, loaded)
    assert torch.equal(rollouts.actions_MEHA, again.actions_MEHA)
    adapted = run.learner.adapt(run.begin(), rollouts)
    last, last_again = (
        run.collect(adapted, 6),
        run.collect(loaded.adapt(run.begin(loaded), again), 6, loaded),
    )
    assert torch.equal(last.actions_MEHA, last_again.actions_MEHA)
    run.iterate()
    original = vector(run.learner)
    run.learner, run.index = loaded, 1
    run.iterate()
    assert torch.equal(original, vector(loaded))


def test_masked_steps_do_not_matter(name):
    run = SmallRun(name, HOPPER, h=40)
    state = run.begin()
    rollouts = run.collect(state)
    assert not rollouts.valid_MEH.all()
    before = tensors(run.learner.adapt(state, rollouts))
    invalid = ~rollouts.valid_MEH
    rollouts.obs_MEHO[invalid] = 1e3
    rollouts.actions_MEHA[invalid] = -7.0
    rollouts.rewards_MEH[invalid] = 50.0
    for a, b in zip(before, tensors(run.learner.adapt(state, rollouts)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_most_likely_actions_need_no_noise(name):
    run = SmallRun(name)
    first, second = (run.learner.actor(run.begin()).act(percept(), None) for _ in range(2))
    assert np.array_equal(first.actions_MEA, second.actions_MEA)
    assert first.actions_MEA.shape == (M, E, 2)
    assert first.log_probs_ME is None or first.log_probs_ME.shape == (M, E)


def test_checkpoints_of_another_method_are_refused(name, tmp_path):
    run = SmallRun(name)
    save_checkpoint(checkpoint_path(tmp_path, 1), Snapshot(run.learner, run.config, 1, Cost(), {}))
    config = SmallRun("maml" if name != "maml" else "promp").config
    with pytest.raises(CheckpointError, match=r"made with another config: learner\.name was"):
        resumed_checkpoint(config, tmp_path)


NORMALISED = {"normalization": {"observations": True, "rewards": True}}


def test_normalisation_is_shared_by_tasks_and_saved_with_the_policy(name, tmp_path):
    if name in NEVER_LEARN or "normalization" not in LEARNERS[name].Config.model_fields:
        pytest.skip("sees no rollouts in training, or normalises nothing")
    run = SmallRun(name, **NORMALISED)
    run.iterate(2)
    learner = run.learner
    rollouts = run.collect(run.begin(), 5)
    seen = learner.normalizer.obs(rollouts.obs_MEHO)
    assert not torch.equal(seen, rollouts.obs_MEHO) and seen.abs().max() <= 10
    # one task alone is seen through the same statistics
    assert torch.equal(learner.normalizer.obs(rollouts.obs_MEHO[:1]), seen[:1])
    save_checkpoint(checkpoint_path(tmp_path, 1), Snapshot(learner, run.config, 1, Cost(), {}))
    loaded = from_checkpoint(read_checkpoint(tmp_path), run.config)
    again = run.collect(run.begin(loaded), 5, loaded)
    assert torch.equal(again.actions_MEHA, rollouts.actions_MEHA)


def test_normalised_ratio_is_one_at_the_sampling_parameters():
    run = SmallRun("maml", **NORMALISED)
    run.iterate(2)
    state = run.begin()
    rollouts = run.collect(state, 7)
    samples = run.learner.samples(rollouts)
    policy = run.learner.inner.policy(state.params_M, samples.obs_MEHO.flatten(1, 2))
    log_probs = samples.log_probs_of(policy)
    torch.testing.assert_close(log_probs, rollouts.log_probs_MEH, atol=1e-4, rtol=0)


def test_running_statistics_are_those_of_all_steps():
    run = SmallRun("maml", **NORMALISED)
    normalizer = run.learner.normalizer
    parts = [run.collect(run.begin(), phase) for phase in range(3)]
    for part in parts:
        normalizer.update(part, lambda values: values.sum(0))
    obs = torch.cat([part.obs_MEHO.reshape(-1, 2) for part in parts]).double()
    mean, std = normalizer.mean_std()
    torch.testing.assert_close(mean[:-1], obs.mean(0))
    torch.testing.assert_close(std[:-1], obs.std(0, correction=0))


@pytest.mark.parametrize("name", ["maml", "promp", "emaml"])
def test_the_configured_inner_step_is_the_one_taken(name):
    """In acting and in the meta-update alike: theta + 0.1 grad, whatever the outer rate."""
    run = SmallRun(name)
    learner, state = run.learner, run.begin()
    rollouts = run.collect(state)
    samples = learner.samples(rollouts)
    gradient = learner.inner.gradient(state.params_M, samples)
    adapted = learner.adapt(state, rollouts)
    for key, value in gradient.items():
        expected = state.params_M[key] + 0.1 * value
        torch.testing.assert_close(adapted.params_M[key], expected, atol=1e-6, rtol=1e-5)
        again = learner.inner.step(state.params_M, samples, 0)
        torch.testing.assert_close(again[key], expected, atol=1e-6, rtol=1e-5)


def test_nothing_touches_the_global_random_generators():
    np.random.seed(5)
    torch.manual_seed(5)
    SmallRun("rl2").iterate()
    assert np.random.random() == np.random.RandomState(5).random_sample()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize(("name", "learns_from"), [("rl2", True), ("maml", False)])
def test_the_order_of_minibatches_follows_the_seed_of_the_run(name, learns_from):
    """Same weights, same rollouts, another seed: only what learning draws itself differs."""
    results = []
    for seed in (0, 1):
        run, start = SmallRun(name), SmallRun(name).learner.meta_parameters
        run.config = run.config.model_copy(update={"seed": seed})
        run.learner = type(run.learner)(run.config.learner, run.config.policy, _setting(run, seed))
        run.learner.load_meta_parameters(start)
        run.iterate()
        results.append(vector(run.learner))
    assert torch.equal(*results) != learns_from


def _setting(run, seed):
    from dataclasses import replace

    return replace(run.learner.setting, seed=seed)
