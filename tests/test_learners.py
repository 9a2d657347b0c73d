"""The learner interface, held by every registered learner; a new one adds no test code."""

import numpy as np
import pytest
import torch

import metarl_envs.tasks.batches as task_batches
from metarl.environments.make import make_env, spec_of_spaces
from metarl.experiment.building import build_learner, from_checkpoint
from metarl.experiment.checkpoint import read_checkpoint, save_checkpoint
from metarl.experiment.config import parse_config
from metarl.interaction.rollouts import collect
from metarl.learners import LEARNERS
from metarl.params import flatten

M, E, H = 3, 4, 12
NEVER_LEARN = {"random_init"}


@pytest.fixture(params=list(LEARNERS))
def name(request):
    return request.param


class World:
    """A learner and its environment, small."""

    def __init__(
        self, name, env_id="metarl/PointNavigation-v0", num_tasks=M, episodes=E, h=H, policy=None
    ):
        self.config = parse_config(
            {
                "env": {"id": env_id, "kwargs": {"action_scale": 10.0}},
                "learner": {"name": name},
                "policy": {"hidden_sizes": [8, 8], **(policy or {})},
                "meta_batch": num_tasks,
                "episodes": episodes,
                "horizon": h,
                "iterations": 1,
            }
        )
        self.env = make_env(self.config.env, num_tasks * episodes, h)
        self.keys, self.h = list(range(num_tasks)), h
        spaces = self.env.single_observation_space, self.env.single_action_space
        self.spec = spec_of_spaces(*spaces, episodes, h)
        self.learner = build_learner(self.config, self.spec)
        self.tasks = self.env.task_distribution("train").sample(num_tasks, 0)
        self.env.set_tasks(task_batches.repeat(self.tasks, episodes))

    def collect(self, state, phase=0, learner=None):
        path = (0, 0, phase)
        return collect(self.env, learner or self.learner, state, path, self.keys, self.h)

    def iterate(self, times=1):
        phase = 0

        def gather(state):
            nonlocal phase
            phase += 1
            return self.collect(state, phase)

        return [self.learner.iterate(gather, self.tasks) for _ in range(times)][-1]

    def begin(self, learner=None):
        return (learner or self.learner).begin(len(self.keys), self.env.num_envs // len(self.keys))


def vector(learner):
    return flatten(learner.meta_parameters).clone()


def tensors(state):
    """All tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [t for key in sorted(state) for t in tensors(state[key])]
    if hasattr(state, "__dataclass_fields__"):
        return [t for field in state.__dataclass_fields__ for t in tensors(getattr(state, field))]
    return []


def test_adapt_returns_a_new_state_and_leaves_everything_else_alone(name):
    world = World(name)
    before = vector(world.learner)
    state = world.begin()
    kept = [t.clone() for t in tensors(state)]
    rollouts, after = world.collect(state)
    adapted = world.learner.adapt(after, rollouts)
    assert torch.equal(vector(world.learner), before)
    assert all(torch.equal(a, b) for a, b in zip(kept, tensors(state), strict=True))
    assert all(t.shape[0] == M for t in tensors(adapted))
    first, _ = world.collect(state, 1)
    second, _ = world.collect(adapted, 1)
    assert not torch.equal(first.actions_MEHA, second.actions_MEHA)


def test_any_number_of_steps_and_episodes_at_test_time(name):
    world = World(name, episodes=7)
    state = world.begin()
    for step in range(4):
        rollouts, state = world.collect(state, step)
        assert torch.isfinite(rollouts.log_probs_MEH).all()
        state = world.learner.adapt(state, rollouts)


def test_one_task_and_one_episode(name):
    world = World(name, num_tasks=1, episodes=1, h=30)
    metrics = world.iterate()
    assert all(np.isfinite(v) for v in metrics.values() if not isinstance(v, str))
    rollouts, state = world.collect(world.begin())
    world.learner.adapt(state, rollouts)


def test_iterate_learns_and_is_deterministic(name):
    first, again = World(name), World(name)
    before = vector(first.learner)
    metrics, same = first.iterate(2), again.iterate(2)
    assert torch.equal(vector(first.learner), vector(again.learner))
    assert metrics == same
    assert torch.equal(before, vector(first.learner)) == (name in NEVER_LEARN)
    assert {"train/return_step_0", "train/diverged"} <= metrics.keys()


def test_save_and_load_reproduce_actions_and_learning_to_the_bit(name, tmp_path):
    world = World(name)
    world.iterate()
    save_checkpoint(tmp_path, world.learner, world.config, 1, 0, {})
    loaded = from_checkpoint(read_checkpoint(tmp_path / "iteration_000001"), world.config)
    rollouts, state = world.collect(world.begin(), 5)
    adapted = world.learner.adapt(state, rollouts)
    rollouts_2, state_2 = world.collect(world.begin(loaded), 5, loaded)
    adapted_2 = loaded.adapt(state_2, rollouts_2)
    assert torch.equal(rollouts.actions_MEHA, rollouts_2.actions_MEHA)
    last, _ = world.collect(adapted, 6)
    last_2, _ = world.collect(adapted_2, 6, loaded)
    assert torch.equal(last.actions_MEHA, last_2.actions_MEHA)
    world.iterate()
    original = vector(world.learner)
    world.learner = loaded
    world.iterate()
    assert torch.equal(original, vector(loaded))


def test_masked_steps_do_not_matter(name):
    world = World(name, "metarl/HopperRandParams-v0", h=40)
    state = world.begin()
    rollouts, after = world.collect(state)
    assert not rollouts.valid_MEH.all()
    before = tensors(world.learner.adapt(after, rollouts))
    invalid = ~rollouts.valid_MEH
    rollouts.obs_MEHO[invalid] = 1e3
    rollouts.actions_MEHA[invalid] = -7.0
    rollouts.rewards_MEH[invalid] = 50.0
    for a, b in zip(before, tensors(world.learner.adapt(after, rollouts)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_most_likely_actions_need_no_noise(name):
    world = World(name)
    obs = np.zeros((M, E, 2), np.float32)
    previous = np.zeros((M, E, 2), np.float32), np.zeros((M, E), np.float32), np.ones((M, E), bool)
    first, _ = world.learner.act(world.begin(), obs, *previous, None)
    second, _ = world.learner.act(world.begin(), obs, *previous, None)
    assert np.array_equal(first.actions_MEA, second.actions_MEA)
    assert first.actions_MEA.shape == (M, E, 2) and first.log_probs_ME.shape == (M, E)


def test_checkpoints_of_another_method_are_refused(name, tmp_path):
    world = World(name)
    save_checkpoint(tmp_path, world.learner, world.config, 1, 0, {})
    from metarl.errors import CheckpointError
    from metarl.training.trainer import _resumed

    other = "maml" if name != "maml" else "promp"
    config = World(other).config
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "iteration_000001").rename(tmp_path / "checkpoints/iteration_000001")
    with pytest.raises(CheckpointError, match="made with another 'learner'"):
        _resumed(config, tmp_path)


NORMALISED = {"normalize_observations": True, "normalize_rewards": True}


def test_normalisation_is_shared_by_tasks_and_saved_with_the_policy(name, tmp_path):
    world = World(name, policy=NORMALISED)
    world.iterate(2)
    learner, spec = world.learner, world.spec
    rollouts, _ = world.collect(world.begin(), 5)
    seen = learner.normalizer.obs(rollouts.obs_MEHO)
    assert not torch.equal(seen, rollouts.obs_MEHO) and seen.abs().max() <= 10
    # one task alone is seen through the same statistics
    assert torch.equal(learner.normalizer.obs(rollouts.obs_MEHO[:1]), seen[:1])
    save_checkpoint(tmp_path, learner, world.config, 1, 0, {})
    loaded = from_checkpoint(read_checkpoint(tmp_path / "iteration_000001"), world.config)
    again, _ = world.collect(world.begin(loaded), 5, loaded)
    assert torch.equal(again.actions_MEHA, rollouts.actions_MEHA)
    assert spec.obs_size == 2


def test_normalised_ratio_is_one_at_the_sampling_parameters():
    world = World("maml", policy=NORMALISED)
    world.iterate(2)
    rollouts, state = world.collect(world.begin(), 7)
    batch = world.learner._batch(rollouts)
    log_probs = batch.log_probs_under(world.learner.inner.policy, state.params_M)
    torch.testing.assert_close(log_probs, rollouts.log_probs_MEH, atol=1e-4, rtol=0)


def test_running_statistics_are_those_of_all_steps():
    world = World("maml", policy=NORMALISED)
    normalizer = world.learner.normalizer
    parts = [world.collect(world.begin(), phase)[0] for phase in range(3)]
    for part in parts:
        normalizer.update(part)
    obs = torch.cat([part.obs_MEHO.reshape(-1, 2) for part in parts]).double()
    mean, std = normalizer._mean_std()
    torch.testing.assert_close(mean[:-1], obs.mean(0))
    torch.testing.assert_close(std[:-1], obs.std(0, correction=0))


@pytest.mark.parametrize("name", ["maml", "promp", "emaml"])
def test_the_configured_inner_step_is_the_one_taken(name):
    """In acting and in the meta-update alike: theta + 0.1 grad, whatever the outer rate."""
    world = World(name)
    learner = world.learner
    rollouts, state = world.collect(world.begin())
    batch = learner._batch(rollouts)
    gradient = learner.inner.gradient(state.params_M, batch)
    adapted = learner.adapt(state, rollouts)
    for key, value in gradient.items():
        expected = state.params_M[key] + 0.1 * value
        torch.testing.assert_close(adapted.params_M[key], expected, atol=1e-6, rtol=1e-5)
        again = learner.inner.step(state.params_M, batch, 0)
        torch.testing.assert_close(again[key], expected, atol=1e-6, rtol=1e-5)


def test_nothing_touches_the_global_random_generators():
    np.random.seed(5)
    torch.manual_seed(5)
    world = World("rl2")
    world.iterate()
    assert np.random.random() == np.random.RandomState(5).random_sample()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("name", ["maml", "rl2"])
def test_training_logs_success_where_the_environment_reports_it(name):
    world = World(name, "metarl/PointNavigationSparse-v0")
    metrics = world.iterate()
    assert {"train/success_step_0", "train/success_step_1"} <= metrics.keys()
    assert not any("success" in key for key in World(name).iterate())
