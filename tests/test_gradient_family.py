"""The estimators of MAML's relatives, against closed forms and finite differences in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mdp import HORIZON, TabularMDP
from test_meta_gradient import (
    EXACT,
    TabularPolicy,
    evaluate_at,
    finite_differences,
    neural_objective,
    tabular_batch,
)

from metarl.baselines import MLPBaseline
from metarl.distributions import DiagonalGaussian
from metarl.learners.emaml import sampling_weights
from metarl.learners.inner_loop import STEP_SIZE, InnerLoop, InnerLoopConfig
from metarl.learners.meta_objective import LocalTerms, MetaObjective
from metarl.learners.outer import Adam, AdamConfig, PPOConfig
from metarl.learners.promp import adapted_coefficient
from metarl.objectives import clipped_ratio, likelihood_ratio
from metarl.params import flatten, tile, unflatten
from metarl.policy import CONTEXT, ContextPolicy, PolicyConfig, make_policy

M, E, H, O, A = 3, 4, 5, 3, 2  # noqa: E741


def check_gradient_and_curvature(objective):
    point = flatten(objective.theta)
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], point)
    torch.testing.assert_close(objective.gradient(), expected, atol=1e-8, rtol=1e-6)
    vector = torch.randn(len(point), generator=torch.Generator().manual_seed(1))
    epsilon = 1e-4
    values = [
        float(evaluate_at(objective, point + sign * epsilon * vector)[1]) for sign in (-1, 0, 1)
    ]
    along = (values[0] - 2 * values[1] + values[2]) / epsilon**2
    assert float(vector @ objective.fisher_product(vector)) == pytest.approx(along, rel=1e-4)


def changed_objective(theta, inner, start, steps, terms=None):
    """An objective on arbitrary rollouts, for an inner loop of any kind."""
    g = torch.Generator().manual_seed(0)
    base = neural_objective(steps)
    params, adapted, supports = start, [], []
    for index in range(steps + 1):
        adapted.append(params)
        batch = base._supports[index] if index < steps else base._query
        distribution = inner.policy(params, batch.obs_MEHO.flatten(1, 2))
        actions = distribution.sample(torch.randn(M, E * H, A, generator=g))
        batch = replace(
            batch,
            actions_MEHA=actions.view(M, E, H, A),
            log_probs_MEH=distribution.log_prob(actions).view(M, E, H),
        )
        supports.append(batch)
        if index < steps:
            params = inner.step(params, batch, index)
    query = supports.pop()
    return MetaObjective(inner, theta, adapted, supports, query, 2, terms=terms)


def doubled(params):
    return {name: value.double() for name, value in params.items()}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("granularity", ["parameter", "layer"])
def test_meta_sgd(float64, steps, granularity):
    policy = make_policy(O, A, PolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    g = torch.Generator().manual_seed(3)
    for name, value in list(theta.items()):
        shape = value.shape if granularity == "parameter" else [1] * value.dim()
        theta[f"{STEP_SIZE}{name}"] = 0.3 + 0.2 * torch.rand(shape, generator=g)
    inner = InnerLoop(policy, InnerLoopConfig(steps=steps))
    check_gradient_and_curvature(changed_objective(theta, inner, tile(theta, M), steps))


def test_meta_sgd_with_equal_rates_is_maml_and_its_rates_gain_by_aligned_gradients(float64):
    policy = make_policy(O, A, PolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    rates = {f"{STEP_SIZE}{name}": torch.full_like(value, 0.3) for name, value in theta.items()}
    inner = InnerLoop(policy, InnerLoopConfig(step_sizes=(0.3,)))
    plain = changed_objective(theta, inner, tile(theta, M), 1)
    learned = changed_objective(theta | rates, inner, tile(theta | rates, M), 1)
    size = len(flatten(theta))
    torch.testing.assert_close(learned.gradient()[:size], plain.gradient(), **EXACT)
    before = inner.gradient(tile(theta, M), plain._supports[0])
    after = inner.gradient(plain._adapted[-1], plain._query)
    expected = torch.cat([(before[n] * after[n]).mean(0).reshape(-1) for n in theta])
    torch.testing.assert_close(learned.gradient()[size:], expected, **EXACT)


@pytest.mark.parametrize("steps", [1, 2])
def test_anil_adapts_the_head_only(float64, steps):
    policy = make_policy(O, A, PolicyConfig(hidden_sizes=(4,)))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    inner = InnerLoop(
        policy, InnerLoopConfig(steps=steps, step_sizes=(0.5,)), lambda n: n.startswith("layer_1")
    )
    objective = changed_objective(theta, inner, tile(theta, M), steps)
    for name, value in objective._adapted[-1].items():
        changed = not torch.equal(value, objective._adapted[0][name])
        assert changed == name.startswith("layer_1")
    check_gradient_and_curvature(objective)


@pytest.mark.parametrize("steps", [1, 2])
def test_cavia_adapts_the_context_only(float64, steps):
    policy = ContextPolicy(make_policy(O + 2, A, PolicyConfig(hidden_sizes=(4,))))
    theta = doubled(policy.init(torch.Generator().manual_seed(0)))
    config = InnerLoopConfig(steps=steps, step_sizes=(0.5,))
    inner = InnerLoop(policy, config, lambda name: name == CONTEXT)
    start = {**tile(theta, M), CONTEXT: torch.zeros(M, 2)}
    objective = changed_objective(theta, inner, start, steps)
    changed = [n for n, v in objective._adapted[-1].items() if not torch.equal(v, start[n])]
    assert changed == [CONTEXT]
    check_gradient_and_curvature(objective)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(
    "terms",
    [
        LocalTerms(kl_coefficient=0.3),
        LocalTerms(sampling_M=torch.tensor([0.5, -0.2, 0.1]).double()),
    ],
)
def test_terms_on_support_rollouts(float64, steps, terms):
    base = neural_objective(steps)
    objective = changed_objective(base.theta, base._inner, tile(base.theta, M), steps, terms)
    point = flatten(base.theta) + 0.01
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], point)
    gradient = objective.gradient(unflatten(point, base.theta))
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)


def test_entropy_bonus(float64):
    base = neural_objective()
    objective = changed_objective(base.theta, base._inner, tile(base.theta, M), 1)
    objective._entropy_bonus = 0.2
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], flatten(base.theta))
    torch.testing.assert_close(objective.gradient(), expected, atol=1e-8, rtol=1e-6)


def test_gradient_away_from_the_sampling_parameters_adapts_again(float64):
    objective = neural_objective(2)
    point = flatten(objective.theta) + 0.02
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], point)
    gradient = objective.gradient(unflatten(point, objective.theta))
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)


# ProMP


def test_promp_at_the_sampling_parameters_is_lvc_maml(float64):
    plain = neural_objective()
    penalised = changed_objective(
        plain.theta, plain._inner, tile(plain.theta, M), 1, LocalTerms(kl_coefficient=5.0)
    )
    free = changed_objective(plain.theta, plain._inner, tile(plain.theta, M), 1)
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
        rates.append(optimizer._rate())
        optimizer.update(objective, objective.theta)
    np.testing.assert_allclose(rates, [0.1, 0.055, 0.01, 0.01])


# E-MAML


def test_sampling_term_makes_the_sampled_meta_gradient_exact(float64):
    """One inner trajectory per task, enumerated: formulation II of the meta-objective."""
    mdp, theta, alpha = TabularMDP(0), torch.tensor([0.3, -0.5, 0.8, 0.1]), 0.3
    config = InnerLoopConfig(step_sizes=(alpha,), objective="score_function")
    inner = InnerLoop(TabularPolicy(), config)
    count = len(mdp.states_EH)

    def adapted_return(point, trajectory):
        leaf = (
            point.clone().requires_grad_(not point.requires_grad)
            if not point.requires_grad
            else point
        )
        log_probs = mdp.log_probs(leaf)[trajectory]
        score = (log_probs * mdp.returns_EH[trajectory]).sum()
        (gradient,) = torch.autograd.grad(score, leaf, create_graph=True)
        return mdp.expected_return(leaf + alpha * gradient)

    def expected_value(point):
        returns = torch.stack([adapted_return(point, i).detach() for i in range(count)])
        return (mdp.probabilities(point) * returns).sum().detach()

    exact = finite_differences(expected_value, theta)
    estimates = {}
    for with_term in (True, False):
        total = torch.zeros(4)
        for i in range(count):
            params = {"table": theta[None]}
            whole = tabular_batch([mdp], params["table"])
            support = replace(
                whole.task_slice(slice(0, 1)),
                **{
                    name: getattr(whole, name)[:, i : i + 1]
                    for name in ("obs_MEHO", "actions_MEHA", "log_probs_MEH", "advantages_MEH")
                },
                weights_MEH=torch.ones(1, 1, HORIZON),
            )
            phi = inner.step(params, support, 0)
            query = tabular_batch([mdp], phi["table"])
            gain = mdp.expected_return(phi["table"][0])[None]
            terms = LocalTerms(sampling_M=gain) if with_term else None
            objective = MetaObjective(
                inner, {"table": theta}, [params, phi], [support], query, 1, terms=terms
            )
            total += mdp.probabilities(theta)[i] * objective.gradient()
        estimates[with_term] = total
    torch.testing.assert_close(estimates[True], exact, atol=1e-7, rtol=1e-6)
    assert (estimates[False] - exact).abs().max() > 1e-3


def test_sampling_weights_do_not_depend_on_scale_and_sum_to_zero():
    from test_learners import World

    world = World("emaml", num_tasks=4)
    rollouts, _ = world.collect(world.begin())
    weights = sampling_weights(rollouts)
    assert abs(float(weights.sum())) < 1e-6
    scaled = replace(rollouts, rewards_MEH=10.0 * rollouts.rewards_MEH)
    torch.testing.assert_close(sampling_weights(scaled), weights, rtol=1e-4, atol=1e-6)


# Reptile, and the baselines


def test_reptile_with_one_step_moves_along_the_mean_gradient():
    from test_learners import World

    world = World("reptile")
    learner = world.learner
    learner.config = learner.config.model_copy(
        update={"inner": learner.config.inner.model_copy(update={"steps": 1})}
    )
    theta = {name: value.clone() for name, value in learner.meta_parameters.items()}
    support, _ = world.collect(world.begin(), 1)
    adapted = learner.adapt(world.begin(), support).params_M
    world.iterate()
    for name, value in learner.meta_parameters.items():
        expected = theta[name] + 0.5 * (adapted[name].mean(0) - theta[name])
        torch.testing.assert_close(value, expected)


def test_mlp_baseline_is_fitted_and_per_task():
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(2, 10, 20, 3, generator=g)
    valid = torch.ones(2, 10, 20, dtype=torch.bool)
    returns = torch.stack([obs[0, ..., 0].tanh() * 5 + 3, -2 * obs[1, ..., 1].square()])
    baseline = MLPBaseline()
    assert (baseline.values(obs) == 0).all()
    baseline.fit(obs, returns, valid)
    for task in range(2):
        left = (baseline.values(obs)[task] - returns[task]).var() / returns[task].var()
        assert left < 0.2
    alone = MLPBaseline()
    alone.fit(obs[:1], returns[:1], valid[:1])
    torch.testing.assert_close(
        alone.values(obs[:1]), baseline.values(obs)[:1], atol=1e-3, rtol=1e-3
    )
    assert torch.isfinite(baseline.last_values(obs[:, :, -1], torch.full((2, 10), 20))).all()


def test_categorical_fisher_is_the_hessian_of_the_kl(float64):
    from metarl.distributions import Categorical

    logits = torch.tensor([[[0.3, -0.5, 1.2]]])
    old = Categorical(logits)

    def kl(z):
        return old.kl(Categorical(z.view(1, 1, 3))).sum()

    hessian = torch.autograd.functional.hessian(kl, logits.view(-1))
    rows = [old.fisher((row.view(1, 1, 3),), torch.ones(1, 1))[0].view(-1) for row in torch.eye(3)]
    torch.testing.assert_close(torch.stack(rows), hessian, **EXACT)
    counts = torch.zeros(3)
    noise = torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0))
    counts.index_add_(0, old.sample(noise).long().view(-1), torch.ones(4000))
    torch.testing.assert_close(counts / 4000, logits.softmax(-1).view(-1), atol=0.03, rtol=0)
    assert DiagonalGaussian is not Categorical
