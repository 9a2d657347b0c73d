"""PEARL at its edges: units of actions, outliers, adaptation episode by episode."""

from contextlib import closing

import gymnasium
import pytest
import torch
from small_runs import SmallRun

import metarl
from metarl.environments.fit import Spec
from metarl.learners.base import Setting
from metarl.learners.inference.belief import LatentBelief
from metarl.learners.inference.pearl import PEARL, PEARLConfig, PEARLPolicyConfig


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_units_of_actions_do_not_matter():
    """The same physics with actions ten times as large: the same losses, step for step."""
    metrics = []
    for scale in (1.0, 10.0):
        run = SmallRun("pearl", env_kwargs={"action_scale": scale})
        metrics.append(run.iterate(2))
        metrics[-1]["replayed"] = float(run.learner.buffers()["replay.0.actions_NA"].abs().mean())
    for name in ("train/critic_loss", "train/policy_loss", "train/kl", "replayed"):
        assert metrics[0][name] == pytest.approx(metrics[1][name], rel=1e-4), name


def test_factors_that_are_not_finite_have_no_gradient(float64):
    raw = drawn(1, 3, 2).requires_grad_()
    variance = raw.exp() * torch.tensor([1.0, float("inf"), float("nan")]).view(1, 3, 1)
    mean, spread = (
        LatentBelief.prior(1, 2, raw).with_factors(raw, variance, torch.ones(1, 3)).moments()
    )
    (gradient,) = torch.autograd.grad((mean + spread).sum(), raw)
    assert gradient[:, 0].isfinite().all() and (gradient[:, 0] != 0).all()
    torch.testing.assert_close(mean[0], raw[0, 0])


@pytest.mark.parametrize("reward", [float("nan"), 1e30])
def test_outliers_leave_the_moments_finite(reward):
    run = SmallRun("pearl")
    run.iterate()
    rollouts = run.seen[0]
    rollouts.rewards_MEH[0, 0, 0] = reward
    run.learner.replay.add(run.keys, rollouts)
    run.iterate()
    assert all(value.isfinite().all() for value in run.learner.training_state().values())


def test_actions_without_a_width_are_refused():
    for high in (-1.0, 3e38):
        spec = Spec(2, (-1.0 if high < 0 else -3e38,), (high,))
        with pytest.raises(metarl.ConfigError, match="needs actions between finite bounds"):
            PEARL(PEARLConfig(), PEARLPolicyConfig(), Setting(spec, 1, 5))


def test_the_posterior_is_updated_after_each_episode_of_an_adaptation():
    run = SmallRun("pearl")
    seen, adapt_one = list[int](), run.learner.adapt
    run.learner.adapt = lambda s, r: (seen.append(r.lengths_ME.shape[1]), adapt_one(s, r))[1]
    id, settings = "metarl/PointNavigation-v0", {"action_scale": 10.0, "max_episode_steps": 12}
    with closing(gymnasium.make(id, **settings)) as env:
        metarl.adapt(run.learner, env, episodes=3, steps=2)
    assert seen == [1] * 6


def test_an_evaluation_adapts_after_each_episode():
    run = SmallRun("pearl")
    result = metarl.evaluate(
        run.learner,
        "metarl/PointNavigation-v0",
        num_tasks=2,
        episodes=4,
        adaptation_steps=2,
        env_kwargs={"action_scale": 10.0},
        horizon=12,
    )
    assert result.episodes_behind.tolist() == [0, 1, 2]
