"""A model that adapts online, against finite differences, and its planner, against known optima."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import SmallRun, steps_of

from metarl.environments.fit import Spec
from metarl.errors import ConfigError
from metarl.experiment.config import parse_config
from metarl.learners.base import Setting
from metarl.learners.dynamics.base import ModelConfig
from metarl.learners.dynamics.grbal import GrBAL, GrBALConfig, gradient_step
from metarl.learners.dynamics.model import DynamicsModel, Transitions
from metarl.learners.dynamics.planner import Planner, PlannerConfig
from metarl.learners.dynamics.windows import drawn_windows, episodes_of
from metarl.params import flatten, tile, unflatten

SPEC = Spec(3, (-1.0, -2.0), (1.0, 4.0))
SMALL = {"gradient_steps": 2, "planner": {"horizon": 3, "candidates": 20, "elites": 4}}


def model_of(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return DynamicsModel(SPEC, (5, 4), generator, torch.device("cpu"), dtype)


def test_the_meta_gradient_goes_through_the_online_step():
    model = model_of()
    model.take_in(model.sums_of(steps_of(7, 9, 5)).sum(0))
    valid = torch.ones(4, 6)
    valid[1, :4] = valid[2] = 0  # a short past, and none
    past, future = steps_of(4, 6, 1, valid), steps_of(4, 6, 2)

    def loss(vector):
        params = tile(unflatten(vector, model.theta), 4)
        adapted = gradient_step(model, params, past, 0.3, through=True)
        return model.losses(adapted, future, rewards=True).mean()

    start = flatten(model.theta).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(start), start)
    assert loss(start).item() != model.losses(model.tiled(4), future, rewards=True).mean().item()
    for index in range(0, len(start), 7):
        values = []
        for sign in (1, -1):
            moved = start.detach().clone()
            moved[index] += sign * 1e-6
            values.append(loss(moved.requires_grad_()).item())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient[index].item(), abs=1e-7)


@pytest.mark.parametrize("name", ["grbal", "rebal"])
def test_the_learners_gradient_is_that_of_the_mean_over_windows(name):
    run = SmallRun(name, **SMALL)
    learner = run.learner
    run.iterate()
    episodes = episodes_of(run.seen[0])
    kept = {name: values.transpose(0, 1) for name, values in episodes.items()}
    past, future = drawn_windows(kept, 4, 6, torch.Generator().manual_seed(0))
    whole = learner.gradient(past, future, 6)
    parts = [
        learner.gradient(*(Transitions(*(v[rows] for v in t)) for t in (past, future)), 6)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_a_step_brings_predictions_of_what_was_seen_closer_and_needs_no_reward():
    model, past = model_of(), steps_of(4, 6, 1)
    params = model.tiled(4)
    before = model.losses(params, past, rewards=False)
    adapted = gradient_step(model, params, past, 0.05)
    assert (model.losses(adapted, past, rewards=False) < before).all()
    other = gradient_step(model, params, past._replace(rewards_RK=past.rewards_RK + 9.0), 0.05)
    assert all(torch.equal(adapted[name], other[name]) for name in adapted)
    nothing = gradient_step(model, params, past._replace(valid_RK=torch.zeros(4, 6)), 0.05)
    assert all(torch.equal(nothing[name], params[name]) for name in params)


@pytest.mark.parametrize("rounds", [1, 4])
def test_the_plan_reaches_the_target_of_a_known_model(rounds):
    """o' = o + (a_1, a_2, 0), r = -|o' - target|^2: go there, and stay."""
    target = torch.tensor([0.5, 2.5, 0.0])

    def predict(params, obs, actions):
        after = obs + torch.nn.functional.pad(actions, (0, 1))
        return after, -(after - target).square().sum(-1)

    model = SimpleNamespace(predict=predict, theta={"x": torch.zeros(1)})
    config = PlannerConfig(horizon=3, candidates=400, elites=20, rounds=rounds)
    planner = Planner(config, model, SPEC)
    start = torch.zeros(2, 3, 2)
    noise = planner.draw(np.array([1, 2], np.uint32))
    plan = planner.plan({}, torch.zeros(2, 3), start, noise)
    actions = planner.actions(plan)
    reached = actions.cumsum(1)
    error = (reached - target[:2]).abs().max().item()
    assert error < (0.4 if rounds == 4 else 1.5)
    assert (actions[..., 0].abs() <= 1).all() and (actions[..., 1] <= 4).all()


def test_predictions_that_explode_are_no_plan():
    def predict(params, obs, actions):
        reward = torch.where(actions[..., 0] > 0, torch.nan, actions[..., 0])
        return obs, reward

    model = SimpleNamespace(predict=predict, theta={"x": torch.zeros(1)})
    planner = Planner(PlannerConfig(horizon=1, candidates=50, elites=5, rounds=2), model, SPEC)
    noise = planner.draw(np.zeros(1, np.uint32))
    plan = planner.plan({}, torch.zeros(1, 3), torch.zeros(1, 1, 2), noise)
    assert plan.isfinite().all() and plan[0, 0, 0] <= 0


def test_the_window_while_acting_is_that_of_the_episodes_record():
    run = SmallRun("grbal", h=12, window=5, **SMALL)
    state = run.step(run.begin())
    rollouts = run.collect(state, 1)
    acted, after = rollouts.acted.final_state, state.after(rollouts)
    for field in fields(acted):
        if "K" in field.name.rpartition("_")[2] and "M" in field.name:  # all but the last step
            a, b = getattr(acted, field.name), getattr(after, field.name)
            assert torch.equal(a[:, :, 1:], b[:, :, :-1])
    assert torch.equal(acted.now_MEO, rollouts.obs_MEHO[:, :, -1])
    assert torch.equal(after.next_obs_MEKO[:, :, -1], rollouts.last_obs_MEO)


@pytest.mark.parametrize("name", ["grbal", "rebal"])
def test_a_plan_does_not_depend_on_who_is_planned_for_beside_it(name):
    run = SmallRun(name, num_tasks=5, episodes=3, **SMALL)
    state = run.step(run.begin())
    rows, seeds = state.rows(), np.arange(15, dtype=np.uint32)
    whole = run.learner.planned(rows, seeds)
    for part in (slice(0, 1), slice(3, 5), slice(7, 15)):
        own = run.learner.planned([values[part] for values in rows], seeds[part])
        assert torch.equal(own, whole[part])


def test_without_a_step_what_was_seen_changes_nothing():
    acting = {}
    for size in (0.0, 0.5):
        run = SmallRun("grbal", step_size=size, **SMALL)
        fresh, lived = run.begin(), run.step(run.begin())
        actions = [run.collect(state, 3).actions_MEHA for state in (fresh, lived)]
        acting[size] = torch.equal(*actions)
    assert acting == {0.0: True, 0.5: False}


def test_windows_stay_within_their_episode():
    run = SmallRun("grbal", h=9, **SMALL)
    rollouts = run.collect(run.begin())
    valid = rollouts.valid_MEH.clone()
    valid[1, 0, 4:] = False
    steps = torch.arange(9.0).expand_as(rollouts.rewards_MEH)
    marks = 100.0 * torch.arange(12.0).view(3, 4, 1)  # which episode
    rollouts = replace(rollouts, valid_MEH=valid, rewards_MEH=marks + steps)
    kept = {name: values.transpose(0, 1) for name, values in episodes_of(rollouts).items()}
    past, future = drawn_windows(kept, 4, 500, torch.Generator().manual_seed(0))
    together = torch.cat([past.rewards_RK, future.rewards_RK], dim=1)
    sound = torch.cat([past.valid_RK, future.valid_RK], dim=1) > 0
    assert future.valid_RK[:, 0].all()  # there is always something to predict
    first = future.rewards_RK[:, :1]
    expected = first + torch.arange(-4.0, 4.0)
    assert torch.equal(together[sound], expected.expand(500, 8)[sound])
    assert set(first.squeeze(1).remainder(100).tolist()) == set(range(9))
    short = (first.squeeze(1) // 100) == 4
    assert short.any() and first[short].remainder(100).max() == 3


def test_mistakes_are_one_sentence():
    document = {
        "env": {"id": "metarl/PointNavigation-v0"},
        "learner": {"name": "grbal", "planner": {"candidates": 5, "elites": 9}},
        "meta_batch": 2,
        "episodes": 2,
        "horizon": 5,
        "iterations": 1,
    }
    with pytest.raises(ConfigError, match="elites = 9 are more than candidates = 5"):
        parse_config(document)
    with pytest.raises(ConfigError, match="grbal plans actions that are vectors"):
        GrBAL(GrBALConfig(), ModelConfig(), Setting(Spec(3, (0.0,), (4.0,), 5), 2, 5))
