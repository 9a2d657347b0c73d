"""The estimators of MAML's relatives, against closed forms and finite differences in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import SmallRun
from surrogate_problems import (
    EXACT,
    evaluate_at,
    finite_differences,
    make_objective,
    neural_objective,
)

from metarl.estimators.objectives import clipped_ratio, likelihood_ratio
from metarl.learners.gradient.emaml import SamplingTerm
from metarl.learners.gradient.inner_loop import STEP_SIZE, InnerLoop, InnerLoopConfig
from metarl.learners.gradient.outer import Adam, AdamConfig, PPOConfig
from metarl.learners.gradient.promp import KLPenalty, adapted_coefficient
from metarl.params import flatten, tile, unflatten
from metarl.policies.policy import CONTEXT, ContextPolicy, MLPPolicyConfig, make_policy

M, E, H, O, A = 3, 4, 5, 3, 2  # noqa: E741


def check_gradient(objective, point=None):
    """The gradient at a point, by default at theta itself, against finite differences."""
    at = None if point is None else unflatten(point, objective.theta)
    point = flatten(objective.theta) if point is None else point
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], point)
    torch.testing.assert_close(objective.gradient(at), expected, atol=1e-8, rtol=1e-6)


def check_gradient_and_curvature(objective):
    check_gradient(objective)
    point = flatten(objective.theta)
    vector = torch.randn(len(point), generator=torch.Generator().manual_seed(1))
    epsilon = 1e-4
    values = [
        float(evaluate_at(objective, point + sign * epsilon * vector)[1]) for sign in (-1, 0, 1)
    ]
    along = (values[0] - 2 * values[1] + values[2]) / epsilon**2
    assert float(vector @ objective.fisher_product(vector)) == pytest.approx(along, rel=1e-4)


def changed_objective(theta, inner, start, steps, terms=(), **config):
    """An objective on arbitrary rollouts, for an inner loop of any kind."""
    g = torch.Generator().manual_seed(0)
    base = neural_objective(steps)
    params, adapted, supports = start, [], []
    for index in range(steps + 1):
        adapted.append(params)
        batch = base.experience.supports[index] if index < steps else base.experience.query
        distribution = inner.policy(params, batch.obs_MEHO.flatten(1, 2))
        actions, _ = distribution.sample(torch.randn(M, E * H, A, generator=g))
        batch = replace(
            batch,
            actions_MEHA=actions.view(M, E, H, A),
            log_probs_MEH=distribution.log_prob(actions).view(M, E, H),
        )
        supports.append(batch)
        if index < steps:
            params = inner.step(params, batch, index)
    query = supports.pop()
    return make_objective(inner, theta, adapted, supports, query, terms, **config)


def doubled(params):
    return {name: value.double() for name, value in params.items()}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("granularity", ["parameter", "layer"])
def test_meta_sgd(float64, steps, granularity):
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    g = torch.Generator().manual_seed(3)
    for name, value in list(theta.items()):
        shape = value.shape if granularity == "parameter" else [1] * value.dim()
        theta[f"{STEP_SIZE}{name}"] = 0.3 + 0.2 * torch.rand(shape, generator=g)
    inner = InnerLoop(policy, InnerLoopConfig(steps=steps))
    check_gradient_and_curvature(changed_objective(theta, inner, tile(theta, M), steps))


def test_meta_sgd_with_equal_rates_is_maml_and_its_rates_gain_by_aligned_gradients(float64):
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    rates = {f"{STEP_SIZE}{name}": torch.full_like(value, 0.3) for name, value in theta.items()}
    inner = InnerLoop(policy, InnerLoopConfig(step_sizes=(0.3,)))
    plain = changed_objective(theta, inner, tile(theta, M), 1)
    learned = changed_objective(theta | rates, inner, tile(theta | rates, M), 1)
    size = len(flatten(theta))
    torch.testing.assert_close(learned.gradient()[:size], plain.gradient(), **EXACT)
    before = inner.gradient(tile(theta, M), plain.experience.supports[0])
    after = inner.gradient(plain.experience.adapted[-1], plain.experience.query)
    expected = torch.cat([(before[n] * after[n]).mean(0).reshape(-1) for n in theta])
    torch.testing.assert_close(learned.gradient()[size:], expected, **EXACT)


@pytest.mark.parametrize("steps", [1, 2])
def test_anil_adapts_the_head_only(float64, steps):
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    inner = InnerLoop(
        policy, InnerLoopConfig(steps=steps, step_sizes=(0.5,)), lambda n: n.startswith("layer_1")
    )
    objective = changed_objective(theta, inner, tile(theta, M), steps)
    for name, value in objective.experience.adapted[-1].items():
        changed = not torch.equal(value, objective.experience.adapted[0][name])
        assert changed == name.startswith("layer_1")
    check_gradient_and_curvature(objective)


@pytest.mark.parametrize("steps", [1, 2])
def test_cavia_adapts_the_context_only(float64, steps):
    policy = ContextPolicy(make_policy(O + 2, A, MLPPolicyConfig(hidden_sizes=(4,))))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    config = InnerLoopConfig(steps=steps, step_sizes=(0.5,))
    inner = InnerLoop(policy, config, lambda name: name == CONTEXT)
    start = {**tile(theta, M), CONTEXT: torch.zeros(M, 2)}
    objective = changed_objective(theta, inner, start, steps)
    changed = [
        n for n, v in objective.experience.adapted[-1].items() if not torch.equal(v, start[n])
    ]
    assert changed == [CONTEXT]
    check_gradient_and_curvature(objective)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    "terms",
    [
        [KLPenalty(0.3)],
        [SamplingTerm(torch.tensor([0.5, -0.2, 0.1]).double())],
        [KLPenalty(0.3), SamplingTerm(torch.tensor([0.5, -0.2, 0.1]).double())],
    ],
)
def test_terms_on_support_rollouts(float64, steps, terms):
    base = neural_objective(steps)
    objective = changed_objective(base.theta, base.inner, tile(base.theta, M), steps, terms)
    check_gradient(objective, flatten(base.theta) + 0.01)


def test_entropy_bonus(float64):
    base = neural_objective()
    start = tile(base.theta, M)
    objective = changed_objective(base.theta, base.inner, start, 1, entropy_bonus=0.2)
    check_gradient(objective)


def test_gradient_away_from_the_sampling_parameters_adapts_again(float64):
    objective = neural_objective(2)
    check_gradient(objective, flatten(objective.theta) + 0.02)


# ProMP


def test_promp_at_the_sampling_parameters_is_lvc_maml(float64):
    plain = neural_objective()
    penalised = changed_objective(
        plain.theta, plain.inner, tile(plain.theta, M), 1, [KLPenalty(5.0)]
    )
    free = changed_objective(plain.theta, plain.inner, tile(plain.theta, M), 1)
    torch.testing.assert_close(penalised.gradient(clip=0.3), free.gradient(), **EXACT)


@pytest.mark.parametrize(
    ("advantage", "ratio", "passes"),
    [(1.0, 1.5, False), (1.0, 0.5, True), (-1.0, 1.5, True), (-1.0, 0.5, False), (1.0, 1.1, True)],
)
def test_clip_stops_the_gradient_on_the_clipped_side(advantage, ratio, passes):
    log_probs = torch.tensor([[[math.log(ratio)]]], requires_grad=True)
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    value = clipped_ratio(log_probs, zero, advantage * one, one, clip=0.3)
    (gradient,) = torch.autograd.grad(value.sum(), log_probs)
    assert (gradient != 0).item() == passes
    if passes:
        assert value.item() == pytest.approx(advantage * ratio)
    inside = likelihood_ratio(log_probs, zero, advantage * one, one)
    assert value.item() <= inside.item() + 1e-7


def test_kl_coefficient_rule():
    assert adapted_coefficient(0.1, 0.016, 0.01) == 0.2
    assert adapted_coefficient(0.1, 0.006, 0.01) == 0.05
    assert adapted_coefficient(0.1, 0.01, 0.01) == 0.1


@pytest.mark.parametrize("config", [AdamConfig(), PPOConfig(), PPOConfig(max_gradient_norm=0.1)])
def test_adam_and_ppo_improve_the_objective_and_resume_to_the_bit(float64, config):
    objective = neural_objective()
    optimizer = Adam(config)
    before, _ = objective.evaluate(objective.theta)
    first = optimizer.update(objective, objective.theta)
    assert objective.evaluate(first.theta)[0] > before
    restored = Adam(config)
    restored.load_state(optimizer.state())
    second, again = (o.update(objective, objective.theta).theta for o in (optimizer, restored))
    assert torch.equal(flatten(second), flatten(again))


def test_learning_rate_schedule(float64):
    optimizer = Adam(AdamConfig(learning_rate=0.1, final_learning_rate=0.01, decay_iterations=2))
    objective, rates = neural_objective(), []
    for _ in range(4):
        rates.append(optimizer.rate())
        optimizer.update(objective, objective.theta)
    np.testing.assert_allclose(rates, [0.1, 0.055, 0.01, 0.01])


def test_anil_adapts_the_last_of_many_layers():
    run = SmallRun("anil", policy={"hidden_sizes": [4] * 11})
    state = run.begin()
    adapted = run.step(state)
    moved = {n for n, v in adapted.params_M.items() if not torch.equal(v, state.params_M[n])}
    assert moved == {"layer_11.weight", "layer_11.bias", "log_std"}
