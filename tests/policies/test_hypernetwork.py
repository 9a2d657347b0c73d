"""A generated policy: an ordinary one at the start, whatever the memory; differentiated right."""

import numpy as np
import pytest
import torch
from small_runs import SmallRun, tensors
from torch import nn

from metarl.policies.networks.heads import HyperHead

SIZES = (3, 5, 4, 2)
POLICY = {"network": "hypernetwork", "hidden_sizes": [6]}


@pytest.fixture
def head(float64):
    built = HyperHead(7, SIZES)
    built.initialise(torch.Generator().manual_seed(0))
    return built


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ordinary(head):
    """The network of `torch.nn` with the weights that a zero memory generates."""
    layers, parts = [], list(head.generate.bias.detach().split([15, 5, 20, 4, 8, 2]))
    for i, j in ((3, 5), (5, 4), (4, 2)):
        layer = nn.Linear(i, j)
        layer.weight.data = parts.pop(0).reshape(i, j).T
        layer.bias.data = parts.pop(0)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def test_every_memory_generates_the_same_ordinary_network_at_the_start(head):
    obs, hidden = drawn(10, 3), drawn(10, 7, seed=1)
    outputs = head(hidden, obs)
    assert torch.equal(outputs, head(torch.zeros(10, 7), obs))
    torch.testing.assert_close(outputs, ordinary(head)(obs))
    weights = head.generate.bias.detach()[:15]
    assert weights.abs().max() <= 3**-0.5 and weights.std() > 0.2


def test_generated_weights_are_those_of_a_module_with_the_same_ones(head):
    with torch.no_grad():
        head.generate.weight.copy_(0.3 * drawn(*head.generate.weight.shape, seed=2))
    obs, hidden = drawn(1, 3), drawn(1, 7, seed=1)
    copied = HyperHead(7, SIZES)
    copied.generate.weight.data.zero_()
    copied.generate.bias.data = head.generate(hidden)[0].detach()
    torch.testing.assert_close(head(hidden, obs), ordinary(copied)(obs))


def test_gradients_equal_finite_differences(head):
    with torch.no_grad():
        head.generate.weight.copy_(0.3 * drawn(*head.generate.weight.shape, seed=2))
    hidden, obs = drawn(4, 7, seed=1).requires_grad_(), drawn(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(head, (hidden, obs))


def test_acting_in_arrays_is_the_same(head):
    with torch.no_grad():
        head.generate.weight.copy_(0.3 * drawn(*head.generate.weight.shape, seed=2))
    hidden, obs = drawn(9, 7, seed=1), drawn(9, 3)
    outputs = head.on_arrays()(hidden.numpy(), obs.numpy())
    np.testing.assert_allclose(outputs, head(hidden, obs).detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_rl2_with_it_acts_as_it_is_trained_and_its_cache_equals_replay(memory):
    run = SmallRun("rl2", policy=POLICY, memory=memory, bptt_steps=12)
    run.iterate(3)  # away from the start
    learner, state = run.learner, run.step(run.begin())
    rollouts = run.collect(state, 1)
    cached, replayed = (learner.adapt(state, r) for r in (rollouts, rollouts.map(torch.clone)))
    for a, b in zip(tensors(cached), tensors(replayed), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    first = run.collect(run.begin(), 2)
    trial = learner.trial(learner.joined([first]))
    with torch.no_grad():
        outputs = learner.network(trial["inputs"])
        log_probs = learner.network.distribution(outputs).log_prob(trial["actions"])
    torch.testing.assert_close(log_probs, trial["log_probs"].squeeze(-1), atol=1e-4, rtol=1e-4)
