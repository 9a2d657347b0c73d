import csv
import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import metarl
from metarl.experiment.checkpoint import read_checkpoint
from metarl.experiment.config import load_config, parse_config
from metarl.params import flatten
from metarl.training import iterating, trainer
from metarl.training.run_log import RunLog
from metarl.training.task_sources import make_task_source
from metarl_envs.robots.half_cheetah import HalfCheetah


def weights(folder):
    return load_file(folder / "weights.safetensors")


def progress(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same_weights(a, b):
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_run_folder(tiny_run):
    assert load_config(tiny_run / "config.yaml").meta_batch == 3
    rows = progress(tiny_run)
    assert [int(row["iteration"]) for row in rows] == [0, 1, 2]
    for key in ("train/return_step_0", "train/return_step_1", "train/kl", "time/physics"):
        assert all(np.isfinite(float(row[key])) for row in rows), key
    assert float(rows[-1]["time/env_steps"]) == 3 * 2 * 3 * 4 * 10
    document = json.loads((tiny_run / "evaluation.json").read_text())
    assert np.array(document["returns"]).shape == (2, 5, 3)
    assert (tiny_run / "adaptation.png").stat().st_size > 10_000
    assert list(tiny_run.glob("events.out.tfevents*"))
    names = sorted(path.name for path in (tiny_run / "checkpoints").iterdir())
    assert names == ["iteration_000002", "iteration_000003"]
    tasks = json.loads((tiny_run / "checkpoints/iteration_000003/tasks.json").read_text())
    assert tasks == document["tasks"]
    versions = read_checkpoint(tiny_run).metadata["versions"]
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"]


def test_same_config_same_run_to_the_bit(tiny_config, tiny_run, tmp_path):
    metarl.train(tiny_config, tmp_path / "again")
    name = "checkpoints/iteration_000003"
    assert same_weights(tiny_run / name, tmp_path / "again" / name)
    first, again = ((p / "evaluation.json").read_text() for p in (tiny_run, tmp_path / "again"))
    assert json.loads(first)["returns"] == json.loads(again)["returns"]


def test_resumed_run_equals_the_uninterrupted_one_to_the_bit(tiny_config, tiny_run, tmp_path):
    folder = tmp_path / "run"
    metarl.train(tiny_config.model_copy(update={"iterations": 2}), folder)
    metarl.train(tiny_config, folder, resume=True)
    name = "checkpoints/iteration_000003"
    assert same_weights(tiny_run / name, folder / name)
    rows = [progress(path) for path in (tiny_run, folder)]
    assert [row["iteration"] for row in rows[1]] == ["0", "1", "2"]
    for mine, theirs in zip(*rows, strict=True):
        assert mine["train/return_step_1"] == theirs["train/return_step_1"]
        assert mine["time/env_steps"] == theirs["time/env_steps"]


def test_meta_parameters_change_in_training(tiny_config, tiny_run):
    learner = metarl.load(tiny_run)
    initial = metarl.experiment.building.build_learner(tiny_config, learner.spec)
    assert not torch.equal(flatten(initial.meta_parameters), flatten(learner.meta_parameters))


def test_folder_in_use_is_refused(tiny_config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(metarl.ConfigError, match="is not empty"):
        metarl.train(tiny_config, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": {"id": "metarl/Nowhere-v0"}}, "unknown environment 'metarl/Nowhere-v0'"),
        ({"env": {"id": "no_module:X-v0"}}, "cannot import the module"),
        (
            {"env": {"id": "plugged_faults:Fialing-v0"}},
            r"did you mean 'Failing-v0'\?\); those of plugged_faults are: ArrayReward-v0, ",
        ),
        ({"env": {"id": "plugged:plugged/Slidre-v0"}}, "those of plugged are: .*plugged/Slider"),
        ({"env": {"id": "CartPole-v1"}}, "has no set_task"),
        (
            {"env": {"id": "metarl/PointNavigation-v0", "kwargs": {"goal_rnge": 1.0}}},
            "does not accept",
        ),
        (
            {"env": {"id": "metarl/PointNavigation-v0", "kwargs": {"goal_range": -1.0}}},
            "goal_range must be",
        ),
        ({"evaluation": {"split": "tests"}}, "no task split 'tests'"),
    ],
)
def test_bad_experiments_leave_nothing_behind(tiny_document, tmp_path, change, message):
    folder = tmp_path / "run"
    with pytest.raises(metarl.UserError, match=message):
        metarl.train(parse_config({**tiny_document, **change}), folder)
    assert not folder.exists()


def test_resume_with_another_config_is_refused(tiny_document, tiny_run):
    config = parse_config({**tiny_document, "seed": 5})
    with pytest.raises(metarl.CheckpointError, match="made with another config: seed was 0, not 5"):
        metarl.train(config, tiny_run, resume=True)
    other = parse_config({**tiny_document, "env": {"id": "metarl/HalfCheetahVel-v0"}})
    with pytest.raises(metarl.CheckpointError, match=r"env\.id was metarl/Point"):
        metarl.train(other, tiny_run, resume=True)
    shorter = parse_config({**tiny_document, "iterations": 1})
    with pytest.raises(metarl.CheckpointError, match="past the 1 iterations"):
        metarl.train(shorter, tiny_run, resume=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_on_a_gpu(tiny_config, tmp_path):
    metarl.train(tiny_config.model_copy(update={"device": "cuda"}), tmp_path / "run")


def test_missing_gpu_is_refused(tiny_config, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(metarl.ConfigError, match="no CUDA device"):
        metarl.train(tiny_config.model_copy(update={"device": "cuda"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_console_lists_steps_in_their_order(tmp_path):
    console = Console(record=True, width=200, file=io.StringIO())
    log = RunLog(tmp_path, 0, console)
    times = {"time/env_steps_per_s": 1.0, "time/physics": 0.0}
    metrics = {f"train/return_step_{k}": float(k) for k in (0, 10, 2)} | {"train/diverged": 3.0}
    log.write(0, metrics | times, show=True)
    log.close()
    printed = console.export_text()
    assert "0.0 -> 2.0 -> 10.0" in printed and "3 episodes diverged" in printed


def test_num_threads_limits_the_physics_too(tiny_document, tmp_path, monkeypatch):
    seen = []
    original = trainer.evaluate

    def evaluate(*args, **kwargs):
        seen.append(HalfCheetah(2).simulations.batch.nthread)
        return original(*args, **kwargs)

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    before = torch.get_num_threads()
    metarl.train(parse_config({**tiny_document, "num_threads": 1}), tmp_path / "run")
    torch.set_num_threads(before)
    assert seen == [1]


def test_training_logs_success_where_the_environment_reports_it(tiny_document, tmp_path):
    env = {"id": "metarl/PointNavigationSparse-v0", "kwargs": {"action_scale": 10.0}}
    metarl.train(parse_config({**tiny_document, "env": env, "iterations": 1}), tmp_path / "run")
    (row,) = progress(tmp_path / "run")
    for step in (0, 1):
        assert 0.0 <= float(row[f"train/success_step_{step}"]) <= 1.0
    metarl.train(parse_config({**tiny_document, "iterations": 1}), tmp_path / "other")
    assert not any("success" in key for key in progress(tmp_path / "other")[0])


def test_training_logs_what_was_collected(tiny_document, tmp_path, monkeypatch):
    seen, original = [], iterating.collect

    def collect(*args, **kwargs):
        seen.append(original(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(iterating, "collect", collect)
    metarl.train(parse_config({**tiny_document, "iterations": 1}), tmp_path / "run")
    (row,) = progress(tmp_path / "run")
    for step in (0, 1):
        expected = float(seen[step].returns_ME.mean())
        assert float(row[f"train/return_step_{step}"]) == pytest.approx(expected, rel=1e-5)
    assert float(row["train/diverged"]) == 0.0


class TestTasks:
    def distribution(self):
        return HalfCheetah(1).task_distribution("train")

    def test_fixed_tasks_keep_their_keys(self, tiny_document):
        config = parse_config({**tiny_document, "tasks": {"kind": "fixed", "num": 5}})
        source = make_task_source(config, self.distribution())
        by_key = {}
        for iteration in range(20):
            tasks, keys = source(iteration)
            assert len(keys) == len(set(keys)) == 3
            for index, key in enumerate(keys):
                task = {name: values[index].tolist() for name, values in tasks.items()}
                assert by_key.setdefault(key, task) == task
        assert set(by_key) == set(range(5))
        again = make_task_source(config, self.distribution())
        assert again(7).keys == source(7).keys

    def test_fresh_tasks_are_new_in_every_iteration(self, tiny_config):
        source = make_task_source(tiny_config, self.distribution())
        (first, keys), (second, _) = source(0), source(1)
        assert list(keys) == [0, 1, 2]
        assert not any(np.array_equal(first[name], second[name]) for name in first)

    @pytest.mark.parametrize(
        ("tasks", "message"),
        [
            ({"kind": "fixed", "num": 2}, "tasks.num = 2 must be at least meta_batch = 3"),
            ({"kind": "fixed"}, "key 'tasks' takes num with kind fixed, and only with it"),
            ({"num": 5}, "key 'tasks' takes num with kind fixed, and only with it"),
            (
                {"kind": "frsh"},
                "key 'tasks.kind' is 'frsh', must be 'fresh', 'fixed' or 'demonstrated'",
            ),
        ],
    )
    def test_bad_input(self, tiny_document, tasks, message):
        with pytest.raises(metarl.ConfigError) as error:
            parse_config({**tiny_document, "tasks": tasks})
        assert message in str(error.value)
