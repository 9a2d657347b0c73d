"""Prototypes: distances against their definition, weights, losses, and what training sees."""

import pytest
import torch
from small_runs import E, M, SmallRun
from torch.nn import functional

import metarl
from metarl.experiment.config import parse_config
from metarl.experiment.world import Alone
from metarl.learners.metric.context_policy import Placed
from metarl.learners.metric.embedding import distances, mean_of, prototypical_loss
from metarl.learners.metric.library import TaskLibrary
from metarl.learners.metric.support_memory import SupportMemory
from metarl.params import flatten

HOPPER = "metarl/HopperRandParams-v0"


def comparing(env_id="metarl/PointNavigation-v0", h=12, **learner):
    return SmallRun("prototypes", env_id, h=h, embedding_size=3, encoder_sizes=(5,), **learner)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_distance_is_the_squared_discrepancy_of_all_pairs(float64):
    first, second = drawn(7, 3), 1.0 + drawn(5, 3, seed=1)

    def pairs(a, b):
        return (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1).mean()

    expected = pairs(first, second) - 0.5 * pairs(first, first) - 0.5 * pairs(second, second)
    found = distances(first.mean(0, keepdim=True), second.mean(0, keepdim=True))
    torch.testing.assert_close(found[0, 0], expected)


@pytest.mark.parametrize("kind", ["euclidean", "cosine"])
def test_a_task_has_no_distance_to_itself_and_the_same_both_ways(float64, kind):
    means = drawn(6, 3)
    found = distances(means, means, kind)
    torch.testing.assert_close(found.diagonal(), torch.zeros(6))
    torch.testing.assert_close(found, found.T)
    assert (found[~torch.eye(6, dtype=bool)] > 0).all()


def test_cosine_against_torch(float64):
    first, second = drawn(4, 3), drawn(5, 3, seed=1)
    expected = 1.0 - functional.cosine_similarity(first[:, None], second[None], dim=-1)
    torch.testing.assert_close(distances(first, second, "cosine"), expected)


def test_the_loss_against_its_definition(float64):
    prototypes, queries = drawn(3, 2), drawn(3, 4, 2, seed=1)
    known = torch.ones(3, 4, dtype=bool)
    known[1, 2] = False
    loss, right = prototypical_loss(prototypes, queries, known, "euclidean")
    total, hits = [], []
    for task in range(3):
        for query in range(4):
            if known[task, query]:
                away = (queries[task, query] - prototypes).square().sum(-1)
                total.append(-torch.log((-away).exp()[task] / (-away).exp().sum()))
                hits.append(float(away.argmin() == task))
    torch.testing.assert_close(loss, torch.stack(total).mean())
    assert float(right) == pytest.approx(sum(hits) / len(hits))


@pytest.fixture
def library(float64):
    made = TaskLibrary(4, 2, "euclidean", 2.0, torch.Generator())
    places = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [9.0, 9.0]])
    made.place(places, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    return made.double()


def test_weights_are_the_softmax_of_distances_to_known_tasks(library):
    here = torch.tensor([[0.0, 1.0]])
    expected = torch.softmax(-torch.tensor([1.0, 2.0, 4.0]) / 2.0, 0)
    found = library.weights(here)[0]
    torch.testing.assert_close(found[:3], expected)
    assert found[3] == 0


def test_a_task_does_without_its_own_entry(library):
    found = library.weights(torch.tensor([[0.0, 1.0]]), without=[0])[0]
    torch.testing.assert_close(found[1:3], torch.softmax(-torch.tensor([2.0, 4.0]) / 2.0, 0))
    assert found[0] == 0
    library.place(library.prototypes_KD.clone(), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    alone = library.weights(torch.tensor([[0.0, 1.0]]), without=[0])[0]
    torch.testing.assert_close(alone, torch.full((4,), 0.25))  # nobody else is known


@pytest.mark.parametrize("unplaced", [False, True])
def test_acting_has_the_log_probs_of_training(unplaced):
    run = comparing(HOPPER, 30)
    run.iterate()
    with torch.no_grad():
        run.learner.network.log_std.fill_(-1.0)
    state = run.begin()
    first = run.collect(state)
    if unplaced:
        first.valid_MEH[0] = False
    second = run.collect(run.learner.adapt(state, first), 1)
    library, placed = run.learner.network.library, run.learner.place(first)
    run.learner.ppo.weights_MK = library.weights(mean_of(*placed))
    data = run.learner.ppo_data(second, Placed(*placed, placed[0]))
    with torch.no_grad():
        log_probs = run.learner.ppo.distribution(data).log_prob(data["actions"])
    valid = data["valid"].squeeze(-1) == 1
    assert valid.any() and valid.sum() == second.valid_MEH[int(unplaced) :].sum()
    expected = data["log_probs"].squeeze(-1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-4, rtol=1e-4)


def test_support_episodes_explore_whatever_the_policy_has_become():
    run = comparing(h=100)
    with torch.no_grad():
        run.learner.network.log_std.fill_(-5.0)
        run.learner.network.head.layers[-1].bias.fill_(7.0)
    state = run.begin()
    first = run.collect(state)
    second = run.collect(run.learner.adapt(state, first), 1)
    explored, count = first.actions_MEHA, first.actions_MEHA.numel()
    assert abs(explored.mean()) < 4 * count**-0.5 and abs(explored.std() - 1) < 4 * count**-0.5
    assert 5.0 < second.actions_MEHA.mean() and second.actions_MEHA.std(1).mean() < 0.1
    expected = functional.gaussian_nll_loss(
        torch.zeros_like(explored), explored, torch.ones_like(explored), full=True, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(first.log_probs_MEH, -expected, atol=1e-5, rtol=1e-5)
    obs = first.obs_MEHO[0, 0]
    assert not run.learner.acting_module(state.of_tasks(slice(1)))(obs)[0].any()


def test_only_support_episodes_place_a_task():
    run = comparing()
    run.iterate(2)
    state = run.begin()
    placed = run.learner.adapt(state, run.collect(state))
    again = run.learner.adapt(placed, run.collect(placed, 1))
    assert torch.equal(placed.sums_MD, again.sums_MD)
    assert torch.equal(placed.contexts_MD, again.contexts_MD)
    assert not torch.equal(placed.contexts_MD, state.contexts_MD)


def test_the_memory_keeps_what_is_finite_and_valid_of_each_task():
    run = comparing(HOPPER, 30)
    rollouts = run.collect(run.begin())
    rollouts.rewards_MEH[1] = float("nan")
    memory, generator = SupportMemory(5, 9), torch.Generator().manual_seed(0)
    rows = run.learner.encoder.transitions(rollouts)
    memory.keep([4, 0, 2], rows, rollouts.valid_MEH, generator)
    means, known = memory.placed(run.learner.encoder)
    assert known.tolist() == [0, 0, 1, 0, 1] and means.isfinite().all()
    kept = memory.tensors()["support.transitions"]
    valid = rows[0][rollouts.valid_MEH[0]]
    assert all((valid == row).all(-1).any() for row in kept[4])
    again = SupportMemory(5, 9)
    again.load(memory.tensors(), rows.shape[-1], torch.device("cpu"))
    assert torch.equal(again.placed(run.learner.encoder)[0], means)


def test_a_transition_tells_the_gain_in_reward_not_what_it_was_before():
    run = comparing(HOPPER, 30)
    rollouts = run.collect(run.begin())
    size = run.learner.spec.obs_size + run.learner.spec.action_size
    rewards, gains = run.learner.encoder.transitions(rollouts)[..., size : size + 2].unbind(-1)
    assert torch.equal(rewards, rollouts.rewards_MEH * rollouts.valid_MEH)
    assert (gains[..., 0] == 0).all()
    lived = rollouts.valid_MEH[..., 1:]
    assert lived.any() and not rollouts.valid_MEH.all()
    assert torch.equal(gains[..., 1:][lived], rewards.diff(dim=-1)[lived])
    assert (gains[~rollouts.valid_MEH] == 0).all()


def test_the_encoder_learns_to_tell_tasks_apart():
    run = comparing(encoder_steps=200, embedded_steps=12)
    metrics = run.iterate()
    assert metrics["train/encoder_accuracy"] > 1.5 / M


def test_an_episode_that_diverges_at_once_leaves_the_prior():
    run = comparing()
    state = run.begin()
    rollouts = run.collect(state)
    rollouts.valid_MEH[:] = False
    after = run.learner.adapt(state, rollouts)
    assert torch.equal(after.contexts_MD, state.contexts_MD)
    assert run.learner.place(rollouts)[0].shape == (M, 3) and E > 1


def test_nothing_is_learned_from_tasks_that_nothing_has_placed():
    """Not by Adam's momentum either."""
    run = comparing()
    run.iterate(2)
    state = run.begin()
    first = run.collect(state)
    first.valid_MEH[:] = False
    first.obs_MEHO[:] = torch.nan
    before = flatten(run.learner.meta_parameters)
    generator = torch.Generator().manual_seed(0)
    placed = Placed(*run.learner.place(first), state.contexts_MD)
    run.learner.ppo.weights_MK = run.learner.network.library.weights(placed.sums_MD)
    data = run.learner.ppo_data(first, placed)
    metrics = run.learner.ppo.improve(data, generator, Alone())
    metrics |= run.learner.training.step(first, generator)
    assert flatten(run.learner.meta_parameters).equal(before)
    assert metrics["train/gradient_norm"] == metrics["train/encoder_gradient"] == 0.0


@pytest.mark.parametrize(
    ("keys", "rest", "message"),
    [
        ({}, {"tasks": {"kind": "fresh"}}, "tasks.kind=fixed and tasks.num"),
        ({"distance": "manhattan"}, {}, "must be 'euclidean' or 'cosine'"),
        ({"temperature": 0}, {}, "learner.temperature"),
    ],
)
def test_bad_configs_are_refused(tiny_document, keys, rest, message):
    document = {**tiny_document, "learner": {"name": "prototypes", **keys}, "policy": {}}
    document = {**document, "tasks": {"kind": "fixed", "num": 9}, **rest}
    with pytest.raises(metarl.ConfigError, match=message):
        parse_config(document)


def test_more_support_episodes_than_there_are_is_refused():
    with pytest.raises(metarl.ConfigError, match="must not exceed episodes = 4"):
        comparing(support_episodes=5)


def test_a_number_that_is_constant_at_first_keeps_its_size():
    run = comparing("metarl/PointNavigationSparse-v0")
    run.iterate()
    rollouts = run.collect(run.begin())
    before = mean_of(*run.learner.place(rollouts))[0]
    rollouts.rewards_MEH[0, 0, 3] = 1.0
    assert (mean_of(*run.learner.place(rollouts))[0] - before).abs().max() < 1.0


def test_a_single_episode_is_split_and_never_compared_with_itself():
    run = SmallRun("prototypes", episodes=1, embedding_size=3, support_episodes=1)
    assert run.iterate()["train/encoder_loss"] > 0.01


@pytest.mark.parametrize("name", ["prototypes", "varibad"])
def test_an_encoder_that_cannot_learn_is_said(name):
    run = SmallRun(name)
    module = run.learner.encoder if name == "prototypes" else run.learner.decoder
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    metrics = run.iterate()
    assert "non-finite gradient" in metrics["train/rejected_because"]
    assert metrics["train/skipped_updates"] > 0
