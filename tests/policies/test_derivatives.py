"""The closed form of a Gaussian tanh policy equals what autograd makes of it."""

import pytest
import torch

from metarl.policies.derivatives import (
    AutogradDerivatives,
    GaussianTanhDerivatives,
    derivatives_of,
)
from metarl.policies.distributions import DiagonalGaussian
from metarl.policies.policy import MLPPolicyConfig, make_policy

M, N, O, A = 3, 7, 4, 2  # noqa: E741


@pytest.fixture(params=[(), (5,), (20, 17), (5, 4, 18)])
def both(request, float64):
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=request.param, min_std=0.5))
    g = torch.Generator().manual_seed(0)
    params = {
        name: value.double() + 0.5 * torch.randn(M, *value.shape, generator=g)
        for name, value in policy.init(g).items()
    }
    params["log_std"][1] = -2.0  # below the floor
    obs = torch.randn(M, N, O, generator=g)
    tangent = {name: torch.randn(v.shape, generator=g) for name, v in params.items()}
    cotangents = torch.randn(M, N, A, generator=g), torch.randn(M, 1, A, generator=g)
    ours = derivatives_of(policy, params, obs)
    assert isinstance(ours, GaussianTanhDerivatives)
    return ours, AutogradDerivatives(policy, params, obs), tangent, cotangents


def curvature(distribution):
    """A second derivative that mixes means and standard deviations."""
    weight = distribution.mean.sin()

    def second(changes):
        mean, log_std = changes
        return weight * mean + weight * log_std, (weight * mean).sum(1, keepdim=True) - log_std

    return second


def test_products_equal_autograd(both):
    ours, theirs, tangent, cotangents = both
    for mine, expected in zip(
        ours.distribution.parameters, theirs.distribution.parameters, strict=True
    ):
        torch.testing.assert_close(mine, expected)
    for mine, expected in zip(ours.jvp(tangent), theirs.jvp(tangent), strict=True):
        torch.testing.assert_close(mine, expected)
    gradient, kept = ours.vjp(cotangents)
    expected, graph = theirs.vjp(cotangents)
    torch.testing.assert_close(gradient, expected)
    for _ in range(2):  # a second product finds everything as the first did
        product = ours.hvp(tangent, kept, curvature(ours.distribution))
        other = theirs.hvp(tangent, graph, curvature(ours.distribution))
        torch.testing.assert_close(product, {name: other[name] for name in product})
    assert (product["log_std"][1] == 0).all() and (product["log_std"][0] != 0).all()


def test_a_constant_part_has_no_derivative(float64):
    obs, ones = torch.randn(M, N, O), {"scale": torch.ones(M, O)}

    def policy(params, obs_MNO):
        return DiagonalGaussian(obs_MNO * params["scale"][:, None], torch.zeros(M, 1, O))

    derivatives = derivatives_of(policy, ones, obs)
    _, kept = derivatives.vjp((torch.ones(M, N, O), torch.ones(M, 1, O)))
    product = derivatives.hvp(ones, kept, lambda changes: (2.0 * changes[0], changes[1]))
    torch.testing.assert_close(product["scale"], 2.0 * obs.square().sum(1))
