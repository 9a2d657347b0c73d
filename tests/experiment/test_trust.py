"""A checkpoint imports nothing that nobody has named."""

import shutil
import sys

import pytest
from forged import MARK, name_module

import metarl
import metarl.experiment.config
from metarl.experiment.run_record import record_run


@pytest.fixture
def evil(checkpoint):
    """A module that leaves a mark when it is imported, beside the checkpoint."""
    folder = checkpoint.parent
    (folder / "evil.py").write_text(
        f"import os\nos.mkdir({str(folder / MARK)!r})\n"
        "import gymnasium, plugged\n"
        "gymnasium.register('Evil-v0', plugged.Point, max_episode_steps=10)\n"
        "def apply(env, task): env.unwrapped.goal = float(task['goal'])\n"
    )
    sys.path.insert(0, str(folder))
    yield checkpoint
    sys.path.remove(str(folder))
    sys.modules.pop("evil", None)


NAMED = [
    ({"id": "evil:Evil-v0"}, "env.id"),
    ({"id": "CartPole-v1", "plugin": {"apply": "evil:apply", "tasks": {}}}, "env.plugin.apply"),
    ({"id": "CartPole-v1", "plugin": {"apply": "os:mkdir", "tasks": {}}}, "env.plugin.apply"),
    ({"id": "CartPole-v1", "plugin": {"wrappers": [{"name": "evil:W"}]}}, "env.plugin.wrappers"),
    (
        {
            "id": "CartPole-v1",
            "plugin": {"wrappers": [{"name": "gymnasium:Wrapper", "kwargs": {"x": "evil:W"}}]},
        },
        "env.plugin.wrappers.x",
    ),
    ({"id": "CartPole-v1", "kwargs": {"env_id": "evil:Evil-v0"}}, "env.kwargs.env_id"),
    ({"id": "CartPole-v1", "kwargs": {"inner": {"id": " evil:Evil-v0"}}}, "env.kwargs.inner"),
    ({"id": "CartPole-v1", "kwargs": {"all": [["évil:Evil-v0"]]}}, "env.kwargs.all"),
]


@pytest.mark.parametrize(("env", "key"), NAMED)
def test_a_checkpoint_imports_nothing_that_nobody_has_named(evil, env, key):
    name_module(evil, env)
    with pytest.raises(
        metarl.CheckpointError, match=f"wants to import .* \\({key}\\); if you trust"
    ):
        metarl.load(evil)
    assert not (evil.parent / MARK).exists() and "evil" not in sys.modules


def test_a_named_module_is_imported_when_it_is_needed(evil):
    name_module(evil, {"id": "evil:Evil-v0"})
    learner = metarl.load(evil, trust_imports=["evil"])
    assert not (evil.parent / MARK).exists()
    with pytest.raises(metarl.UserError, match="has observations of size 1"):
        metarl.evaluate(learner, "evil:Evil-v0", num_tasks=1, episodes=1)
    assert (evil.parent / MARK).exists()
    metarl.load(evil)  # imported by now


def test_a_record_is_made_of_trusted_checkpoints_alone(evil):
    name_module(evil, {"id": "evil:Evil-v0"})
    with pytest.raises(metarl.CheckpointError, match="wants to import 'evil'"):
        record_run(evil)
    assert not (evil.parent / MARK).exists()


@pytest.mark.parametrize("apply", ["os:mkdir", "plugged:np", "plugged:Point", "plugged:spaces"])
def test_apply_takes_functions_of_the_module_alone(tiny_document, tmp_path, apply):
    tiny_document["env"] = {
        "id": "plugged:Point-v0",
        "plugin": {"apply": apply, "tasks": {"goal": {"low": -1.0, "high": 1.0}}, "num_workers": 0},
    }
    config = metarl.experiment.config.parse_config(tiny_document)
    with pytest.raises(metarl.UserError, match="must name a function"):
        metarl.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_one_has_trained_here_needs_no_names(tiny_document, tmp_path, monkeypatch):
    """The run is remembered outside of its folder; a copy of it, or another config, is not."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text("import plugged\nplugged\n")
    monkeypatch.syspath_prepend(tmp_path)
    tiny_document["env"] = {"id": "mine:Point-v0", "plugin": {"num_workers": 0}}
    run = tmp_path / "run"
    metarl.train(metarl.experiment.config.parse_config(tiny_document), run)
    del sys.modules["mine"]
    metarl.load(run)
    metarl.load(run / "best")
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(metarl.CheckpointError, match="wants to import 'mine'"):
        metarl.load(copy)
    checkpoint = run / "checkpoints/iteration_000003"
    name_module(checkpoint, {"id": "mine:Other-v0"})
    with pytest.raises(metarl.CheckpointError, match="wants to import 'mine'"):
        metarl.load(run)
