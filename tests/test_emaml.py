"""E-MAML's sampling term, by exact enumeration."""

from dataclasses import replace

import torch
from mdp import HORIZON, TabularMDP
from surrogate_problems import TabularPolicy, finite_differences, tabular_batch
from test_learners import World

from metarl.learners.gradient.emaml import sampling_weights
from metarl.learners.gradient.inner_loop import InnerLoop, InnerLoopConfig
from metarl.learners.gradient.meta_objective import LocalTerms, MetaObjective


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
    world = World("emaml", num_tasks=4)
    rollouts, _ = world.collect(world.begin())
    weights = sampling_weights(rollouts)
    assert abs(float(weights.sum())) < 1e-6
    scaled = replace(rollouts, rewards_MEH=10.0 * rollouts.rewards_MEH)
    torch.testing.assert_close(sampling_weights(scaled), weights, rtol=1e-4, atol=1e-6)
