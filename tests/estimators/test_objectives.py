"""Closed forms of the inner objectives' derivatives, by exact enumeration and quadrature."""

import numpy as np
import pytest
import torch
from mdp import HORIZON, TabularMDP
from torch.autograd.functional import hessian, jacobian

from metarl.estimators.objectives import dice, likelihood_ratio, score_function

THETA = torch.tensor([0.3, -0.5, 0.8, 0.1], dtype=torch.float64)
EXACT = {"atol": 1e-10, "rtol": 1e-10}


@pytest.fixture
def mdp(float64):
    return TabularMDP(0)


def surrogate(mdp, objective, theta):
    """The objective with trajectory probabilities as weights: its expectation."""
    weights = mdp.probabilities(THETA)[None, :, None].expand(1, -1, HORIZON)
    log_probs, sampled = mdp.log_probs(theta)[None], mdp.log_probs(THETA)[None]
    return objective(log_probs, sampled, mdp.returns_EH[None], weights)[0]


def derivatives(mdp, objective):
    def function(theta):
        return surrogate(mdp, objective, theta)

    return jacobian(function, THETA), hessian(function, THETA)


def hessian_parts(mdp):
    """H1, H2 and H12 of the expected return, term by term."""
    probabilities, q = mdp.probabilities(THETA), mdp.returns_EH
    scores = jacobian(mdp.log_probs, THETA)  # (E, H, 4)
    h1 = torch.einsum("e,eh,ehi,ehj->ij", probabilities, q, scores, scores)
    h12 = torch.zeros(4, 4)
    for t in range(HORIZON):
        for k in range(t + 1, HORIZON):
            h12 += torch.einsum("e,e,ei,ej->ij", probabilities, q[:, k], scores[:, t], scores[:, k])
    h2 = torch.zeros(4, 4)
    weighted = probabilities[:, None] * q
    h2 = hessian(lambda theta: (weighted * mdp.log_probs(theta)).sum(), THETA)
    return h1, h2, h12


@pytest.mark.parametrize("objective", [likelihood_ratio, score_function, dice])
def test_gradient_is_the_policy_gradient(mdp, objective):
    gradient, _ = derivatives(mdp, objective)
    torch.testing.assert_close(gradient, jacobian(mdp.expected_return, THETA), **EXACT)


def test_true_hessian_is_the_sum_of_its_parts(mdp):
    h1, h2, h12 = hessian_parts(mdp)
    torch.testing.assert_close(hessian(mdp.expected_return, THETA), h1 + h2 + h12 + h12.T, **EXACT)


def test_dice_has_the_true_hessian(mdp):
    torch.testing.assert_close(
        derivatives(mdp, dice)[1], hessian(mdp.expected_return, THETA), **EXACT
    )


def test_likelihood_ratio_has_h1_and_h2(mdp):
    h1, h2, _ = hessian_parts(mdp)
    torch.testing.assert_close(derivatives(mdp, likelihood_ratio)[1], h1 + h2, **EXACT)


def test_score_function_has_h2_only(mdp):
    h1, h2, _ = hessian_parts(mdp)
    torch.testing.assert_close(derivatives(mdp, score_function)[1], h2, **EXACT)
    assert h1.norm() > 0.01  # what it misses is not nothing


class TestGaussianBandit:
    """a ~ N(mu, sigma^2), r = -(a - g)^2, d = mu - g, by Gauss-Hermite quadrature."""

    SIGMA, MU, GOAL = 0.5, 0.3, 1.1

    def derivatives(self, objective, centred=False):
        nodes, weights = np.polynomial.hermite_e.hermegauss(20)
        actions = self.MU + self.SIGMA * torch.tensor(nodes)
        weights = torch.tensor(weights / weights.sum())
        rewards = -((actions - self.GOAL) ** 2)
        if centred:
            rewards = rewards - (weights * rewards).sum()

        def function(mu):
            log_probs = -0.5 * ((actions - mu) / self.SIGMA) ** 2
            sampled = -0.5 * ((actions - self.MU) / self.SIGMA) ** 2
            shape = (1, -1, 1)
            return objective(
                log_probs.view(shape), sampled.view(shape), rewards.view(shape), weights.view(shape)
            )[0]

        mu = torch.tensor(self.MU, dtype=torch.float64)
        return float(jacobian(function, mu)), float(hessian(function, mu))

    @pytest.mark.parametrize("objective", [likelihood_ratio, dice])
    @pytest.mark.parametrize("centred", [False, True])
    def test_likelihood_ratio_and_dice_are_exact(self, float64, objective, centred):
        d = self.MU - self.GOAL
        np.testing.assert_allclose(self.derivatives(objective, centred), (-2 * d, -2), rtol=1e-9)

    def test_score_function_has_the_wrong_sign(self, float64):
        d = self.MU - self.GOAL
        expected = (-2 * d, 1 + d**2 / self.SIGMA**2)
        np.testing.assert_allclose(self.derivatives(score_function), expected, rtol=1e-9)

    def test_centred_score_function_has_no_curvature(self, float64):
        _, curvature = self.derivatives(score_function, centred=True)
        assert abs(curvature) < 1e-9


def test_masked_steps_never_overflow():
    log_probs = torch.tensor([[[0.0, 500.0]]], requires_grad=True)
    weights = torch.tensor([[[1.0, 0.0]]])
    for objective in (likelihood_ratio, dice):
        value = objective(log_probs, torch.zeros(1, 1, 2), torch.ones(1, 1, 2), weights).sum()
        (gradient,) = torch.autograd.grad(value, log_probs)
        assert torch.isfinite(gradient).all()
