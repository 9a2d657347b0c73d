"""Diverged episodes are named, and can be stepped through again to the same step."""

import io
import json
import os

import numpy as np
import pytest
from rich.console import Console
from running_scripts import run
from small_runs import SmallRun

import metarl
from metarl.experiment.config import parse_config
from metarl.seeding import reset_seeds
from metarl.training.diverged import FILE, first_diverged, read_diverged, replay
from metarl.training.task_sources import KeyedTasks

ENV = {"id": "plugged:LeavesTheWorld-v0", "plugin": {"num_workers": 0}}


@pytest.fixture
def diverged(tiny_document, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = parse_config({**tiny_document, "env": ENV})
    console = Console(file=io.StringIO(), width=300)
    metarl.train(config, tmp_path / "run", console=console)
    return config, tmp_path / "run", console.file.getvalue()


def test_frequent_ones_are_named_and_replayed_to_the_same_step(diverged):
    config, folder, printed = diverged
    episode = read_diverged(folder)
    assert f"metarl replay {folder}" in printed
    assert episode.describe() in printed and "plugged:LeavesTheWorld-v0" in printed
    step, obs = replay(config, episode)
    assert step == episode.step == len(episode.actions) - 1
    assert np.isfinite(obs).all()


def test_the_script_replays(diverged, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["tests", os.environ.get("PYTHONPATH", "")]))
    _, folder, _ = diverged
    ended = run("replay.py", folder)
    assert ended.returncode == 0, ended.stderr
    assert f"step {read_diverged(folder).step} diverges again" in ended.stdout
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "elsewhere"))  # another user
    refused = run("replay.py", folder)
    assert refused.returncode == 2 and "wants to import 'plugged'" in refused.stderr


def test_a_step_is_the_one_that_diverged():
    small = SmallRun("maml")
    keyed, path = KeyedTasks(small.tasks, small.keys), (0, 0, 0)
    rollouts = small.collect(small.begin())
    assert first_diverged(rollouts, keyed, path, 3) is None
    rollouts.diverged_ME[1, 2] = True
    rollouts.valid_MEH[1, 2, 5:] = False
    episode = first_diverged(rollouts, keyed, path, 3)
    assert episode.step == 5 and len(episode.actions) == 6
    assert episode.reset_seed == reset_seeds(path, small.keys, 4)[4 + 2]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 100_000, b"\xff", json.dumps({"iteration": 0, "task": {}}).encode()],
)
def test_files_that_are_none_are_refused(tmp_path, content):
    with pytest.raises(metarl.UserError, match="keeps no diverged episode"):
        read_diverged(tmp_path)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(metarl.UserError, match="is no diverged episode"):
        read_diverged(tmp_path)


def test_an_episode_of_another_environment_is_refused(diverged):
    config, folder, _ = diverged
    episode = read_diverged(folder).model_copy(update={"actions": [[0.0, 0.0]]})
    with pytest.raises(metarl.UserError, match="do not fit plugged:LeavesTheWorld-v0"):
        replay(config, episode)


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"goal": []}},
        {"task": {"goal": 5}},
        {"task": {"goal": [[10**400, 0]]}},
        {"task": {"goal": [{"a": 1}]}},
        {"task": {"goal": ["x"]}},
        {"task": {"gaol": [0.1]}},
        {"step": 10**9},
        {"actions": [[1e300]], "step": 0},
    ],
)
def test_a_hostile_file_is_a_sentence(diverged, change):
    config, folder, _ = diverged
    document = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**document, **change}))
    with pytest.raises(metarl.UserError) as error:
        episode = read_diverged(folder)
        episode.describe()
        replay(config, episode)
    assert "\n" not in str(error.value)
