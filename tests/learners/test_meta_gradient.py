"""The meta-gradient and its curvature, against closed forms and finite differences in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mdp import TabularMDP
from surrogate_problems import (
    EXACT,
    BanditPolicy,
    M,
    adapted_return,
    bandit_objective,
    concat,
    evaluate_at,
    finite_differences,
    neural_objective,
    replace_config,
    tabular_objective,
    unflatten_exact,
)

from metarl.learners.gradient.inner_loop import InnerLoop, InnerLoopConfig
from metarl.params import flatten, tile
from metarl.policies.distributions import DiagonalGaussian


@pytest.mark.parametrize("steps", [1, 2])
def test_dice_meta_gradient_equals_finite_differences(float64, steps):
    mdps, theta = [TabularMDP(0), TabularMDP(1), TabularMDP(2)], torch.tensor([0.3, -0.5, 0.8, 0.1])
    config = InnerLoopConfig(steps=steps, step_sizes=(0.3, 0.2), objective="dice")
    gradient = tabular_objective(mdps, theta, config).gradient()

    def value(point):
        return adapted_return(mdps, point, config).detach()

    expected = finite_differences(value, theta)
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_first_order_meta_gradient_is_the_gradient_at_the_adapted_parameters(float64, steps):
    mdps, theta = [TabularMDP(0), TabularMDP(1)], torch.tensor([0.3, -0.5, 0.8, 0.1])
    config = InnerLoopConfig(steps=steps, step_sizes=(0.3,), objective="dice", first_order=True)
    expected = torch.zeros(4)
    for mdp in mdps:
        phi = theta.clone()
        for _ in range(steps):
            leaf = phi.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(mdp.expected_return(leaf), leaf)
            phi = phi + 0.3 * gradient
        leaf = phi.clone().requires_grad_()
        expected += torch.autograd.grad(mdp.expected_return(leaf), leaf)[0] / len(mdps)
    torch.testing.assert_close(tabular_objective(mdps, theta, config).gradient(), expected, **EXACT)
    exact = replace_config(config, first_order=False)
    assert not torch.allclose(tabular_objective(mdps, theta, exact).gradient(), expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("objective", ["likelihood_ratio", "dice"])
def test_bandit_meta_gradient(float64, steps, objective):
    mu, goal, alpha = 0.3, 1.1, 0.1
    config = InnerLoopConfig(steps=steps, step_sizes=(alpha,), objective=objective)
    expected = -2.0 * (1.0 - 2.0 * alpha) ** (2 * steps) * (mu - goal)
    gradient = bandit_objective(mu, goal, config).gradient()
    np.testing.assert_allclose(gradient, [expected], rtol=1e-9)


def test_bandit_curvature(float64):
    config = InnerLoopConfig(step_sizes=(0.1,))
    product = bandit_objective(0.3, 1.1, config).fisher_product(torch.ones(1))
    np.testing.assert_allclose(product, [(1.0 - 0.2) ** 2 / BanditPolicy.SIGMA**2], rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("inner_objective", ["likelihood_ratio", "score_function", "dice"])
def test_gradient_is_that_of_the_evaluated_surrogate(float64, steps, inner_objective):
    objective = neural_objective(steps, inner_objective)
    point = flatten(objective.theta)
    expected = finite_differences(lambda v: evaluate_at(objective, v)[0], point)
    torch.testing.assert_close(objective.gradient(), expected, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_curvature_is_the_hessian_of_the_kl(float64, steps):
    objective = neural_objective(steps)
    vector = torch.randn(len(flatten(objective.theta)), generator=torch.Generator().manual_seed(1))
    point, epsilon = flatten(objective.theta), 1e-4

    def slope(v):
        return finite_differences(lambda u: evaluate_at(objective, u)[1], v, epsilon)

    expected = (slope(point + epsilon * vector) - slope(point - epsilon * vector)) / (2 * epsilon)
    product = objective.fisher_product(vector)
    torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-4)


def test_curvature_is_the_explicit_mean_of_jacobian_fisher_jacobian(float64):
    objective = neural_objective()
    theta, inner, support = objective.theta, objective.inner, objective.experience.supports[0]
    query, old = objective.experience.query, objective.experience.adapted[-1]
    size = len(flatten(theta))
    total = torch.zeros(size, size)
    for task in range(M):
        chunk = slice(task, task + 1)

        def adapt(vector, chunk=chunk):
            params = tile(unflatten_exact(vector, theta), 1)
            total = inner.surrogate(params, support.task_slice(chunk)).sum()
            step = torch.autograd.grad(total, list(params.values()), create_graph=True)
            pairs = zip(params.items(), step, strict=True)
            return concat({name: value + 0.4 * change for (name, value), change in pairs})

        def kl(vector, chunk=chunk):
            obs = query.obs_MEHO[chunk].flatten(1, 2)
            new = inner.policy(tile(unflatten_exact(vector, theta), 1), obs)
            return inner.policy({n: v[chunk] for n, v in old.items()}, obs).kl(new).mean()

        jacobian = torch.autograd.functional.jacobian(adapt, concat(theta))
        phi = concat({n: v[task] for n, v in old.items()})
        fisher = torch.autograd.functional.hessian(kl, phi)
        total += jacobian.T @ fisher @ jacobian / M
    products = torch.stack([objective.fisher_product(row) for row in torch.eye(size)])
    torch.testing.assert_close(products, total, **EXACT)
    torch.testing.assert_close(products, products.T, **EXACT)
    assert torch.linalg.eigvalsh(products).min() > -1e-12


def test_both_directions_of_the_kl_have_the_same_curvature(float64):
    old = DiagonalGaussian(torch.tensor([[[0.3]]]), torch.tensor([[[-0.2]]]))

    def gaussian(v):
        return DiagonalGaussian(v[0].view(1, 1, 1), v[1].view(1, 1, 1))

    point = torch.tensor([0.3, -0.2])
    forward = torch.autograd.functional.hessian(lambda v: old.kl(gaussian(v)).sum(), point)
    reverse = torch.autograd.functional.hessian(lambda v: gaussian(v).kl(old).sum(), point)
    torch.testing.assert_close(forward, reverse, **EXACT)
    ones = torch.ones(1, 1, 1)
    mean, log_std = old.fisher((ones, ones), torch.ones(1, 1))
    diagonal = torch.stack([mean.sum(), log_std.sum()])
    torch.testing.assert_close(forward.diagonal(), diagonal, **EXACT)


def test_kl_and_its_gradient_vanish_at_the_sampling_parameters(float64):
    objective = neural_objective()
    point = flatten(objective.theta)
    assert abs(float(evaluate_at(objective, point)[1])) < 1e-15
    slope = finite_differences(lambda v: evaluate_at(objective, v)[1], point)
    assert slope.abs().max() < 1e-9


def test_detaching_the_adaptation_changes_the_curvature(float64):
    vector = torch.ones(len(flatten(neural_objective().theta)))
    exact = neural_objective().fisher_product(vector)
    detached = neural_objective(first_order=True).fisher_product(vector)
    assert (exact - detached).norm() / exact.norm() > 0.01


def test_gradient_depends_on_the_query_rollouts(float64):
    objective = neural_objective()
    before = objective.gradient()
    query = objective.experience.query
    changed = replace(query, advantages_MEH=query.advantages_MEH + query.obs_MEHO[..., 0])
    objective.experience = replace(objective.experience, query=changed)
    assert not torch.allclose(before, objective.gradient())


@pytest.mark.parametrize("chunk", [1, 2, 3, 10])
def test_task_chunks_change_nothing(float64, chunk):
    whole, chunked = neural_objective(task_chunk=3), neural_objective(task_chunk=chunk)
    torch.testing.assert_close(chunked.gradient(), whole.gradient(), **EXACT)
    vector = torch.ones_like(whole.gradient())
    torch.testing.assert_close(
        chunked.fisher_product(vector), whole.fisher_product(vector), **EXACT
    )
    np.testing.assert_allclose(
        chunked.evaluate(whole.theta), whole.evaluate(whole.theta), atol=1e-12
    )


def test_step_size_zero_changes_nothing(float64):
    objective = neural_objective()
    inner = InnerLoop(objective.inner.policy, InnerLoopConfig(step_sizes=(0.0,)))
    params = tile(objective.theta, M)
    for name, value in inner.step(params, objective.experience.supports[0], 0).items():
        assert torch.equal(value, params[name])


def test_inner_step_does_not_depend_on_the_other_tasks(float64):
    objective = neural_objective()
    params, support = tile(objective.theta, M), objective.experience.supports[0]
    together = objective.inner.step(params, support, 0)
    for task in range(M):
        chunk = slice(task, task + 1)
        alone = objective.inner.step(tile(objective.theta, 1), support.task_slice(chunk), 0)
        for name in alone:
            torch.testing.assert_close(alone[name], together[name][chunk], **EXACT)


def test_task_with_a_non_finite_gradient_keeps_its_parameters(float64):
    objective = neural_objective()
    params, support = tile(objective.theta, M), objective.experience.supports[0]
    broken = support.advantages_MEH.clone()
    broken[1] = float("nan")
    adapted = objective.inner.step(params, replace(support, advantages_MEH=broken), 0)
    for name, value in adapted.items():
        assert torch.equal(value[1], params[name][1])
        assert not torch.equal(value[0], params[name][0]) or value[0].abs().max() == 0
