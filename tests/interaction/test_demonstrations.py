"""Demonstrations: recorded as they were, read back to the bit, refused where they do not fit."""

import json

import gymnasium
import h5py
import numpy as np
import pytest
import stable_baselines3
import torch
from demonstrated import demonstrate_by_chance
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.minari_storage import MinariStorage
from small_runs import SmallRun

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.fit import spec_of_spaces
from metarl.errors import ConfigError, EnvironmentFitError
from metarl.evaluation.demonstrate import demonstrate
from metarl.evaluation.sb3_expert import SB3Expert
from metarl.interaction.minari_files import read_demonstrations

POINT = {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}}
HOPPER = {"id": "metarl/HopperRandParams-v0"}


def space_of(env):
    return gymnasium.make_vec(env["id"], num_envs=1, **env.get("kwargs", {})).unwrapped.task_space


@pytest.mark.parametrize("env", [POINT, HOPPER], ids=["point", "hopper"])
def test_what_was_recorded_is_read_back(tmp_path, env):
    found = demonstrate_by_chance(tmp_path / "shown", env, h=30)
    spec = spec_of_spaces(found.observation_space, found.action_space)
    again = read_demonstrations(tmp_path / "shown", spec, space_of(env))
    before, after = found.demonstrations.rollouts.cropped(), again.rollouts
    for key, values in found.demonstrations.tasks.items():
        np.testing.assert_array_equal(again.tasks[key], values)
    assert torch.equal(before.valid_MEH, after.valid_MEH)
    assert torch.equal(before.terminated_ME, after.terminated_ME)
    valid = before.valid_MEH
    for name in ("obs_MEHO", "actions_MEHA", "rewards_MEH"):
        assert torch.equal(getattr(before, name)[valid], getattr(after, name)[valid]), name
    assert torch.equal(before.next_obs_MEHO[valid], after.next_obs_MEHO[valid])
    assert not list(tmp_path.glob(".*"))


def test_minari_itself_reads_them(tmp_path):
    demonstrate_by_chance(tmp_path / "shown", POINT)
    dataset = MinariDataset(tmp_path / "shown/data")
    assert dataset.total_episodes == 9 and dataset.total_steps == 9 * 8
    episode = next(dataset.iterate_episodes())
    assert episode.observations.shape == (9, 2) and episode.truncations[-1]
    assert set(json.loads(next(iter(dataset.storage.get_episode_metadata([0])))["task"])) == {
        "goal"
    }


def test_the_actions_are_those_that_the_environment_took(tmp_path):
    found = demonstrate_by_chance(tmp_path / "shown", {"id": "metarl/PointNavigation-v0"})
    actions = found.demonstrations.rollouts.actions_MEHA
    assert actions.abs().max() <= float(found.action_space.high.max())


def test_an_expert_that_is_told_the_task_demonstrates_for_those_who_are_not():
    env = EnvConfig(**POINT, observe_task=True)
    run = SmallRun("random_init", **{"env_kwargs": POINT["kwargs"]})
    told = SmallRun.of_config(run.config.model_copy(update={"env": env}))
    sizes = dict(horizon=8, split="test", num_tasks=2, episodes=3)
    found = demonstrate(told.learner, env, **sizes)
    assert told.spec.obs_size == 4 and found.observation_space.shape == (2,)
    assert found.demonstrations.rollouts.obs_MEHO.shape[-1] == 2


def test_most_likely_actions_take_no_noise():
    run = SmallRun("random_init")
    sizes = dict(horizon=8, split="test", num_tasks=2, episodes=2, adaptation_steps=1)
    env = run.config.env
    first = demonstrate(run.learner, env, support_episodes=4, **sizes)
    rollouts = first.demonstrations.rollouts
    assert torch.equal(rollouts.obs_MEHO[:, 0, 0], rollouts.obs_MEHO[:, 1, 0])
    assert torch.equal(rollouts.actions_MEHA[:, 0], rollouts.actions_MEHA[:, 1])
    noisy = demonstrate(run.learner, env, support_episodes=4, likeliest=False, **sizes)
    actions = noisy.demonstrations.rollouts.actions_MEHA
    assert not torch.equal(actions[:, 0], actions[:, 1])


def test_an_expert_explores_to_adapt_whatever_is_recorded():
    learner = metarl.load("zoo:point_navigation/maml_trpo")
    sizes = dict(horizon=50, split="test", num_tasks=5, episodes=1, support_episodes=20)
    returns = [
        float(
            demonstrate(
                learner, learner.trained_on.env, adaptation_steps=steps, **sizes
            ).demonstrations.rollouts.returns_ME.mean()
        )
        for steps in (0, 1)
    ]
    assert returns[1] > 0.6 * returns[0]  # both negative


def test_a_model_of_stable_baselines3_is_an_expert(tmp_path):
    env = gymnasium.make(POINT["id"])
    stable_baselines3.PPO("MlpPolicy", env, n_steps=8, batch_size=8).save(tmp_path / "model")
    expert = SB3Expert("PPO", tmp_path / "model.zip")
    config = EnvConfig(id=POINT["id"])
    found = demonstrate(expert, config, horizon=8, split="train", num_tasks=2, episodes=3)
    rollouts = found.demonstrations.rollouts
    obs = rollouts.obs_MEHO[0, 0, 2].numpy()
    model = stable_baselines3.PPO.load(tmp_path / "model")
    expected, _ = model.predict(obs, deterministic=True)
    np.testing.assert_allclose(rollouts.actions_MEHA[0, 0, 2].numpy(), expected, atol=1e-6)
    with pytest.raises(ConfigError, match="is no model of SAC"):
        SB3Expert("SAC", tmp_path / "nothing.zip")
    with pytest.raises(ConfigError, match="'PPOO' must be one of: PPO"):
        SB3Expert("PPOO", tmp_path / "model.zip")


def read(folder, env=POINT):
    made = gymnasium.make_vec(env["id"], num_envs=1, **env.get("kwargs", {})).unwrapped
    spec = spec_of_spaces(made.single_observation_space, made.single_action_space)
    return read_demonstrations(folder, spec, made.task_space)


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path):
    demonstrate_by_chance(tmp_path / "point", POINT)
    with pytest.raises(EnvironmentFitError, match=r"demonstrations of another environment: .*size"):
        read(tmp_path / "point", HOPPER)
    with pytest.raises(ConfigError, match="exists: remove it, or name another folder"):
        demonstrate_by_chance(tmp_path / "point", POINT)
    for name in ("nothing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match="is no Minari dataset"):
            read(tmp_path / name)
    file = tmp_path / "point/data/main_data.hdf5"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="is no Minari dataset"):
        read(tmp_path / "point")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (None, "has no task in its metadata"),
        ("no json", "episode 0"),
        ('{"aim": [0.0, 0.0]}', "unknown task key 'aim'"),
        ('{"goal": [0.0]}', "shape"),
        ('{"goal": [90.0, 0.0]}', "must be in"),
    ],
)
def test_tasks_of_others_are_checked(tmp_path, task, message):
    found = demonstrate_by_chance(tmp_path / "shown", POINT)
    source = MinariStorage.read(tmp_path / "shown/data")
    other = MinariStorage.new(tmp_path / "other", found.observation_space, found.action_space)
    other.update_metadata({"dataset_id": "other-v0", "minari_version": "0.5.4"})
    other.update_from_storage(source)
    if task is not None:
        other.update_episode_metadata([{"task": task}] * 9)
    with pytest.raises(ConfigError, match=r"of .*other") as error:
        read(tmp_path / "other")
    assert message in str(error.value)


def test_numbers_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    found = demonstrate_by_chance(tmp_path / "good", POINT)
    found.demonstrations.rollouts.rewards_MEH[1, 1, 2] = float("nan")
    monkeypatch.setattr("demonstrated.demonstrate", lambda *_, **__: found)
    demonstrate_by_chance(tmp_path / "bad", POINT)
    with pytest.raises(ConfigError, match=r"episode 4 of .*bad: rewards are not all finite"):
        read(tmp_path / "bad")


def changed(folder, change):
    """The dataset, its first episode changed in its file."""
    with h5py.File(folder / "data/main_data.hdf5", "r+") as file:
        change(file["episode_0"])


def replaced(name, values):
    def change(episode):
        shape = episode[name].shape
        del episode[name]
        episode[name] = np.broadcast_to(values, shape) if np.ndim(values) == 0 else values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("rewards", np.zeros(0)), "has no steps"),
        (replaced("terminations", np.zeros(0, bool)), "is damaged"),
        (replaced("rewards", np.array([b"x"] * 8)), "is no type of numbers"),
        (replaced("rewards", 1e300), "not all finite"),
        (replaced("rewards", 1j * np.ones(8)), "is no type of numbers"),
    ],
)
def test_damaged_episodes_are_one_sentence(change, message, tmp_path):
    demonstrate_by_chance(tmp_path / "point", POINT)
    changed(tmp_path / "point", change)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "point")


def test_actions_are_as_the_environment_took_them(tmp_path):
    demonstrate_by_chance(tmp_path / "point", POINT)
    changed(tmp_path / "point", replaced("actions", 50.0))
    actions = read(tmp_path / "point").rollouts.actions_MEHA
    assert actions.max() == 1.0


def test_nesting_without_end_is_no_task(tmp_path):
    demonstrate_by_chance(tmp_path / "point", POINT)

    def deep(episode):
        episode.attrs["task"] = "[" * 100_000

    changed(tmp_path / "point", deep)
    with pytest.raises(ConfigError, match="episode 0"):
        read(tmp_path / "point")
