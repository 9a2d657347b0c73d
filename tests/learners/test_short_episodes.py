"""Where episodes end early, cost and curvature follow the valid steps."""

from dataclasses import replace

import pytest
import torch
from small_runs import SmallRun
from surrogate_problems import make_objective

from metarl.params import flatten

FALLS = "metarl/HopperVel-v0"


def experience(h=100, num_tasks=4, episodes=10):
    run = SmallRun("maml", FALLS, num_tasks=num_tasks, episodes=episodes, h=h)
    state = run.begin()
    support = run.collect(state, 0)
    adapted = run.learner.adapt(state, support)
    return run, [state.params_M, adapted.params_M], [support, run.collect(adapted, 1)]


def objective_of(run, adapted, samples, **config):
    theta = run.learner.meta_parameters
    return make_objective(run.learner.inner, theta, adapted, samples[:1], samples[1], **config)


def test_padding_is_dropped_and_changes_nothing():
    run, adapted, rollouts = experience()
    whole = [run.learner.advantages.samples(r) for r in rollouts]
    packed = [run.learner.samples(r) for r in rollouts]
    assert packed[0].states < 0.5 * whole[0].states
    for dense, plain in zip(packed, whole, strict=True):
        assert (dense.weights_MEH > 0).sum() == (plain.weights_MEH > 0).sum()
    gradients = [objective_of(run, adapted, s).gradient() for s in (packed, whole)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)
    vector = torch.randn(len(gradients[0]), generator=torch.Generator().manual_seed(0)).double()
    products = [objective_of(run, adapted, s).fisher_product(vector) for s in (packed, whole)]
    torch.testing.assert_close(*products, atol=1e-5, rtol=1e-3)


def test_curvature_states_are_valid_ones_and_all_where_there_are_fewer():
    """Nominal counts kept the first steps only: a direction of its own."""
    run, adapted, rollouts = experience()
    samples = [run.learner.samples(r) for r in rollouts]
    valid = int((samples[1].weights_MEH > 0).sum())
    vector = flatten(run.learner.meta_parameters)
    every = objective_of(run, adapted, samples).fisher_product(vector)
    asked = objective_of(run, adapted, samples, query_states=valid + 1, support_states=10**6)
    torch.testing.assert_close(asked.fisher_product(vector), every)
    half = objective_of(run, adapted, samples, query_states=valid // 2).fisher_product(vector)
    assert torch.cosine_similarity(half, every, dim=0) > 0.97


@pytest.mark.parametrize("share", [0.9, 0.6, 0.34])
def test_about_as_many_states_are_kept_as_are_asked_for(share):
    run, _, rollouts = experience()
    samples = run.learner.samples(rollouts[1])
    kept = samples.some(share)
    valid, left = (int((s.weights_MEH > 0).sum()) for s in (samples, kept))
    assert left == pytest.approx(share * valid, rel=0.1)
    torch.testing.assert_close(kept.weights_MEH.sum((1, 2)), samples.weights_MEH.sum((1, 2)))


def test_dice_keeps_the_steps_of_an_episode_together():
    run = SmallRun("maml", FALLS, h=60, inner={"objective": "dice"})
    rollouts = run.collect(run.begin())
    samples = run.learner.samples(rollouts)
    assert samples.weights_MEH.shape[1] == 4
    assert samples.weights_MEH.shape[2] == rollouts.lengths_ME.max()


@pytest.mark.parametrize("name", ["maml", "rl2", "reptile", "emaml"])
def test_no_valid_step_at_all(name):
    run = SmallRun(name, h=20, normalization={"observations": True})
    rollouts = run.collect(run.begin()).map(torch.clone)
    empty = replace(rollouts, valid_MEH=torch.zeros_like(rollouts.valid_MEH))
    run.learner.normalizer.update(empty, lambda values: values.sum(0))
    state = run.learner.adapt(run.begin(), empty)
    assert torch.isfinite(run.collect(state).actions_MEHA).all()


def test_what_is_not_learned_from_is_not_collected():
    for name, phases in (("reptile", 3), ("model_averaging", 5), ("random_init", 0), ("maml", 2)):
        run = SmallRun(name)
        run.iterate()
        assert len(run.seen) == phases


@pytest.mark.parametrize(("episodes", "h"), [(600, 4), (3, 800)])
def test_no_step_of_an_episode_is_preferred(episodes, h):
    """Every k-th step of an episode of four would be its first."""
    run = SmallRun("maml", num_tasks=2, episodes=episodes, h=h)
    samples = run.learner.samples(run.collect(run.begin()))
    times = torch.arange(h).expand(2, episodes, h).float()
    marked = replace(samples, advantages_MEH=times).some(0.1)
    kept = marked.advantages_MEH[marked.weights_MEH > 0]
    assert len(kept) == pytest.approx(0.1 * 2 * episodes * h, rel=0.01)
    assert kept.mean() == pytest.approx((h - 1) / 2, rel=0.1)
