"""Faults of the machine and of learning: one sentence, and the last checkpoint is whole."""

import csv
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import TINY

import metarl
from metarl.errors import MachineError, TrainingError
from metarl.experiment.checkpoint import newest_whole
from metarl.experiment.config import parse_config, to_yaml
from metarl.learners import LEARNERS
from metarl.params import flatten
from metarl.training import trainer as trainer_module


def train_script(path, folder, *arguments):
    return subprocess.run(
        [sys.executable, "scripts/train.py", path, "--run-dir", folder, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def small_disk(folder, kib):
    """A real file system of so many KiB."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine mounts nothing: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("kib", [8, 40, 120])
def test_a_full_disk_ends_a_training_in_a_sentence(tmp_path, kib):
    document = {**TINY, "iterations": 300, "checkpoint": {"every": 1, "keep": 100}}
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(parse_config(document)))
    with small_disk(tmp_path / "disk", kib) as disk:
        done = train_script(config, disk / "run")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "error: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        if (disk / "run/checkpoints").is_dir() and kib > 40:
            assert newest_whole(disk / "run").iteration > 0


@pytest.mark.parametrize("fails_at", [1, 3])
def test_no_space_for_a_checkpoint_leaves_the_one_before(tmp_path, monkeypatch, fails_at):
    """The same where nothing can be mounted: the system call says that there is no space."""
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > fails_at:
            raise OSError(28, "No space left on device", "checkpoints")

    config = parse_config({**TINY, "checkpoint": {"every": 1}})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match=r"No space left on device: checkpoints; .* --resume"):
        metarl.train(config, tmp_path / "run")
    monkeypatch.undo()
    metarl.train(config, tmp_path / "run", resume=True)
    assert newest_whole(tmp_path / "run").iteration == config.iterations


@pytest.mark.slow
def test_a_read_only_folder_is_refused(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(parse_config(TINY)))
    with small_disk(tmp_path / "disk", 100) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = train_script(config, disk / "run")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be made: Read-only file system" in done.stderr


def test_lack_of_memory_is_a_sentence(tmp_path, monkeypatch):
    def no_memory(*_):
        torch.empty(2**50)

    monkeypatch.setattr(trainer_module, "collect", no_memory)
    with pytest.raises(MachineError, match="out of memory"):
        metarl.train(parse_config(TINY), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meta_batch": 10**7}, "sub-environments need .* this machine has"),
        ({"horizon": 10**9}, "rollouts of 3 tasks x 4 episodes x 1,000,000,000 steps need"),
        ({"policy": {"hidden_sizes": [10**6, 10**6]}}, "networks of sizes .* need 3,72"),
        ({"evaluation": {"num_tasks": 10**5, "episodes": 10**5}}, "need .* GiB of memory or more"),
        ({"learner": {"name": "rl2", "hidden_size": 10**6}}, "networks of memory size 1000000"),
        ({"env": {"id": "metarl/HalfCheetahVel-v0"}, "episodes": 10**6}, "simulations need"),
    ],
)
def test_sizes_beyond_the_machine_are_refused_with_the_estimate(
    tiny_document, tmp_path, change, message
):
    document = {**tiny_document, **change}
    if "learner" in change:
        document["policy"] = {}
    with pytest.raises(metarl.UserError, match=message):
        metarl.train(parse_config(document), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def explode(monkeypatch, name):
    """Every gradient of a learner's updates is NaN from its rewards on."""
    collect = trainer_module.collect

    def broken(*arguments):
        rollouts = collect(*arguments)
        rollouts.rewards_MEH[:] = float("nan")
        return rollouts

    monkeypatch.setattr(trainer_module, "collect", broken)


@pytest.mark.parametrize("name", LEARNERS)
def test_numbers_that_are_not_finite_never_reach_parameters(
    tiny_document, tmp_path, monkeypatch, name
):
    """Rewards that should not occur: a learner skips the update, or ends in a sentence."""
    document = {**tiny_document, "learner": {"name": name}, "policy": {}, "iterations": 4}
    document["max_skipped"] = 3
    if LEARNERS[name].needs_fixed_tasks:
        document["tasks"] = {"kind": "fixed", "num": 3}
    config = parse_config(document)
    explode(monkeypatch, name)
    try:
        metarl.train(config, tmp_path / "run")
    except TrainingError as error:
        assert "3 updates in a row were skipped (the last one: non-finite" in str(error)
    learner = metarl.load(tmp_path / "run")
    assert flatten(learner.meta_parameters).isfinite().all()


def test_the_best_checkpoint_is_kept(tiny_document, tmp_path):
    document = {**tiny_document, "iterations": 6, "checkpoint": {"every": 0, "keep": 1}}
    document["evaluation"] = {**document["evaluation"], "every": 1}
    folder = tmp_path / "run"
    result = metarl.train(parse_config(document), folder)
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    key = "evaluation/mean_step_1"
    values = [float(row[key]) for row in rows if row[key]] + [result.summary[-1].mean]
    best = json.loads((folder / "best/metadata.json").read_text())
    assert len(values) == 6
    assert best["iteration"] == 1 + max(range(6), key=values.__getitem__)
    assert best["best_return"] == pytest.approx(max(values))
    assert metarl.load(folder / "best").trained_on.checkpoint == str(folder / "best")
    # gone on with, it stays the best until a better one comes
    document["iterations"] = 7
    again = metarl.train(parse_config(document), folder, resume=True).summary[-1].mean
    iteration = json.loads((folder / "best/metadata.json").read_text())["iteration"]
    assert iteration == (7 if again > max(values) else best["iteration"])


def test_a_kill_while_rows_are_written_anew_loses_none(tiny_document, tmp_path):
    folder = tmp_path / "run"
    metarl.train(parse_config(tiny_document), folder)
    rows = (folder / "progress.csv").read_text()
    (folder / ".progress_before.csv").write_text(rows)
    (folder / "progress.csv").write_text(rows.splitlines()[0])
    metarl.train(parse_config({**tiny_document, "iterations": 4}), folder, resume=True)
    assert [line.split(",")[0] for line in rows.splitlines()] != []
    with (folder / "progress.csv").open(newline="") as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    assert not Path(folder / ".progress_before.csv").exists()
