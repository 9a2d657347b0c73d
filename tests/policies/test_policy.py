import math

import pytest
import torch
from torch import nn

from metarl.params import flatten, tile, unflatten
from metarl.policies.distributions import Categorical, DiagonalGaussian
from metarl.policies.policy import (
    ContextPolicy,
    GaussianPolicy,
    MLPPolicyConfig,
    ModuleNetwork,
    make_policy,
)

O, A, M, N = 3, 2, 4, 6  # noqa: E741


def test_log_prob_kl_and_entropy_equal_torch(float64):
    g = torch.Generator().manual_seed(0)
    mean, other = (torch.randn(M, N, A, generator=g) for _ in range(2))
    log_std, log_std_other = (torch.randn(M, 1, A, generator=g) for _ in range(2))
    ours, theirs = DiagonalGaussian(mean, log_std), torch.distributions.Normal(mean, log_std.exp())
    actions = torch.randn(M, N, A, generator=g)
    # summed over action dimensions, not averaged
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions).sum(-1))
    second = torch.distributions.Normal(other, log_std_other.exp())
    expected = torch.distributions.kl_divergence(theirs, second).sum(-1)
    torch.testing.assert_close(ours.kl(DiagonalGaussian(other, log_std_other)), expected)
    torch.testing.assert_close(ours.entropy().expand(M, N), theirs.entropy().sum(-1))
    assert ours.log_prob(mean).shape == (M, N)


@pytest.mark.parametrize("discrete", [False, True])
def test_sampled_log_probs_are_those_of_the_sampled_actions(float64, discrete):
    g = torch.Generator().manual_seed(0)
    mean, noise = (torch.randn(M, N, A, generator=g) for _ in range(2))
    log_std = torch.randn(M, 1, A, generator=g)
    distribution = Categorical(mean) if discrete else DiagonalGaussian(mean, log_std)
    actions, log_probs = distribution.sample(noise)
    torch.testing.assert_close(log_probs, distribution.log_prob(actions))


def test_one_task_alone_equals_the_task_in_a_batch(float64):
    policy = make_policy(O, A, MLPPolicyConfig(hidden_sizes=(5, 4)))
    params = [
        {n: v.double() for n, v in policy.init(torch.Generator().manual_seed(i)).items()}
        for i in range(M)
    ]
    stacked = {name: torch.stack([p[name] for p in params]) for name in params[0]}
    obs = torch.randn(M, N, O, generator=torch.Generator().manual_seed(9))
    together = policy(stacked, obs).mean
    for task in range(M):
        alone = policy(tile(params[task], 1), obs[task : task + 1]).mean
        torch.testing.assert_close(alone[0], together[task])


def test_any_module_can_serve(float64):
    module = nn.Sequential(nn.Linear(O, 5), nn.Tanh(), nn.Linear(5, A))
    policy = GaussianPolicy(ModuleNetwork(module), A, MLPPolicyConfig(init_std=0.5))
    params = policy.init(torch.Generator())
    obs = torch.randn(M, N, O)
    distribution = policy(tile(params, M), obs)
    torch.testing.assert_close(distribution.mean, module(obs))
    assert float(distribution.log_std[0, 0, 0]) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("kind", ["tanh", "shallow", "module", "categorical", "context"])
def test_an_actor_chooses_what_the_policy_says(float64, kind, sampled):
    g = torch.Generator().manual_seed(0)
    sizes = {"hidden_sizes": (5, 4) if kind == "tanh" else (), "min_std": 0.1}
    policy = make_policy(O + 1 if kind == "context" else O, A, MLPPolicyConfig(**sizes))
    if kind == "module":
        policy = GaussianPolicy(ModuleNetwork(nn.Linear(O, A)), A, MLPPolicyConfig(min_std=0.1))
    elif kind == "categorical":
        policy = make_policy(O, 1, MLPPolicyConfig(), num_actions=A)
    elif kind == "context":
        policy = ContextPolicy(policy)
    params = {n: v.double() for n, v in tile(policy.init(g), M).items()}
    params = {n: v + torch.randn(v.shape, generator=g) for n, v in params.items()}
    if kind == "context":
        params["context"] = torch.randn(M, 1, generator=g)
    obs, noise = torch.randn(M, N, O, generator=g), torch.randn(M, N, A, generator=g)
    distribution = policy(params, obs)
    step = policy.chooser(params)(obs.numpy(), noise.numpy() if sampled else None)
    chosen = distribution.sample(noise)[0] if sampled else distribution.mode
    torch.testing.assert_close(torch.from_numpy(step.actions_MEA), chosen)
    torch.testing.assert_close(torch.from_numpy(step.log_probs_ME), distribution.log_prob(chosen))


def test_initial_parameters_follow_the_seed():
    policy = make_policy(O, A, MLPPolicyConfig())
    first, again, other = (
        flatten(policy.init(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_standard_deviation_has_a_floor():
    policy = make_policy(O, A, MLPPolicyConfig(min_std=1e-3))
    params = tile(policy.init(torch.Generator()), 1)
    params["log_std"] = torch.full((1, A), -100.0)
    log_std = policy(params, torch.zeros(1, 1, O)).log_std
    torch.testing.assert_close(log_std, torch.full((1, 1, A), math.log(1e-3)))


def test_flatten_and_back():
    params = make_policy(O, A, MLPPolicyConfig()).init(torch.Generator())
    back = unflatten(flatten(params), params)
    assert list(back) == list(params)
    assert all(torch.equal(back[name], params[name]) for name in params)


def test_categorical_fisher_is_the_hessian_of_the_kl(float64):
    logits = torch.tensor([[[0.3, -0.5, 1.2]]])
    old = Categorical(logits)

    def kl(z):
        return old.kl(Categorical(z.view(1, 1, 3))).sum()

    hessian = torch.autograd.functional.hessian(kl, logits.view(-1))
    rows = [old.fisher((row.view(1, 1, 3),), torch.ones(1, 1))[0].view(-1) for row in torch.eye(3)]
    torch.testing.assert_close(torch.stack(rows), hessian, atol=1e-10, rtol=1e-9)
    counts = torch.zeros(3)
    noise = torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0))
    many = Categorical(logits.expand(1, 4000, 3))
    counts.index_add_(0, many.sample(noise)[0].long().view(-1), torch.ones(4000))
    torch.testing.assert_close(counts / 4000, logits.softmax(-1).view(-1), atol=0.03, rtol=0)
