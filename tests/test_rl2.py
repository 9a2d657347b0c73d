"""Memory: carried across the episodes of a trial, reset between tasks, trained as it acts."""

import pytest
import torch
from test_learners import World

from metarl.errors import ConfigError
from metarl.estimators.returns import discounted_returns
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.learners.memory.rl2 import _advantages, _concatenate, _without_padding
from metarl.learners.memory.trial_ppo import _pool


def recurrent(memory="gru", env_id="metarl/PointNavigation-v0", h=12):
    world = World("rl2", env_id, h=h)
    learner = world.config.learner.model_copy(update={"memory": memory, "bptt_steps": h})
    world.config = world.config.model_copy(update={"learner": learner})
    world.learner = build_learner(world.config, world.spec)
    return world


@pytest.mark.parametrize("memory", ["gru", "lstm"])
@pytest.mark.parametrize("env_id", ["metarl/PointNavigation-v0", "metarl/HopperRandParams-v0"])
def test_whole_trials_give_the_log_probs_of_acting(memory, env_id):
    world = recurrent(memory, env_id, h=30)
    first, state = world.collect(world.begin(), 0)
    second, _ = world.collect(state, 1)
    episodes = [_without_padding(first), _without_padding(second)]
    learner = world.learner
    inputs = torch.cat([learner._episode_inputs(e) for e in episodes], dim=2)
    sequence = inputs.flatten(0, 1).transpose(0, 1)
    parts = world.learner.network.empty_memory(world.begin().parts["hidden"][..., 0].size)
    with torch.no_grad():
        outputs, _ = learner.network(sequence, parts)
        trial = _concatenate(episodes)
        actions = trial.actions_MEHA.flatten(0, 1).transpose(0, 1)
        log_probs = learner.network.distribution(outputs).log_prob(actions)
    expected = trial.log_probs_MEH.flatten(0, 1).transpose(0, 1)
    valid = trial.valid_MEH.flatten(0, 1).transpose(0, 1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-4, rtol=1e-4)


def test_memory_is_carried_across_episodes_and_starts_at_zero():
    world = recurrent()
    assert all((part == 0).all() for part in world.begin().parts.values())
    _, state = world.collect(world.begin(), 0)
    assert all((part != 0).any() for part in state.parts.values())
    fresh, _ = world.collect(world.begin(), 1)
    experienced, _ = world.collect(state, 1)
    assert not torch.equal(fresh.actions_MEHA[:, :, 0], experienced.actions_MEHA[:, :, 0])


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_state_acts_with_the_parameters_it_began_with(memory):
    world = recurrent(memory)
    state = world.begin()
    before, _ = world.collect(state)
    world.iterate(1)
    after, _ = world.collect(state)
    fresh, _ = world.collect(world.begin())
    assert torch.equal(before.actions_MEHA, after.actions_MEHA)
    assert not torch.equal(before.actions_MEHA, fresh.actions_MEHA)


def test_inputs_are_shifted_by_exactly_one():
    world = recurrent()
    rollouts, _ = world.collect(world.begin())
    inputs = world.learner._episode_inputs(rollouts)
    assert torch.equal(inputs[..., :2], rollouts.obs_MEHO)
    assert torch.equal(inputs[:, :, 1:, 2:4], rollouts.actions_MEHA[:, :, :-1])
    assert torch.equal(inputs[:, :, 1:, 4], rollouts.rewards_MEH[:, :, :-1])
    assert (inputs[:, :, 0, 2:5] == 0).all()
    assert (inputs[:, :, 0, 5] == 1).all() and (inputs[:, :, 1:, 5] == 0).all()


def test_memory_of_one_task_does_not_reach_another():
    world = recurrent()
    rollouts, _ = world.collect(world.begin())
    rollouts.rewards_MEH[1] += 100.0
    inputs = world.learner._episode_inputs(rollouts)
    parts = world.learner.network.empty_memory(world.begin().parts["hidden"][..., 0].size)
    outputs, _ = world.learner.network(inputs.flatten(0, 1).transpose(0, 1), parts)
    outputs = outputs.transpose(0, 1).reshape(3, 4, 12, -1)
    plain = world.learner._episode_inputs(world.collect(world.begin())[0])
    again, _ = world.learner.network(plain.flatten(0, 1).transpose(0, 1), parts)
    again = again.transpose(0, 1).reshape(3, 4, 12, -1)
    assert torch.equal(outputs[0], again[0]) and not torch.equal(outputs[1], again[1])


def test_advantages_reach_from_one_episode_to_the_next():
    world = recurrent("gru", "metarl/HopperRandParams-v0", h=40)
    first, state = world.collect(world.begin(), 0)
    second, _ = world.collect(state, 1)
    trial = _concatenate([_without_padding(first), _without_padding(second)])
    assert not trial.valid_MEH.all()
    config = world.config.learner.advantages.model_copy(update={"normalize": False})
    advantages = _advantages(trial, config)
    assert (advantages[~trial.valid_MEH] == 0).all()
    raised = trial.rewards_MEH.clone()
    raised[0, 0, -1 if trial.valid_MEH[0, 0, -1] else first.lengths_ME.max()] += 50.0
    more = discounted_returns(raised, torch.ones_like(trial.valid_MEH), 0.99)
    assert (
        more[0, 0, 0]
        > discounted_returns(trial.rewards_MEH, torch.ones_like(trial.valid_MEH), 0.99)[0, 0, 0]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bptt_steps": 7}, "learner.bptt_steps = 7 does not divide the trial's 2 x 12 = 24 steps"),
        ({"trial_episodes": 0}, "key 'learner.trial_episodes' is 0, must be greater than 0"),
        ({"hidden_size": -1}, "key 'learner.hidden_size' is -1"),
        ({"memory": "gru2"}, "key 'learner.memory' is 'gru2', must be 'gru' or 'lstm'"),
    ],
)
def test_bad_sizes(change, message, tiny_document):
    with pytest.raises(ConfigError) as error:
        document = {**tiny_document, "learner": {"name": "rl2", **change}, "horizon": 12}
        config = parse_config(document)
        build_learner(config, World("rl2").spec)
    assert message in str(error.value)


def test_entropy_bonus_widens_the_policy():
    widths = []
    for bonus in (0.0, 1.0):
        world = recurrent()
        learner = world.config.learner.model_copy(update={"entropy_bonus": bonus})
        world.learner = build_learner(
            world.config.model_copy(update={"learner": learner}), world.spec
        )
        world.iterate(3)
        widths.append(float(world.learner.meta_parameters["log_std"].mean()))
    assert widths[1] > widths[0]


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_threads_do_not_change_the_update(memory):
    results = []
    for threads in (1, 2):
        world = recurrent(memory)
        torch.set_num_threads(threads)
        world.learner.iterate(lambda state, world=world: world.collect(state), world.tasks)
        assert torch.get_num_threads() == threads
        results.append(world.learner.meta_parameters)
    torch.set_num_threads(1)
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


@pytest.mark.parametrize("memory", ["gru", "lstm"])
@pytest.mark.parametrize("env_id", ["metarl/PointNavigation-v0", "metarl/HopperRandParams-v0"])
def test_a_piece_starts_from_the_memory_that_acting_had(memory, env_id):
    world = recurrent(memory, env_id, h=30)
    ppo = world.learner._ppo
    ppo._config = ppo._config.model_copy(update={"bptt_steps": 7})
    seen = []
    ppo.update = lambda data: seen.append(data) or {}
    world.iterate(1)
    (data,) = seen
    length, count = data["inputs"].shape[:2]
    with _pool() as pool, torch.no_grad():
        pieces = ppo._pieces(data, pool)
        outputs, _ = ppo._network(pieces["inputs"], list(pieces["memory"].split(1)))
    assert pieces["inputs"].shape[:2] == (7, count * -(-length // 7))
    assert pieces["valid"].sum() == data["valid"].sum()
    log_probs = ppo._network.distribution(outputs).log_prob(pieces["actions"])
    valid, expected = pieces["valid"].squeeze(-1) == 1, pieces["log_probs"].squeeze(-1)
    torch.testing.assert_close(log_probs[valid], expected[valid], atol=1e-4, rtol=1e-4)


def pieces_of(world, count, length):
    """Random pieces in float64, without memory."""
    world.learner.network.double()
    generator = torch.Generator().manual_seed(0)
    sizes = {"inputs": 6, "actions": 2, "log_probs": 1, "advantages": 1}
    data = {n: torch.randn(length, count, size, generator=generator) for n, size in sizes.items()}
    memory = torch.cat(world.learner.network.empty_memory(count))
    return {**data, "valid": torch.ones(length, count, 1), "memory": memory}


def test_slices_of_a_minibatch_add_up_to_its_gradient(float64):
    world = recurrent()
    ppo, data = world.learner._ppo, pieces_of(world, 6, 24)
    total = data["valid"].sum()
    whole, kl = ppo._gradient(data, total)
    halves = [
        ppo._gradient({n: v[:, rows] for n, v in data.items()}, total)
        for rows in (slice(0, 2), slice(2, 6))
    ]
    for gradient, first, second in zip(whole, halves[0][0], halves[1][0], strict=True):
        torch.testing.assert_close(gradient, first + second)
    assert kl == pytest.approx(halves[0][1] + halves[1][1])


def test_a_minibatch_steps_along_the_gradient_of_all_its_pieces(float64):
    world = recurrent()
    ppo, data = world.learner._ppo, pieces_of(world, 7, 24)
    ppo._config = ppo._config.model_copy(update={"max_gradient_norm": 1e9})
    rows = torch.tensor([4, 0, 6, 3, 1])
    chosen = {n: v[:, rows] for n, v in data.items()}
    expected, _ = ppo._gradient(chosen, chosen["valid"].sum())
    with _pool() as pool:
        ppo._minibatch(data, rows, pool)
    for parameter, gradient in zip(world.learner.network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
