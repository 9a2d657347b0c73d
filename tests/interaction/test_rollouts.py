import itertools

import numpy as np
import pytest
import torch
from small_runs import SmallRun
from threadpoolctl import threadpool_info

import metarl_envs.tasks.batches as task_batches
from metarl.environments.fit import spec_of_spaces
from metarl.environments.make import make_env
from metarl.experiment.building import build_learner
from metarl.experiment.config import parse_config
from metarl.interaction.rollouts import Rollouts
from metarl.interaction.sampler import Clock, collect
from metarl.params import tile
from metarl.policies.actors import ActionStep
from metarl.seeding import reset_seeds

PATH, H = (0, 2, 5, 0), 12


def setup(tiny_document, num_tasks=3, episodes=4, env_id=None, horizon=H, **kwargs):
    document = dict(tiny_document, meta_batch=num_tasks, episodes=episodes, horizon=horizon)
    if env_id is not None:
        document["env"] = {"id": env_id, "kwargs": kwargs}
    config = parse_config(document)
    env = make_env(config.env, num_tasks * episodes, horizon)
    spaces = env.single_observation_space, env.single_action_space
    learner = build_learner(config, spec_of_spaces(*spaces))
    tasks = env.task_distribution("train").sample(num_tasks, 0)
    env.set_tasks(task_batches.repeat(tasks, episodes))
    return env, learner, tasks


def rollouts_of(env, learner, num_tasks=3, keys=None, horizon=H):
    keys = list(range(num_tasks)) if keys is None else keys
    state = learner.begin(len(keys), env.num_envs // len(keys))
    return collect(env, learner, state, PATH, keys, horizon)


def same(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for name in ("obs_MEHO", "actions_MEHA", "rewards_MEH", "log_probs_MEH", "valid_MEH")
    )


def test_shapes(tiny_document):
    env, learner, _ = setup(tiny_document)
    rollouts = rollouts_of(env, learner)
    assert rollouts.obs_MEHO.shape == (3, 4, H, 2) and rollouts.actions_MEHA.shape == (3, 4, H, 2)
    assert rollouts.rewards_MEH.shape == rollouts.log_probs_MEH.shape == (3, 4, H)
    assert rollouts.last_obs_MEO.shape == (3, 4, 2) and rollouts.returns_ME.shape == (3, 4)
    assert rollouts.valid_MEH.all() and not rollouts.terminated_ME.any()
    assert rollouts.num_steps == 3 * 4 * H and rollouts.success_ME is None


@pytest.mark.parametrize("env_id", ["metarl/HalfCheetahVel-v0", "metarl/HopperRandParams-v0"])
def test_physics_threads_do_not_change_rollouts(tiny_document, env_id):
    parts = []
    for threads in (1, 2):
        env, learner, _ = setup(tiny_document, env_id=env_id, horizon=30, num_threads=threads)
        parts.append(rollouts_of(env, learner, horizon=30))
    assert same(*parts)


def test_a_task_alone_equals_the_task_in_a_batch(tiny_document):
    env, learner, tasks = setup(tiny_document, env_id="metarl/HalfCheetahVel-v0", horizon=20)
    together = rollouts_of(env, learner, horizon=20)
    one, _, _ = setup(tiny_document, num_tasks=1, env_id="metarl/HalfCheetahVel-v0", horizon=20)
    one.set_tasks(task_batches.repeat(task_batches.take(tasks, [2]), 4))
    alone = rollouts_of(one, learner, keys=[2], horizon=20)
    for name in ("obs_MEHO", "actions_MEHA", "rewards_MEH"):
        difference = getattr(alone, name)[0] - getattr(together, name)[2]
        # a batched product of another size may round the last bit otherwise
        assert difference.abs().max() < 1e-4, name


def test_rewards_and_last_observation_belong_to_the_actions(tiny_document):
    env, learner, tasks = setup(tiny_document)
    rollouts = rollouts_of(env, learner)
    position = np.zeros((3, 4, 2))
    for t in range(H):
        np.testing.assert_allclose(rollouts.obs_MEHO[:, :, t], position, atol=1e-6)
        position += np.clip(rollouts.actions_MEHA[:, :, t].numpy() / 10.0, -0.1, 0.1)
        distance = np.linalg.norm(position - tasks["goal"][:, None], axis=-1)
        np.testing.assert_allclose(rollouts.rewards_MEH[:, :, t], -distance, atol=1e-5)
    np.testing.assert_allclose(rollouts.last_obs_MEO, position, atol=1e-5)


def test_ratio_is_one_and_kl_zero_at_the_sampling_parameters(tiny_document):
    env, learner, _ = setup(tiny_document)
    rollouts = rollouts_of(env, learner)
    policy = learner.policy(tile(learner.meta_parameters, 3), rollouts.obs_MEHO.flatten(1, 2))
    log_probs = policy.log_prob(rollouts.actions_MEHA.flatten(1, 2)).view(3, 4, H)
    torch.testing.assert_close(log_probs, rollouts.log_probs_MEH, atol=1e-4, rtol=0)
    assert policy.kl(policy).abs().max() == 0


def test_terminated_episodes_are_masked(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HopperRandParams-v0", horizon=60)
    rollouts = rollouts_of(env, learner, horizon=60)
    lengths = rollouts.lengths_ME
    assert rollouts.terminated_ME.all() and lengths.max() < 60
    steps = torch.arange(60)
    assert torch.equal(rollouts.valid_MEH, steps < lengths.unsqueeze(-1))
    assert (rollouts.rewards_MEH[~rollouts.valid_MEH] == 0).all()
    assert rollouts.num_steps == lengths.sum()


def test_episode_that_terminates_has_the_true_last_observation(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HopperRandParams-v0", horizon=60)
    rollouts = rollouts_of(env, learner, horizon=60)
    # fallen, or about to: not the standing pose of a reset
    height, pitch = rollouts.last_obs_MEO[..., 0], rollouts.last_obs_MEO[..., 1]
    assert ((height <= 0.7) | (pitch.abs() >= 0.2)).all()


def test_what_is_masked_does_not_matter(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HopperRandParams-v0", horizon=60)
    rollouts = rollouts_of(env, learner, horizon=60)
    before = learner.adapt(learner.begin(3, 4), rollouts).params_M
    invalid = ~rollouts.valid_MEH
    rollouts.obs_MEHO[invalid] = 1e3
    rollouts.actions_MEHA[invalid] = -7.0
    after = learner.adapt(learner.begin(3, 4), rollouts).params_M
    for name, value in before.items():
        torch.testing.assert_close(value, after[name], atol=1e-6, rtol=1e-4)


class Diverging:
    """An environment whose simulation 1 diverges in step 4."""

    def __init__(self, env):
        self._env, self._step = env, 0

    def __getattr__(self, name):
        return getattr(self._env, name)

    def step(self, actions):
        self._step += 1
        if self._step == 5:
            self._env.unwrapped.qvel[1] = 1e12
        return self._env.step(actions)


def test_diverged_simulation_is_counted_and_reaches_no_gradient(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HalfCheetahVel-v0", horizon=20)
    rollouts = rollouts_of(Diverging(env), learner, horizon=20)
    assert rollouts.diverged_ME.sum() == 1 and rollouts.diverged_ME[0, 1]
    assert rollouts.lengths_ME[0, 1] == 4 and not rollouts.terminated_ME.any()
    assert torch.isfinite(rollouts.obs_MEHO).all() and torch.isfinite(rollouts.rewards_MEH).all()
    samples = learner.samples(rollouts)
    assert (samples.weights_MEH[0, 1, 4:] == 0).all()
    assert torch.isfinite(samples.advantages_MEH).all()
    assert rollouts.num_steps == 12 * 20 - 15


def test_noise_depends_on_the_task_key_and_the_path_only(tiny_document):
    env, learner, _ = setup(tiny_document)
    first = rollouts_of(env, learner, keys=[0, 1, 2])
    other = rollouts_of(env, learner, keys=[0, 7, 2])
    assert torch.equal(first.actions_MEHA[0], other.actions_MEHA[0])
    assert torch.equal(first.actions_MEHA[2], other.actions_MEHA[2])
    assert not torch.equal(first.actions_MEHA[1], other.actions_MEHA[1])


def test_episodes_of_a_task_differ(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HalfCheetahVel-v0", horizon=20)
    rollouts = rollouts_of(env, learner, horizon=20)
    assert not torch.equal(rollouts.obs_MEHO[0, 0, 0], rollouts.obs_MEHO[0, 1, 0])
    assert not torch.equal(rollouts.actions_MEHA[0, 0], rollouts.actions_MEHA[0, 1])


def test_one_thread_of_arithmetic_while_sampling(tiny_document, monkeypatch):
    def threads():
        pools = threadpool_info()
        return torch.get_num_threads(), {
            pool["num_threads"] for pool in pools if pool["user_api"] == "blas"
        }

    env, learner, _ = setup(tiny_document)
    before, during, step = threads(), [], env.step
    monkeypatch.setattr(env, "step", lambda actions: during.append(threads()) or step(actions))
    clock = Clock()
    collect(env, learner, learner.begin(3, 4), PATH, [0, 1, 2], H, clock)
    assert during == [(1, {1})] * H
    assert threads() == before
    assert clock.env_steps == 3 * 4 * H and clock.env_s > 0 and clock.policy_s > 0


def test_the_clock_tells_physics_from_the_rest_of_the_environment(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HalfCheetahVel-v0", horizon=20)
    clock = Clock()
    collect(env, learner, learner.begin(3, 4), PATH, [0, 1, 2], 20, clock)
    assert 0 < clock.physics_s < clock.env_s
    assert clock.physics_s == pytest.approx(env.unwrapped.physics_s)


def test_the_observation_after_every_step_stands_in_the_next_one(tiny_document):
    env, learner, _ = setup(tiny_document, env_id="metarl/HopperRandParams-v0", horizon=60)
    rollouts = rollouts_of(env, learner, horizon=60)
    longest = int(rollouts.lengths_ME.max())
    assert longest < 60
    after = rollouts.obs_MEHO.gather(
        2, rollouts.lengths_ME[..., None, None].expand(-1, -1, 1, rollouts.obs_MEHO.shape[-1])
    )
    assert torch.equal(after.squeeze(2), rollouts.last_obs_MEO)
    assert torch.equal(rollouts.obs_MEHO[:, :, longest], rollouts.last_obs_MEO)


def test_next_observations_and_transitions_at_every_episodes_end(tiny_document):
    """Stepped by hand beside it: an early end, a full length and a termination in the last step."""
    env, learner, _ = setup(tiny_document, env_id="metarl/HopperRandParams-v0", horizon=25)
    rollouts = rollouts_of(env, learner, horizon=25)
    lengths = rollouts.lengths_ME
    assert lengths.min() < 25
    env.reset(seed=reset_seeds(PATH, [0, 1, 2], 4))
    ended = np.zeros(12, bool)
    for t in range(int(lengths.max())):
        actions = rollouts.actions_MEHA[:, :, t].reshape(12, -1).numpy()
        obs, _, terminated, truncated, _ = env.step(actions)
        seen = torch.from_numpy(obs).float().view(3, 4, -1)
        valid = rollouts.valid_MEH[:, :, t]
        torch.testing.assert_close(rollouts.next_obs_MEHO[:, :, t][valid], seen[valid])
        flags = torch.from_numpy(terminated & ~ended).view(3, 4)
        assert torch.equal(rollouts.terminated_MEH[:, :, t], flags & valid)
        ended |= terminated | truncated
    for task in range(3):
        own = rollouts.transitions(task)
        assert len(own.rewards_N) == len(own.obs_NO) == int(lengths[task].sum())
        ends = lengths[task].cumsum(0) - 1
        assert torch.equal(own.next_obs_NO[ends], rollouts.last_obs_MEO[task])
        assert torch.equal(own.terminated_N[ends], rollouts.terminated_ME[task])
        inside = torch.ones(len(own.rewards_N), dtype=torch.bool)
        inside[ends] = False
        assert torch.equal(own.next_obs_NO[inside], own.obs_NO[1:][inside[:-1]])


def test_truncation_is_no_termination(tiny_document):
    env, learner, _ = setup(tiny_document)
    rollouts = rollouts_of(env, learner)
    assert not rollouts.terminated_MEH.any()
    assert torch.equal(rollouts.next_obs_MEHO[:, :, -1], rollouts.last_obs_MEO)


class Remembers:
    """An actor that records what it was told, and has no log-probabilities."""

    def __init__(self):
        self.state = torch.zeros(3)

    def act(self, seen, noise):
        sums = {"latents": np.stack([seen.first_ME, seen.previous_rewards_ME], axis=-1)}
        return ActionStep(noise[..., :2].copy(), None, sums)


def test_extras_are_recorded_and_log_probs_may_be_missing(tiny_document):
    env, learner, _ = setup(tiny_document)
    learner.actor = lambda state: Remembers()
    rollouts = rollouts_of(env, learner)
    latents = rollouts.extras["latents"]
    assert rollouts.log_probs_MEH is None and latents.shape == (3, 4, H, 2)
    assert (latents[:, :, 0, 0] == 1).all() and (latents[:, :, 1:, 0] == 0).all()
    assert torch.equal(latents[:, :, 1:, 1], rollouts.rewards_MEH[:, :, :-1])
    both = Rollouts.concatenate_episodes([rollouts, rollouts])
    assert both.extras["latents"].shape == (3, 8, H, 2) and both.log_probs_MEH is None
    assert rollouts.task_slice(slice(1, 2)).extras["latents"].shape == (1, 4, H, 2)


@pytest.mark.parametrize(
    ("key", "counts"), [("success", np.any), ("is_success", lambda f, axis: f[-1])]
)
def test_success_once_or_at_the_end(key, counts, monkeypatch):
    """`success` counts once reported, as in Meta-World; `is_success` in the last step."""
    run = SmallRun("maml", "metarl/ReacherGoal-v0", h=10)
    flags = np.random.default_rng(0).random((10, run.env.num_envs)) < 0.3
    steps = iter(flags)
    monkeypatch.setattr(run.env.goal, "info", lambda robot: {key: next(steps)})
    rollouts = run.collect(run.begin())
    assert rollouts.success_ME.flatten().tolist() == counts(flags, axis=0).tolist()


def test_success_in_the_last_step_is_that_of_the_episodes_own_end(monkeypatch):
    run = SmallRun("maml", "metarl/HopperVel-v0", h=100)
    times = itertools.count()
    count = run.env.num_envs
    monkeypatch.setattr(run.env.goal, "info", lambda _: {"is_success": [next(times) < 20] * count})
    rollouts = run.collect(run.begin())
    assert rollouts.success_ME.tolist() == (rollouts.lengths_ME <= 20).tolist()
    assert rollouts.success_ME.any() and not rollouts.success_ME.all()
