import math

import numpy as np
import pytest
import torch
from small_runs import SmallRun
from surrogate_problems import BanditPolicy, bandit_objective, make_objective, neural_objective

from metarl.learners.gradient.inner_loop import InnerLoopConfig
from metarl.optimization.trust_region import TRPOConfig, conjugate_gradient, trust_region_step
from metarl.params import flatten


def test_conjugate_gradient_solves_in_n_iterations(float64):
    g = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=g)
    matrix, b = root @ root.T + torch.eye(6), torch.randn(6, generator=g)
    x, quadratic = conjugate_gradient(lambda v: matrix @ v, b, iterations=6, tolerance=0.0)
    torch.testing.assert_close(matrix @ x, b)
    assert quadratic == pytest.approx(float(x @ matrix @ x))


def test_conjugate_gradient_knows_the_curvature_of_an_unfinished_solution(float64):
    g = torch.Generator().manual_seed(1)
    root = torch.randn(9, 9, generator=g)
    matrix, b = root @ root.T + torch.eye(9), torch.randn(9, generator=g)
    x, quadratic = conjugate_gradient(lambda v: matrix @ v, b, iterations=3)
    assert quadratic == pytest.approx(float(x @ matrix @ x))


class Recorded:
    """An objective that records where it is evaluated."""

    def __init__(self, objective, evaluate=None):
        self.objective, self.points = objective, []
        self._evaluate = evaluate or objective.evaluate

    def gradient(self):
        return self.objective.gradient()

    def fisher_product(self, vector):
        return self.objective.fisher_product(vector)

    def evaluate(self, theta):
        self.points.append(flatten(theta))
        return self._evaluate(theta)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3])
def test_full_step_closed_form_on_the_bandit(float64, alpha):
    mu, goal, max_kl = 0.3, 1.1, 0.01
    objective = Recorded(bandit_objective(mu, goal, InnerLoopConfig(step_sizes=(alpha,))))
    result = trust_region_step(
        objective, objective.objective.theta, TRPOConfig(max_kl=max_kl, cg_damping=0.0)
    )
    start, first = objective.points[:2]
    expected = BanditPolicy.SIGMA * math.sqrt(2 * max_kl) / abs(1 - 2 * alpha)
    np.testing.assert_allclose(first - start, [expected], rtol=1e-9)  # towards the goal
    assert result.rejected == "" and result.gain > 0
    assert 0 < result.kl <= max_kl * (1 + 1e-3)


def test_accepted_step_improves_within_the_trust_region(float64):
    objective = neural_objective(steps=2)
    before = objective.evaluate(objective.theta)
    result = trust_region_step(objective, objective.theta, TRPOConfig(max_kl=0.01))
    value, kl = objective.evaluate(result.theta)
    assert result.rejected == ""
    assert value > before[0] and kl <= 0.01


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ((-1.0, 0.0), "no improvement"),
        ((1.0, 1.0), "kl above limit"),
        ((float("nan"), 0.0), "non-finite surrogate"),
    ],
)
def test_rejected_step_restores_the_parameters_and_says_why(float64, outcome, reason):
    real = neural_objective()
    theta = real.theta

    def evaluate(point):
        return (0.0, 0.0) if point is theta else outcome

    result = trust_region_step(Recorded(real, evaluate), theta, TRPOConfig())
    assert result.rejected == reason
    assert result.theta is theta


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_gradient_never_reaches_the_parameters(float64, value):
    objective = Recorded(neural_objective())
    objective.gradient = lambda: torch.full_like(flatten(objective.objective.theta), value)
    result = trust_region_step(objective, objective.objective.theta, TRPOConfig())
    assert result.rejected == "non-finite gradient"
    assert result.theta is objective.objective.theta
    assert objective.points == []


def test_curvature_on_some_states_changes_the_direction_little(float64):
    """Rollouts of a real robot: a quarter of the states against all of them."""
    directions = []
    for states in (None, 500):
        objective = cheetah_objective(states)
        gradient = objective.gradient()

        def product(vector, objective=objective):
            return objective.fisher_product(vector) + 1e-5 * vector

        directions.append(conjugate_gradient(product, gradient, 10)[0])
    cosine = torch.cosine_similarity(*directions, dim=0)
    assert cosine > 0.9
    ratio = directions[1].norm() / directions[0].norm()
    assert 0.8 < ratio < 1.25


def cheetah_objective(states):
    run = SmallRun(
        "maml",
        "metarl/HalfCheetahVel-v0",
        num_tasks=4,
        episodes=10,
        h=50,
        policy={"hidden_sizes": [32, 32]},
    )
    state = run.begin()
    support = run.collect(state, 0)
    adapted = run.learner.adapt(state, support)
    query = run.collect(adapted, 1)
    return make_objective(
        run.learner.inner,
        run.learner.meta_parameters,
        [state.params_M, adapted.params_M],
        [run.learner.samples(support)],
        run.learner.samples(query),
        task_chunk=5,
        query_states=states,
        support_states=states,
    )
