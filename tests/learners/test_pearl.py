"""PEARL's parts against closed forms, numerical integrals and finite differences."""

import numpy as np
import pytest
import torch
from small_runs import E, M, SmallRun, percept
from torch import distributions as td

import metarl
from metarl.environments.fit import Spec
from metarl.experiment.config import parse_config
from metarl.interaction.replay import TaskReplay
from metarl.interaction.rollouts import Transitions
from metarl.learners.base import Setting
from metarl.learners.inference.belief import LatentBelief, kl_to_standard_normal
from metarl.learners.inference.pearl import PEARL, PEARLConfig, PEARLPolicyConfig
from metarl.params import flatten, unflatten
from metarl.policies.squashed import ActionRange, sample_unit

SMALL = {"latent_size": 2, "encoder_sizes": (5,), "context_size": 7, "batch_size": 6}
SPEC = Spec(3, (-1.0, -4.0), (1.0, 2.0))
TASKS = 4


@pytest.fixture
def learner(float64):
    setting = Setting(SPEC, 2, 5, dtype=torch.float64)
    built = PEARL(PEARLConfig(**SMALL), PEARLPolicyConfig(hidden_sizes=(6, 6)), setting)
    with torch.no_grad():  # larger than the initial ones, so that everything matters
        for index, value in enumerate(built.networks.parameters()):
            generator = torch.Generator().manual_seed(index)
            value.copy_(0.5 * torch.randn(value.shape, generator=generator))
    return built


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows(tasks, count, seed):
    ends = drawn(tasks, count, seed=seed + 4) > 1.0
    return Transitions(
        drawn(tasks, count, 3, seed=seed),
        drawn(tasks, count, 2, seed=seed + 1).clamp(-0.9, 0.9),
        drawn(tasks, count, seed=seed + 2),
        drawn(tasks, count, 3, seed=seed + 3),
        ends,
    )


def batch(tasks=TASKS):
    noise = [drawn(tasks, 2, seed=30), drawn(tasks, 6, 2, seed=31), drawn(tasks, 6, 2, seed=32)]
    return rows(tasks, 6, 10), rows(tasks, 7, 20), *noise


# T11: the posterior


def test_the_posterior_is_the_normalised_product_of_its_factors(float64):
    means, variances = drawn(1, 5, 1), drawn(1, 5, 1, seed=1).exp()
    belief = LatentBelief.prior(1, 1, means).with_factors(means, variances, torch.ones(1, 5))
    grid = torch.linspace(-12, 12, 200_001)
    density = torch.exp(
        sum(
            td.Normal(m, v.sqrt()).log_prob(grid)
            for m, v in zip(means[0, :, 0], variances[0, :, 0], strict=True)
        )
    )
    density /= density.sum()
    mean = (density * grid).sum()
    variance = (density * (grid - mean) ** 2).sum()
    torch.testing.assert_close(belief.moments()[0][0, 0], mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(belief.moments()[1][0, 0], variance, atol=1e-9, rtol=0)


def test_no_factor_is_the_prior_and_one_factor_is_itself(float64):
    prior = LatentBelief.prior(2, 3, drawn(1))
    assert torch.equal(prior.moments()[0], torch.zeros(2, 3))
    assert torch.equal(prior.moments()[1], torch.ones(2, 3))
    mean, variance = drawn(2, 1, 3), drawn(2, 1, 3, seed=1).exp()
    one = prior.with_factors(mean, variance, torch.ones(2, 1))
    torch.testing.assert_close(one.moments()[0], mean[:, 0])
    torch.testing.assert_close(one.moments()[1], variance[:, 0])
    none = prior.with_factors(mean, variance, torch.zeros(2, 1))
    assert torch.equal(none.moments()[1], torch.ones(2, 3))


def test_the_order_of_transitions_does_not_matter(learner):
    context, order = rows(TASKS, 7, 20), torch.randperm(7)
    shuffled = Transitions(*(v[:, order] for v in context))
    valid = torch.ones(TASKS, 7)
    first, second = (
        learner.begin(TASKS, 1).with_factors(*learner.factors(c), valid).moments()
        for c in (context, shuffled)
    )
    torch.testing.assert_close(first, second)


def test_kl_against_torch(float64):
    mean, variance = drawn(5, 3), drawn(5, 3, seed=1).exp()
    expected = td.kl_divergence(td.Normal(mean, variance.sqrt()), td.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, variance), expected)


# Acting


def test_squashed_log_probabilities_against_torch(float64):
    outputs, noise = 0.5 * drawn(50, 4), drawn(50, 2, seed=1)
    actions, log_probs = ActionRange(SPEC, outputs).sample(outputs, noise)
    mean, log_std = outputs.chunk(2, -1)
    low, high = torch.tensor(SPEC.action_low), torch.tensor(SPEC.action_high)
    transforms = [td.TanhTransform(), td.AffineTransform((low + high) / 2, (high - low) / 2)]
    base = td.Normal(mean, log_std.clamp(-20, 2).exp())
    expected = td.TransformedDistribution(base, transforms).log_prob(actions.clone()).sum(-1)
    torch.testing.assert_close(log_probs, expected, atol=1e-6, rtol=1e-6)
    assert (actions > low).all() and (actions < high).all()


def test_a_latent_is_held_for_an_episode_and_drawn_anew_for_the_next():
    run = SmallRun("pearl")
    actor, rng = run.learner.actor(run.begin()), np.random.default_rng(0)
    latents = []
    for t in range(6):
        noise = rng.standard_normal((M, E, run.learner.noise_size)).astype(np.float32)
        seen = percept()._replace(first_ME=np.full((M, E), t in (0, 3)))
        latents.append(actor.act(seen, noise).extras["latents"])
    assert (latents[0] == latents[2]).all() and (latents[3] == latents[5]).all()
    assert (latents[0] != latents[3]).all()
    assert len(np.unique(latents[0][..., 0])) == M * E


# Losses


def test_the_critics_loss_against_its_definition(learner):
    data, _, *noise = batch()
    latents = drawn(TASKS, 6, 2, seed=5)
    sac = learner.sac
    with torch.no_grad():
        loss = sac.critic_loss(data, latents, sac.target(data, latents, noise[1]))
    total = torch.zeros(())
    for m in range(TASKS):
        for b in range(6):
            state = torch.cat([data.next_obs_NO[m, b], latents[m, b]])
            action, log_prob = sample_unit(sac.policy(state), noise[1][m, b])
            value = min(q(torch.cat([state, action])).item() for q in sac.targets)
            target = 5.0 * data.rewards_N[m, b]
            if not data.terminated_N[m, b]:
                target = target + 0.99 * (value - log_prob)
            inputs = torch.cat([data.obs_NO[m, b], latents[m, b], data.actions_NA[m, b]])
            total += sum((q(inputs)[0] - target) ** 2 for q in sac.critics)
    torch.testing.assert_close(loss, total.detach())
    assert data.terminated_N.any() and not data.terminated_N.all()


def objective(learner, data, context, noise, target=None):
    """The two losses as functions of all parameters; targets are fixed."""
    mean, variance = (
        learner.begin(TASKS, 1)
        .with_factors(*learner.factors(context), torch.ones(TASKS, 7))
        .moments()
    )
    latents = (mean + variance.sqrt() * noise[0]).unsqueeze(1).expand(-1, 6, -1)
    kl = kl_to_standard_normal(mean, variance).sum()
    if target is None:
        target = learner.sac.target(data, latents, noise[1])
    critic = learner.sac.critic_loss(data, latents, target) / 6 + 0.1 * kl
    policy = learner.sac.policy_loss(data, latents, noise[2]) / 6
    return {"critic": critic, "policy": policy, "target": target}


@pytest.mark.parametrize("part", ["encoder", "sac.critics", "sac.policy"])
def test_gradients_equal_finite_differences(learner, part):
    data, context, *noise = batch()
    found = learner.gradient(data, context, *noise)
    like = learner.meta_parameters
    gradient = unflatten(found[:-3], like)
    names = [name for name in like if name.startswith(part)]
    direction = {name: drawn(*like[name].shape, seed=40 + i) for i, name in enumerate(names)}
    step, values = 1e-6, []
    with torch.no_grad():
        target = objective(learner, data, context, noise)["target"]
        for sign in (1, -1):
            moved = {n: v + sign * step * direction.get(n, 0.0) for n, v in like.items()}
            kept = {n: v.clone() for n, v in like.items()}
            learner.load_meta_parameters(moved)
            losses = objective(learner, data, context, noise, target)
            learner.load_meta_parameters(kept)
            values.append(float(losses["policy" if part == "sac.policy" else "critic"]))
    expected = (values[0] - values[1]) / (2 * step)
    value = sum(float((gradient[n] * direction[n]).sum()) for n in names)
    assert value == pytest.approx(expected, rel=1e-5)


def test_weights_of_kl_and_critics_do_not_depend_on_the_number_of_tasks(learner):
    """The same task several times over: the mean gradient is that of the one."""
    one = batch(1)
    many = [_repeated(part) for part in one]
    first = learner.gradient(*one)
    torch.testing.assert_close(learner.gradient(*many) / 5, first)


def _repeated(part):
    if isinstance(part, Transitions):
        return Transitions(*(v.repeat(5, *[1] * (v.dim() - 1)) for v in part))
    return part.repeat(5, *[1] * (part.dim() - 1))


def test_the_reference_sums_the_kl_over_tasks(learner):
    data, context, *noise = batch()
    mean = learner.gradient(data, context, *noise)
    learner.config = PEARLConfig(**SMALL, kl_reduction="reference", gradient_tasks=TASKS)
    summed = learner.gradient(data, context, *noise)
    learner.config = PEARLConfig(**SMALL, kl_weight=0.1 * TASKS)
    torch.testing.assert_close(summed, learner.gradient(data, context, *noise))
    assert not torch.equal(summed, mean)


def test_slow_critics_follow(learner):
    sac = learner.sac
    slow, fast = (flatten(dict(part.named_parameters())) for part in (sac.targets, sac.critics))
    sac.follow(0.25)
    expected = slow + 0.25 * (fast - slow)
    torch.testing.assert_close(flatten(dict(sac.targets.named_parameters())), expected)


# Replay


def test_replay_keeps_the_newest_of_each_task_and_nothing_invalid():
    run = SmallRun("pearl", "metarl/HopperRandParams-v0", h=40)
    replay, rollouts = TaskReplay(50), run.collect(run.begin())
    replay.add([7, 3, 5], rollouts)
    replay.add([7, 3, 5], rollouts)
    assert replay.keys == [3, 5, 7]
    whole = torch.cat([rollouts.transitions(1).obs_NO] * 2)
    kept = replay.tensors("x")["x.3.obs_NO"]
    assert torch.equal(kept, whole[-50:])
    again = TaskReplay(50)
    again.load("x", replay.tensors("x"), torch.device("cpu"))
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    first, second = (
        r.sample([5, 3], 9, g) for r, g in zip((replay, again), generators, strict=True)
    )
    assert first.obs_NO.shape[:2] == (2, 9)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    replay.clear([3])
    assert replay.keys == [5, 7]


# Bad input


@pytest.mark.parametrize(
    ("learner_keys", "rest", "message"),
    [
        ({}, {"tasks": {"kind": "fresh"}}, "tasks.kind=fixed and tasks.num"),
        ({"replay_size": 100}, {}, "replay_size = 100 must hold batch_size = 256"),
        ({"kl_reduction": "sum"}, {}, "must be 'mean' or 'reference'"),
    ],
)
def test_bad_configs_are_refused(tiny_document, learner_keys, rest, message):
    document = {**tiny_document, "learner": {"name": "pearl", **learner_keys}, "policy": {}}
    document = {**document, "tasks": {"kind": "fixed", "num": 9}, **rest}
    with pytest.raises(metarl.ConfigError, match=message):
        parse_config(document)


def test_discrete_actions_are_refused():
    with pytest.raises(metarl.ConfigError, match="pearl needs real-valued actions"):
        PEARL(PEARLConfig(), PEARLPolicyConfig(), Setting(Spec(2, (0.0,), (2.0,), 3), 1, 5))


# Guided by a denser reward


def test_actor_and_critics_learn_from_the_guide_and_the_belief_from_the_reward():
    run = SmallRun("pearl", "metarl/PointNavigationSparse-v0", training_reward=True)
    rollouts = run.collect(run.begin())
    guide = rollouts.extras["training_reward"]
    assert (guide < 0).all() and not torch.equal(guide, rollouts.rewards_MEH)
    run.iterate()
    replayed = run.learner.buffers()
    assert (replayed["replay.0.rewards_N"] < 0).all()
    assert (replayed["context.0.rewards_N"] >= 0).all()


def test_a_guide_that_is_not_there_is_a_sentence():
    run = SmallRun("pearl", training_reward=True)
    with pytest.raises(metarl.ConfigError, match="needs an environment that reports"):
        run.iterate()
