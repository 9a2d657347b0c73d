"""Problems with known derivatives: enumerated tables, a Gaussian bandit, a neural policy."""

import numpy as np
import torch
from mdp import ACTIONS, HORIZON, STATES

from metarl.estimators.advantages import Samples
from metarl.experiment.world import Alone
from metarl.learners.gradient.inner_loop import InnerLoop, InnerLoopConfig
from metarl.learners.gradient.meta_objective import (
    Experience,
    MetaObjective,
    ObjectiveConfig,
)
from metarl.params import tile, unflatten
from metarl.policies.distributions import Categorical, DiagonalGaussian
from metarl.policies.policy import MLPPolicyConfig, make_policy

EXACT = {"atol": 1e-10, "rtol": 1e-9}
M, E, H, O, A = 3, 4, 5, 3, 2  # noqa: E741


def finite_differences(function, vector, epsilon=1e-6):
    columns = []
    for i in range(len(vector)):
        shift = torch.zeros_like(vector)
        shift[i] = epsilon
        columns.append((function(vector + shift) - function(vector - shift)) / (2 * epsilon))
    return torch.stack(columns)


def make_objective(inner, theta, adapted, supports, query, terms=(), **config):
    """The outer objective of one process, two tasks at a time."""
    return MetaObjective(
        inner,
        theta,
        Experience(adapted, supports, query),
        ObjectiveConfig(**({"task_chunk": 2} | config)),
        Alone(),
        len(query.obs_MEHO),
        terms,
    )


class TabularPolicy:
    """log pi(a|s) for one-hot-free tables: observations are state indices."""

    def __call__(self, params, obs_MNO):
        table_MSA = params["table"].view(-1, STATES, ACTIONS).log_softmax(-1)
        rows = torch.arange(len(table_MSA))[:, None]
        return Categorical(table_MSA[rows, obs_MNO[..., 0].long()])


def tabular_batch(mdps, thetas_M):
    """Every trajectory of every task, weighted by its probability at that task's parameters."""
    return Samples(
        obs_MEHO=torch.stack([m.states_EH for m in mdps]).unsqueeze(-1).double(),
        actions_MEHA=torch.stack([m.actions_EH for m in mdps]).unsqueeze(-1).double(),
        log_probs_MEH=torch.stack([m.log_probs(t) for m, t in zip(mdps, thetas_M, strict=True)]),
        advantages_MEH=torch.stack([m.returns_EH for m in mdps]),
        weights_MEH=torch.stack([m.probabilities(t) for m, t in zip(mdps, thetas_M, strict=True)])
        .unsqueeze(-1)
        .expand(-1, -1, HORIZON),
        scale_M=torch.ones(len(mdps)),
        full_baseline_M=torch.ones(len(mdps)),
    )


def tabular_objective(mdps, theta, config):
    inner = InnerLoop(TabularPolicy(), config, first_order=config.first_order)
    params = tile({"table": theta}, len(mdps))
    adapted, supports = [params], []
    for index in range(config.steps):
        supports.append(tabular_batch(mdps, params["table"]))
        params = inner.step(params, supports[-1], index)
        adapted.append(params)
    query = tabular_batch(mdps, params["table"])
    return make_objective(inner, {"table": theta}, adapted, supports, query)


def adapted_return(mdps, theta, config):
    """Mean J(phi_K), phi_{k+1} = phi_k + alpha_k grad J(phi_k), by exact derivatives."""
    total = 0.0
    for mdp in mdps:
        phi = theta.clone().requires_grad_()
        for index in range(config.steps):
            (gradient,) = torch.autograd.grad(mdp.expected_return(phi), phi, create_graph=True)
            phi = phi + config.step_size(index) * gradient
        total = total + mdp.expected_return(phi)
    return total / len(mdps)


def replace_config(config, **changes):
    return config.model_copy(update=changes)


class BanditPolicy:
    """One state, fixed standard deviation: the mean is the only parameter."""

    SIGMA = 0.5

    def __call__(self, params, obs_MNO):
        mean = params["mean"].unsqueeze(1).expand(*obs_MNO.shape[:2], 1)
        return DiagonalGaussian(mean, torch.tensor([[[self.SIGMA]]]).log())


def bandit_objective(mu, goal, config):
    inner = InnerLoop(BanditPolicy(), config)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    weights_E = torch.tensor(weights / weights.sum())

    def batch(mean):
        actions = mean + BanditPolicy.SIGMA * torch.tensor(nodes)
        obs = torch.zeros(1, len(actions), 1, 1)
        policy = BanditPolicy()({"mean": mean.view(1, 1)}, obs.flatten(1, 2))
        shape = (1, -1, 1)
        return Samples(
            obs,
            actions.view(1, -1, 1, 1),
            policy.log_prob(actions.view(1, -1, 1)).view(shape),
            (-((actions - goal) ** 2)).view(shape),
            weights_E.view(shape),
            torch.ones(1),
            torch.ones(1),
        )

    theta = {"mean": torch.tensor([mu])}
    adapted, supports = [tile(theta, 1)], []
    for index in range(config.steps):
        supports.append(batch(adapted[-1]["mean"][0, 0]))
        adapted.append(inner.step(adapted[-1], supports[-1], index))
    return make_objective(inner, theta, adapted, supports, batch(adapted[-1]["mean"][0, 0]))


def neural_objective(steps=1, objective="likelihood_ratio", first_order=False, **kwargs):
    g = torch.Generator().manual_seed(0)
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=(5,)))
    theta = {name: value.double() for name, value in policy.init(g).items()}
    theta["log_std"] = torch.tensor([-0.3, 0.2])
    config = InnerLoopConfig(
        steps=steps, step_sizes=(0.4, 0.3), objective=objective, first_order=first_order
    )
    inner = InnerLoop(policy, config, first_order=first_order)
    params, adapted, supports = tile(theta, M), [], []
    for index in range(steps + 1):
        adapted.append(params)
        obs = torch.randn(M, E, H, O, generator=g)
        distribution = policy(params, obs.flatten(1, 2))
        actions, _ = distribution.sample(torch.randn(M, E * H, A, generator=g))
        batch = Samples(
            obs,
            actions.view(M, E, H, A),
            distribution.log_prob(actions).view(M, E, H),
            torch.randn(M, E, H, generator=g),
            torch.full((M, E, H), 1.0 / (E * H)),
            torch.ones(M),
            torch.ones(M),
        )
        supports.append(batch)
        if index < steps:
            params = inner.step(params, batch, index)
    query = supports.pop()
    return make_objective(inner, theta, adapted, supports, query, **kwargs)


def evaluate_at(objective, vector):
    return torch.tensor(objective.evaluate(unflatten(vector, objective.theta)))


def concat(params):
    return torch.cat([value.reshape(-1) for value in params.values()])


def unflatten_exact(vector, like):
    parts = torch.split(vector, [value.numel() for value in like.values()])
    return {n: p.view(v.shape) for p, (n, v) in zip(parts, like.items(), strict=True)}
