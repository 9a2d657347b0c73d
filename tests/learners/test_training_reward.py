"""Rewards that guide: the meta-update follows them, adaptation and memory never see them."""

import pytest
import torch
from small_runs import SmallRun, vector

from metarl.errors import ConfigError
from metarl_envs.protocol import TRAINING_REWARD

SPARSE = "metarl/PointNavigationSparse-v0"
LEARNERS = ["maml", "emaml", "multi_task", "rl2", "varibad", "pearl"]


def run_with(name, factor, env_kwargs=None):
    """After an iteration in which the guide, and the guide alone, is `factor` times what it is."""
    run = SmallRun(name, SPARSE, env_kwargs={"action_scale": 10.0}, training_reward=True)
    collect = run.collect

    def changed(state, phase=0, learner=None):
        rollouts = collect(state, phase, learner)
        rollouts.extras[TRAINING_REWARD].mul_(factor).add_(0.1 * factor * rollouts.obs_MEHO[..., 0])
        return rollouts

    run.collect = changed
    return run


@pytest.mark.parametrize("name", LEARNERS)
def test_the_update_follows_the_guide(name):
    results = []
    for factor in (1.0, 1.0, -1.0):
        run = run_with(name, factor)
        run.iterate(2)
        results.append(vector(run.learner))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", LEARNERS)
def test_adaptation_does_not_see_it(name):
    states = []
    for factor in (1.0, -5.0):
        run = run_with(name, factor)
        state = run.begin()
        rollouts = run.collect(state).map(torch.clone)
        states.append(run.learner.adapt(state, rollouts))
    first, second = (torch.cat([v.flatten() for v in values_of(s)]) for s in states)
    assert torch.equal(first, second)


def values_of(state):
    parts = vars(state)
    return [
        v
        for part in parts.values()
        for v in (part.values() if isinstance(part, dict) else [part])
        if isinstance(v, torch.Tensor)
    ]


@pytest.mark.parametrize("name", LEARNERS)
def test_an_environment_without_one_is_refused(name):
    run = SmallRun(name, training_reward=True)
    with pytest.raises(ConfigError, match="needs an environment that reports"):
        run.iterate()
