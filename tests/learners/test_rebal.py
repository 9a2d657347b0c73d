"""A model that adapts by a memory of what was seen: against PyTorch's GRU, finite differences."""

import pytest
import torch
from small_runs import SmallRun, steps_of
from torch import nn

from metarl.environments.fit import Spec
from metarl.learners.base import Setting
from metarl.learners.dynamics.base import ModelConfig
from metarl.learners.dynamics.rebal import ReBAL, ReBALConfig, remembered
from metarl.params import flatten, tile, unflatten
from metarl_envs.memory import MemoryNeedError

SPEC = Spec(3, (-1.0, -2.0), (1.0, 4.0))
SMALL = {"gradient_steps": 2, "planner": {"horizon": 3, "candidates": 20, "elites": 4}}


@pytest.fixture
def learner():
    setting = Setting(SPEC, 2, 5, dtype=torch.float64)
    made = ReBAL(ReBALConfig(hidden_size=6), ModelConfig(hidden_sizes=(5, 4)), setting)
    made.model.take_in(made.model.sums_of(steps_of(7, 9, 5)).sum(0))
    return made


def short_pasts():
    valid = torch.ones(4, 6)
    valid[1, :4] = valid[2] = 0  # a short past, and none
    return valid


def test_the_memory_is_pytorchs_gru(learner):
    theta = learner.model.theta
    gru = nn.GRU(2 * 3 + 2, 6, batch_first=True).double()
    with torch.no_grad():
        gru.weight_ih_l0.copy_(theta["memory.of_input"].T)
        gru.weight_hh_l0.copy_(theta["memory.of_state"].T)
        gru.bias_ih_l0.copy_(theta["memory.bias_of_input"])
        gru.bias_hh_l0.copy_(theta["memory.bias_of_state"])
    past = steps_of(4, 6, 1, short_pasts())
    inputs, outputs = learner.model.normalised(past)
    seen = torch.cat([inputs, outputs[..., :3]], dim=-1)
    found = remembered(learner.model, learner.model.tiled(4), past)[:, 0]
    torch.testing.assert_close(found[0], gru(seen[:1])[1][0, 0])
    torch.testing.assert_close(found[1], gru(seen[1:2, 4:])[1][0, 0])  # from its first step on
    assert found[2].count_nonzero() == 0


def test_the_memory_is_one_more_input_of_the_network(learner):
    """Weights on (input, memory) side by side give what moved biases give."""
    past, now = steps_of(4, 6, 1), steps_of(4, 2, 2)
    params = learner.model.tiled(4)
    adapted = learner.adapted(params, past)
    memory = remembered(learner.model, params, past).expand(-1, 2, -1)
    inputs, _ = learner.model.normalised(now)
    joined = torch.cat([params["layer_0.weight"], params["memory.to_network"]], dim=1)
    first = torch.cat([inputs, memory], dim=-1) @ joined + params["layer_0.bias"].unsqueeze(1)
    expected = inputs @ adapted["layer_0.weight"] + adapted["layer_0.bias"].unsqueeze(1)
    torch.testing.assert_close(first, expected)
    changed = {name for name in params if not torch.equal(params[name], adapted[name])}
    assert changed == {"layer_0.bias"}


def test_the_meta_gradient_goes_through_the_memory(learner):
    model = learner.model
    past, future = steps_of(4, 6, 1, short_pasts()), steps_of(4, 6, 2)

    def loss(vector):
        params = tile(unflatten(vector, model.theta), 4)
        adapted = learner.adapted(params, past, through=True)
        return model.losses(adapted, future, rewards=True).mean()

    start = flatten(model.theta).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(start), start)
    whole = learner.gradient(past, future, 4)
    torch.testing.assert_close(whole[:-1], gradient)
    for index in range(0, len(start), 11):
        values = []
        for sign in (1, -1):
            moved = start.detach().clone()
            moved[index] += sign * 1e-6
            values.append(loss(moved).item())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient[index].item(), abs=1e-7)


def test_it_needs_no_reward_and_nothing_seen_changes_nothing(learner):
    params, past = learner.model.tiled(4), steps_of(4, 6, 1)
    adapted = learner.adapted(params, past)
    other = learner.adapted(params, past._replace(rewards_RK=past.rewards_RK + 9.0))
    assert torch.equal(adapted["layer_0.bias"], other["layer_0.bias"])
    nothing = learner.adapted(params, past._replace(valid_RK=torch.zeros(4, 6)))
    assert torch.equal(nothing["layer_0.bias"], params["layer_0.bias"])


def test_what_was_seen_changes_plans():
    run = SmallRun("rebal", **SMALL)
    run.iterate()
    fresh, lived = run.begin(), run.step(run.begin())
    actions = [run.collect(state, 3).actions_MEHA for state in (fresh, lived)]
    assert not torch.equal(*actions)
    assert run.learner.adapted_size == 64


def test_memories_that_do_not_fit_are_refused():
    setting = Setting(SPEC, 2, 5)
    with pytest.raises(MemoryNeedError, match="memory size 10000000"):
        ReBAL(ReBALConfig(hidden_size=10**7), ModelConfig(), setting)
