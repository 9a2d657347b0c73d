"""One environment out of a config: plug-ins, observed tasks, and the scripts that need one."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import gymnasium
import imageio.v2 as iio
import numpy as np
import plugged
import pytest
from conftest import TINY

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env, make_single
from metarl.errors import ConfigError, EnvironmentFitError
from metarl.experiment.config import parse_config
from metarl.reports.episode import played
from metarl.reports.video import Filmed, record, record_grid, record_methods

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = {
    "native": {"id": "metarl/PointNavigation-v0", "kwargs": {"action_scale": 10.0}},
    "plug-in": {"id": "plugged:DrawnPoint-v0", "plugin": {"num_workers": 2}},
    "observed task": {"id": "metarl/PointNavigation-v0", "observe_task": True},
    "both": {"id": "plugged:DrawnPoint-v0", "observe_task": True},
    "discrete": {"id": "plugged:DiscretePoint-v0"},
}


@pytest.fixture(params=list(ENVIRONMENTS))
def document(request):
    return {**TINY, "env": ENVIRONMENTS[request.param], "iterations": 1}


def test_a_single_environment_is_the_one_of_the_batch(document):
    config = EnvConfig.model_validate(document["env"])
    batch = make_env(config, 1, 10)
    task = batch.task_distribution("test").sample(1, 0)
    batch.set_tasks(task)
    single = make_single(config, {key: values[0] for key, values in task.items()}, 10)
    assert single.observation_space.shape == batch.single_observation_space.shape
    obs, _ = single.reset(seed=3)
    np.testing.assert_array_equal(obs, batch.reset(seed=[3])[0][0])
    discrete = isinstance(single.action_space, gymnasium.spaces.Discrete)
    action = 2 if discrete else np.full(single.action_space.shape, 0.3, np.float32)
    for t in range(10):
        obs, reward, _, truncated, _ = single.step(action)
        theirs, rewards, *_ = batch.step(np.reshape(action, (1, -1)))
        np.testing.assert_array_equal(obs, theirs[0])
        assert reward == pytest.approx(rewards[0]) and truncated == (t == 9)
    batch.close()
    single.close()


def test_any_trained_policy_can_be_filmed(document, tmp_path):
    run = tmp_path / "run"
    metarl.train(parse_config(document), run)
    task = {key: values[0] for key, values in _held_out(run).items()}
    returns = record(metarl.load(run), task, tmp_path / "clip.gif", episodes=3)
    assert set(returns) == {0, 1} and np.isfinite(list(returns.values())).all()
    frames = list(iio.get_reader(tmp_path / "clip.gif"))
    assert len(frames) > 2
    left, right = np.split(np.asarray(frames[-1])[..., :3], 2, axis=1)
    assert not np.array_equal(left, right)  # captions, at the least


def _held_out(run):
    document = json.loads((run / "evaluation.json").read_text())
    return {key: np.asarray(values) for key, values in document["tasks"].items()}


@pytest.mark.slow
def test_from_scratch_on_a_plugged_in_environment(tmp_path):
    run = tmp_path / "run"
    metarl.train(parse_config({**TINY, "env": ENVIRONMENTS["both"], "iterations": 1}), run)
    done = subprocess.run(
        [sys.executable, "scripts/scratch.py", run, "--num-tasks", "1", "--budgets", "1", "3"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told, *lines = done.stdout.splitlines()
    assert told.startswith("on the first 1 of the held-out tasks: {")
    assert [int(line.split()[0].replace(",", "")) for line in lines] == [30, 90, 0, 30]


def test_unknown_tasks_are_refused():
    config = EnvConfig(id="metarl/PointNavigation-v0")
    with pytest.raises(metarl.UserError, match="unknown task key 'gaol'"):
        make_single(config, {"gaol": [0.0, 0.0]}, 10)
    assert isinstance(make_single(config, None, 10), gymnasium.Env)


class CannotDraw(plugged.DrawnPoint):
    def render(self):
        raise ModuleNotFoundError("No module named 'pygame'")


plugged.register(CannotDraw)


class FastPoint(plugged.DrawnPoint):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 100}


plugged.register(FastPoint)


@pytest.mark.parametrize(("name", "frames"), [("DrawnPoint", 10), ("FastPoint", 3)])
def test_a_robot_controlled_often_is_drawn_less_often_and_at_its_end(name, frames, tmp_path):
    document = {**TINY, "env": {"id": f"plugged:{name}-v0", "plugin": {"num_workers": 0}}}
    metarl.train(parse_config({**document, "iterations": 1}), tmp_path / "run")
    learner, task = metarl.load(tmp_path / "run"), {"goal": 0.5}
    returns = record(learner, task, tmp_path / "film.mp4", episodes=1)
    film = iio.get_reader(tmp_path / "film.mp4")
    assert film.count_frames() == frames
    assert film.get_meta_data()["fps"] == (10 if frames == 10 else 25)
    with closing(metarl.make_env(learner, task)) as env:
        policy = metarl.adapt(learner, env, episodes=1, steps=1, seed=0)
        *_, last = played(env, policy, 0)
    assert returns[1] == last  # of the last step, drawn or not


class TimelessPoint(plugged.DrawnPoint):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": None}


plugged.register(TimelessPoint)
ODD_FPS = (None, 0, 0.2, -5, float("nan"), float("inf"), "30")


def test_a_robot_that_tells_no_frames_per_second_is_drawn_at_the_usual_ones(tmp_path):
    env = {"id": "TimelessPoint-v0", "plugin": {"num_workers": 0}}
    metarl.train(parse_config({**TINY, "env": env, "iterations": 1}), tmp_path / "run")
    learner, clip = metarl.load(tmp_path / "run"), tmp_path / "film.mp4"
    record(learner, {"goal": 0.5}, clip, episodes=1)
    assert iio.get_reader(clip).get_meta_data()["fps"] == 20


def test_no_frames_per_second_are_refused_before_a_film_begins(tmp_path, monkeypatch):
    """Plug-ins never tell so; a robot controlled every other second would."""
    monkeypatch.setattr("metarl_envs.gymnasium_envs.plugin_env._whole_fps", lambda *_: 0)
    env = {"id": "TimelessPoint-v0", "plugin": {"num_workers": 0}}
    metarl.train(parse_config({**TINY, "env": env, "iterations": 1}), tmp_path / "run")
    learner, clip = metarl.load(tmp_path / "run"), tmp_path / "film.mp4"
    with pytest.raises(EnvironmentFitError, match="render_fps is 0, must be positive"):
        record(learner, {"goal": 0.5}, clip, episodes=1)
    assert not clip.exists()


@pytest.mark.parametrize(
    ("told", "expected"),
    [(50, 50), (np.int64(50), 50), (29.97, 30), *((odd, 20) for odd in ODD_FPS)],
)
def test_frames_per_second_of_plug_ins(told, expected, monkeypatch):
    monkeypatch.setitem(TimelessPoint.metadata, "render_fps", told)
    config = EnvConfig(id="TimelessPoint-v0", plugin={"num_workers": 0})
    with closing(make_env(config, 1, 10)) as env:
        assert env.render_fps == expected


def test_what_draws_nothing_is_one_sentence(tmp_path):
    document = {**TINY, "env": {"id": "CannotDraw-v0", "plugin": {"num_workers": 0}}}
    metarl.train(parse_config({**document, "iterations": 1}), tmp_path / "run")
    learner, clip = metarl.load(tmp_path / "run"), tmp_path / "clip.gif"
    with pytest.raises(EnvironmentFitError, match="draws no picture: No module named 'pygame'"):
        record(learner, {"goal": 0.5}, clip, episodes=1)
    with pytest.raises(ConfigError, match="the task must be a mapping from key to value, got None"):
        record(learner, None, clip)
    clip.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        record(learner, {"goal": 0.5}, clip)


def test_a_grid_of_tasks_and_a_strip_of_moments(tmp_path):
    learner = metarl.load("zoo:point_navigation/maml_trpo")
    tasks = [{"goal": [0.3, 0.1]}, {"goal": [-0.4, 0.2]}]
    found = record_grid(learner, tasks, tmp_path / "film.gif", episodes=5)
    assert [set(returns) for returns in found] == [{0, 1}, {0, 1}]
    frames = list(iio.get_reader(tmp_path / "film.gif"))
    height, width = frames[0].shape[:2]
    assert height == width and len(frames) > 10  # two rows, two columns
    top, bottom = np.split(np.asarray(frames[-1])[..., :3], 2)
    assert not np.array_equal(top, bottom)
    record_grid(learner, tasks[:1], tmp_path / "strip.png", episodes=5)
    strip = iio.imread(tmp_path / "strip.png")
    assert strip.shape == (2 * 240, 5 * 240, 3)
    with pytest.raises(ConfigError, match="name a task to film"):
        record_grid(learner, [], tmp_path / "none.gif")


@pytest.mark.parametrize("sampled", [False, True])
def test_methods_side_by_side_after_a_change(sampled, tmp_path):
    methods = {
        name: Filmed(metarl.load(f"zoo:point_navigation/{name}"), episodes=5)
        for name in ("maml_trpo", "rl2")
    }
    task, film = {"goal": [0.3, 0.1]}, tmp_path / "film.gif"
    settings = {
        "env_kwargs": {"reset_noise": 0.3, "action_scale": 10.0},
        "sampled": sampled,
    }
    found = record_methods(methods, task, film, **settings)
    frames = list(iio.get_reader(film))
    height, width = frames[0].shape[:2]
    assert width == 2 * height and len(frames) > 10
    # another start than in training
    alone = record_methods(methods, task, film, sampled=sampled)
    assert list(found) == list(methods) and all(found[name] != alone[name] for name in found)
    again = record_methods(methods, task, film, **settings)
    assert again == found


def test_methods_adapt_by_their_own_steps_and_are_of_one_environment(tmp_path):
    learner = metarl.load("zoo:point_navigation/maml_trpo")
    task, film = {"goal": [0.3, 0.1]}, tmp_path / "film.gif"
    found = record_methods({"0": Filmed(learner, 0), "1": Filmed(learner, 1, 5)}, task, film)
    assert found["0"] != found["1"]
    sparse = metarl.load("zoo:point_navigation_sparse/rl2")
    for methods, message in (
        ({}, "name a method to film"),
        ({"a": Filmed(learner), "b": Filmed(sparse)}, "methods of one environment, please: a is"),
    ):
        with pytest.raises(ConfigError, match=message):
            record_methods(methods, task, tmp_path / "none.gif")
    with pytest.raises(ConfigError, match="env_kwargs must be a mapping"):
        record_methods({"0": Filmed(learner, 0)}, task, film, env_kwargs=[1])
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("Point", "plugged:Point-v0 cannot be drawn, it does not take render_mode")],
)
def test_what_cannot_be_drawn_says_so_and_lives_on_without(name, message):
    config = EnvConfig(id=f"plugged:{name}-v0")
    with pytest.raises(EnvironmentFitError, match=message):
        make_single(config, None, 25, "rgb_array")
    env = make_single(config, None, 25)
    env.reset(seed=0)
    env.close()
