"""Memory: carried across the episodes of a trial, reset between tasks, trained as it acts."""

import pickle
from dataclasses import replace

import pytest
import torch
from small_runs import SmallRun, tensors

from metarl.errors import ConfigError
from metarl.estimators.returns import discounted_returns
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.experiment.world import Alone

MEMORIES = ["gru", "lstm", "transformer"]
POINT, HOPPER = "metarl/PointNavigation-v0", "metarl/HopperRandParams-v0"


def recurrent(memory="gru", env_id=POINT, h=12, **learner):
    own = {} if memory == "transformer" else {"bptt_steps": h}
    return SmallRun("rl2", env_id, h=h, memory=memory, **own, **learner)


def trial_of(run, phases=(0, 1)):
    """The rollouts of a trial, and what PPO learns from."""
    state, episodes = run.begin(), []
    for phase in phases:
        episodes.append(run.collect(state, phase))
        state = run.learner.adapt(state, episodes[-1])
    return episodes, run.learner.trial(run.learner.joined(episodes))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("env_id", [POINT, HOPPER])
def test_whole_trials_give_the_log_probs_of_acting(memory, env_id):
    run = recurrent(memory, env_id, h=30)
    episodes, trial = trial_of(run, (0, 1, 2))
    network = run.learner.network
    with torch.no_grad():
        outputs = network(trial["inputs"])
        log_probs = network.distribution(outputs).log_prob(trial["actions"])
    valid = trial["valid"].squeeze(-1) == 1
    assert valid.sum() == sum(int(e.valid_MEH.sum()) for e in episodes)
    expected = trial["log_probs"].squeeze(-1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_cached_memory_equals_its_replay(memory):
    run = recurrent(memory)
    state = run.step(run.begin())
    rollouts = run.collect(state, 1)
    assert rollouts.acted.first_state is state
    cached = run.learner.adapt(state, rollouts)
    assert cached.parts.keys() == rollouts.acted.final_state.parts.keys()
    replayed = run.learner.adapt(state, rollouts.map(torch.clone))
    for a, b in zip(tensors(cached), tensors(replayed), strict=True):
        assert torch.equal(a, b)


def test_a_cache_counts_for_the_same_weights_and_rollouts_only():
    run, other = recurrent(), recurrent()
    other.learner.network.head.weight.data += 0.1
    other.learner.load_meta_parameters(other.learner.meta_parameters)
    state = run.step(run.begin())
    rollouts = run.collect(state, 1)
    cached = run.learner.adapt(state, rollouts).parts["hidden"]
    changed = replace(rollouts, rewards_MEH=rollouts.rewards_MEH + 5.0)
    assert changed.acted is None and pickle.loads(pickle.dumps(rollouts)).acted is None
    assert not torch.allclose(run.learner.adapt(state, changed).parts["hidden"], cached)
    run.iterate()
    for learner in (other.learner, run.learner):
        found, replayed = (learner.adapt(state, r) for r in (rollouts, rollouts.map(torch.clone)))
        assert torch.equal(found.parts["hidden"], replayed.parts["hidden"])
    assert not torch.allclose(run.learner.adapt(state, rollouts).parts["hidden"], cached)


def test_memory_stands_still_after_an_episodes_end():
    """The memory of an episode that ends early is that of the same steps alone."""
    run = recurrent("gru", HOPPER, h=40)
    state = run.begin()
    rollouts = run.collect(state)
    assert rollouts.acted is None and not rollouts.valid_MEH.all()
    after = run.learner.adapt(state, rollouts).parts["hidden"]
    inputs, core = run.learner.episode_inputs(rollouts), run.learner.network.core
    for task, episode in ((0, 0), (1, 2)):
        steps = inputs[task, episode, : int(rollouts.lengths_ME[task, episode])]
        with torch.no_grad():
            _, (alone,) = core.run(steps[:, None], core.empty(1))
        torch.testing.assert_close(after[task, episode], alone[0], atol=1e-5, rtol=1e-4)


def test_memory_is_carried_across_episodes_and_starts_at_zero():
    run = recurrent()
    assert all((part == 0).all() for part in run.begin().parts.values())
    state = run.step(run.begin())
    assert all((part != 0).any() for part in state.parts.values())
    fresh, experienced = run.collect(run.begin(), 1), run.collect(state, 1)
    assert not torch.equal(fresh.actions_MEHA[:, :, 0], experienced.actions_MEHA[:, :, 0])


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_actor_acts_with_the_parameters_it_was_made_with(memory):
    run = recurrent(memory)
    rollouts = run.collect(run.begin())
    actor = run.learner.actor(run.begin())
    start = run.learner.actor(run.begin())
    run.iterate(1)
    del start
    assert not torch.equal(rollouts.actions_MEHA, run.collect(run.begin()).actions_MEHA)
    assert all((part == 0).all() for part in actor.state.parts.values())


def test_inputs_are_shifted_by_exactly_one():
    run = recurrent()
    rollouts = run.collect(run.begin())
    inputs = run.learner.episode_inputs(rollouts)
    assert torch.equal(inputs[..., :2], rollouts.obs_MEHO)
    assert torch.equal(inputs[:, :, 1:, 2:4], rollouts.actions_MEHA[:, :, :-1])
    assert torch.equal(inputs[:, :, 1:, 4], rollouts.rewards_MEH[:, :, :-1])
    assert (inputs[:, :, 0, 2:5] == 0).all()
    assert (inputs[:, :, 0, 5] == 1).all() and (inputs[:, :, 1:, 5] == 0).all()


def test_memory_of_one_task_does_not_reach_another():
    run = recurrent()
    plain = run.collect(run.begin()).map(torch.clone)
    changed = plain.map(torch.clone)
    changed.rewards_MEH[1] += 100.0
    first, second = (run.learner.adapt(run.begin(), r).parts["hidden"] for r in (plain, changed))
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])


def test_advantages_reach_from_one_episode_to_the_next():
    plain = {"advantages": {"normalize": False}}
    run = recurrent("gru", HOPPER, h=40, **plain)
    episodes, trial = trial_of(run)
    valid = trial["valid"].squeeze(-1) == 1
    advantages = trial["advantages"].squeeze(-1)
    assert not valid.all() and (advantages[~valid] == 0).all()
    episodes[1].rewards_MEH[0, 0, 0] += 50.0
    raised = run.learner.trial(run.learner.joined(episodes))["advantages"].squeeze(-1)
    assert raised[0, 0] != advantages[0, 0]
    rewards = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]])
    returns = discounted_returns(rewards, torch.ones(1, 1, 4, dtype=torch.bool), 0.5)
    assert returns[0, 0, 0] == 1.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bptt_steps": 7}, "learner.bptt_steps = 7 does not divide the trial's 2 x 12 = 24 steps"),
        ({"trial_episodes": 0}, "key 'learner.trial_episodes' is 0, must be greater than 0"),
        ({"hidden_size": -1}, "key 'learner.hidden_size' is -1"),
        (
            {"memory": "gru2"},
            "'learner.memory' is 'gru2', must be 'gru', 'lstm', 'transformer' or",
        ),
        ({"memory": "transformer", "bptt_steps": 4}, "bptt_steps belongs to memory=gru and"),
        ({"transformer": {"heads": 2}}, "transformer belongs to memory=transformer"),
        ({"memory": "transformer", "hidden_size": 33}, "hidden_size = 33 is no multiple of the 2"),
    ],
)
def test_bad_sizes(change, message, tiny_document):
    with pytest.raises(ConfigError) as error:
        learner = {"learner": {"name": "rl2", **change}, "policy": {}}
        config = parse_config({**tiny_document, **learner, "horizon": 12})
        build_learner(config, SmallRun("rl2").spec)
    assert message in str(error.value)


def test_keys_that_no_recurrent_policy_has_are_refused(tiny_document):
    with pytest.raises(ConfigError) as error:
        parse_config({**tiny_document, "learner": {"name": "rl2"}})
    assert "key 'policy' hidden_sizes belongs to network=hypernetwork" in str(error.value)


def test_entropy_bonus_widens_the_policy():
    widths = []
    for bonus in (0.0, 1.0):
        run = recurrent(entropy_bonus=bonus)
        run.iterate(3)
        widths.append(float(run.learner.meta_parameters["log_std"].mean()))
    assert widths[1] > widths[0]


@pytest.mark.parametrize("memory", MEMORIES)
def test_threads_do_not_change_the_update(memory):
    results = []
    for threads in (1, 2):
        run = recurrent(memory)
        torch.set_num_threads(threads)
        run.iterate()
        assert torch.get_num_threads() == threads
        results.append(run.learner.meta_parameters)
    torch.set_num_threads(1)
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


@pytest.mark.parametrize("memory", ["gru", "lstm"])
@pytest.mark.parametrize("env_id", [POINT, HOPPER])
def test_a_piece_starts_from_the_memory_that_acting_had(memory, env_id):
    run = recurrent(memory, env_id, h=30)
    ppo = run.learner.ppo
    ppo.bptt_steps = 7
    _, data = trial_of(run)
    length, count = data["inputs"].shape[:2]
    with torch.no_grad():
        pieces = ppo.pieces(data)
        outputs = ppo.network(pieces["inputs"], list(pieces["memory"]))
    assert pieces["inputs"].shape[:2] == (7, count * -(-length // 7))
    assert pieces["valid"].sum() == data["valid"].sum()
    log_probs = ppo.network.distribution(outputs).log_prob(pieces["actions"])
    valid, expected = pieces["valid"].squeeze(-1) == 1, pieces["log_probs"].squeeze(-1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-4, rtol=1e-4)


def pieces_of(run, count, length):
    """Random pieces in float64, without memory."""
    run.learner.network.double()
    generator = torch.Generator().manual_seed(0)
    sizes = {"inputs": 6, "actions": 2, "log_probs": 1, "advantages": 1}
    data = {n: torch.randn(length, count, size, generator=generator) for n, size in sizes.items()}
    return {**data, "valid": torch.ones(length, count, 1)}


def test_slices_of_a_minibatch_add_up_to_its_gradient(float64):
    run = recurrent()
    ppo, data = run.learner.ppo, pieces_of(run, 6, 24)
    total = float(data["valid"].sum())
    halves = [
        ppo.gradient({n: v[:, rows] for n, v in data.items()}, total)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(ppo.gradient(data, total), halves[0] + halves[1])


def test_a_minibatch_steps_along_the_gradient_of_all_its_pieces(float64):
    run = recurrent()
    ppo, data = run.learner.ppo, pieces_of(run, 7, 24)
    ppo.config = ppo.config.model_copy(update={"max_gradient_norm": 1e9})
    rows = torch.tensor([4, 0, 6, 3, 1])
    chosen = {n: v[:, rows] for n, v in data.items()}
    expected = ppo.gradient(chosen, float(chosen["valid"].sum()))
    _, kl = ppo.minibatch(data, rows, Alone())
    found = torch.cat([p.grad.reshape(-1) for p in run.learner.network.parameters()])
    torch.testing.assert_close(found, expected[:-1])
    assert kl == pytest.approx(float(expected[-1]))
