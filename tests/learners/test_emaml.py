"""E-MAML's sampling term, by exact enumeration."""

from dataclasses import replace

import pytest
import torch
from mdp import HORIZON, TabularMDP
from small_runs import SmallRun
from surrogate_problems import (
    TabularPolicy,
    finite_differences,
    make_objective,
    tabular_batch,
)

from metarl.experiment.world import Alone
from metarl.learners.gradient.emaml import SamplingTerm, sampling_weights
from metarl.learners.gradient.inner_loop import InnerLoop, ScoreStepsConfig


def adapted_return(mdp, point, trajectory, alpha):
    """J after a step along the score function's gradient on one trajectory."""
    leaf = point.clone().requires_grad_()
    score = (mdp.log_probs(leaf)[trajectory] * mdp.returns_EH[trajectory]).sum()
    (gradient,) = torch.autograd.grad(score, leaf)
    return mdp.expected_return(point + alpha * gradient)


def test_sampling_term_makes_the_sampled_meta_gradient_exact(float64):
    """One inner trajectory per task, enumerated: formulation II of the meta-objective."""
    mdp, theta, alpha = TabularMDP(0), torch.tensor([0.3, -0.5, 0.8, 0.1]), 0.3
    check_enumerated(mdp, theta, alpha, ScoreStepsConfig(step_sizes=(alpha,)))


def check_enumerated(mdp, theta, alpha, config):
    inner = InnerLoop(TabularPolicy(), config)
    count = len(mdp.states_EH)

    def expected_value(point):
        returns = torch.stack([adapted_return(mdp, point, i, alpha) for i in range(count)])
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
            terms = [SamplingTerm(gain)] if with_term else []
            objective = make_objective(
                inner, {"table": theta}, [params, phi], [support], query, terms
            )
            total += mdp.probabilities(theta)[i] * objective.gradient()
        estimates[with_term] = total
    torch.testing.assert_close(estimates[True], exact, atol=1e-7, rtol=1e-6)
    assert (estimates[False] - exact).abs().max() > 1e-3


def test_sampling_weights_are_divided_as_each_tasks_surrogate_is():
    """(J - b) / (mean length x what the task's own advantages were divided by)."""
    run = SmallRun("emaml", "metarl/HopperVel-v0", num_tasks=4, h=40)
    rollouts = run.collect(run.begin())
    samples = run.learner.samples(rollouts)
    weights = sampling_weights(rollouts, samples.scale_M, Alone())
    returns = rollouts.returns_ME.mean(1)
    for task in range(4):
        others = torch.cat([returns[:task], returns[task + 1 :]]).mean()
        length = rollouts.lengths_ME[task].double().mean()
        expected = (returns[task] - others) / (length * samples.scale_M[task])
        assert float(weights[task]) == pytest.approx(float(expected), rel=1e-4)
    scaled = replace(rollouts, rewards_MEH=10.0 * rollouts.rewards_MEH)
    again = sampling_weights(scaled, run.learner.samples(scaled).scale_M, Alone())
    torch.testing.assert_close(again, weights, rtol=1e-3, atol=1e-6)


def test_nothing_is_divided_where_advantages_are_not_normalised():
    run = SmallRun("emaml", num_tasks=4, advantages={"normalize": False})
    samples = run.learner.samples(run.collect(run.begin()))
    assert (samples.scale_M == 1.0).all()


def test_the_default_inner_step_follows_the_score_function():
    for document in ({}, {"inner": {"step_sizes": [0.3]}}):
        assert SmallRun("emaml", **document).config.learner.inner.objective == "score_function"
    assert SmallRun("maml").config.learner.inner.objective == "likelihood_ratio"


def test_config_defaults_give_the_exact_gradient_of_a_bandit(float64):
    """One inner trajectory per task, enumerated, with the inner objective of the defaults."""
    learner = SmallRun("emaml").learner
    mdp, theta, alpha = TabularMDP(0), torch.tensor([0.3, -0.5, 0.8, 0.1]), 0.3
    config = learner.inner.config.model_copy(update={"step_sizes": (alpha,)})
    assert config.objective == "score_function"
    check_enumerated(mdp, theta, alpha, config)
