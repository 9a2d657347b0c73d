"""Faults of the machine and of learning: one sentence, and the last checkpoint is whole."""

import csv
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from conftest import TINY
from demonstrated import demonstrate_by_chance
from small_runs import quick, tasks_of

import metarl
from metarl.errors import MachineError, TrainingError
from metarl.experiment.checkpoint import checkpoint_path, newest_whole
from metarl.experiment.checkpoint_writing import remove_older
from metarl.experiment.config import parse_config, to_yaml
from metarl.learners import LEARNERS
from metarl.params import flatten
from metarl.training import iterating
from metarl.training.rows import Rows


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

    monkeypatch.setattr(iterating, "collect", no_memory)
    with pytest.raises(MachineError, match="out of memory"):
        metarl.train(parse_config(TINY), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meta_batch": 10**7}, "sub-environments need .* this machine has"),
        ({"horizon": 10**9}, "rollouts of 3 tasks x 4 episodes x 1,000,000,000 steps need"),
        ({"policy": {"hidden_sizes": [10**6, 10**6]}}, "networks of sizes .* need 3,72"),
        ({"evaluation": {"num_tasks": 10**5, "episodes": 10**5}}, "need .* GiB of memory or more"),
        ({"evaluation": {"adaptation_steps": 10**9}}, "need .* GiB of memory or more"),
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
    collect = iterating.collect

    def broken(*arguments):
        rollouts = collect(*arguments)
        rollouts.rewards_MEH[:] = float("nan")
        return rollouts

    monkeypatch.setattr(iterating, "collect", broken)


@pytest.mark.parametrize("name", LEARNERS)
def test_numbers_that_are_not_finite_never_reach_parameters(
    tiny_document, tmp_path, monkeypatch, name
):
    """Rewards that should not occur: a learner skips the update, or ends in a sentence."""
    learner = {"name": name, **quick(name)}
    document = {**tiny_document, "learner": learner, "policy": {}, "iterations": 4}
    document["max_skipped"] = 3
    document |= tasks_of(name, 3, tmp_path / "shown")
    document["evaluation"] = {**tiny_document["evaluation"], **document["evaluation"]}
    if LEARNERS[name].needs_demonstrations:
        demonstrate_by_chance(tmp_path / "shown", document["env"])
    config = parse_config(document)
    explode(monkeypatch, name)
    try:
        metarl.train(config, tmp_path / "run")
    except TrainingError as error:
        assert "3 updates in a row were skipped (the last one: no" in str(error)
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


REWRITE = """
import os, signal, sys
from pathlib import Path
from metarl.training.rows import Rows
path = Path(sys.argv[1])
kept = Rows(path, 0)
for i in range(100):
    kept.add({"iteration": i, **{f"metric_{j}": 0.1 * i for j in range(20)}})
write_bytes = Path.write_bytes
def half(self, content):
    write_bytes(self, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = half
kept.add({"iteration": 100, "evaluation": 1.0})
"""


def test_a_kill_while_rows_are_written_anew_loses_none(tmp_path):
    path = tmp_path / "progress.csv"
    done = subprocess.run([sys.executable, "-c", REWRITE, path], check=False)
    assert done.returncode == -9
    Rows(path, 90)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == [str(i) for i in range(90)]
    assert rows[3]["metric_7"] == str(0.1 * 3)


@pytest.mark.parametrize("damage", ["101,2", "101," + ",".join("1" * 40), "x,1", "1"])
def test_damaged_rows_are_left_out(tmp_path, damage):
    path = tmp_path / "progress.csv"
    rows = Rows(path, 0)
    for i in range(3):
        rows.add({"iteration": i, "metric": 1.0, "other": "no improvement"})
    with path.open("a") as file:
        file.write(damage)
    again = Rows(path, 200)
    again.add({"iteration": 3, "metric": 2.0, "other": ""})
    with path.open(newline="") as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


def test_columns_come_in_one_order(tmp_path):
    path = tmp_path / "progress.csv"
    rows = Rows(path, 0)
    rows.add({"iteration": 0, "b": 1.0, "a": 1.0})
    rows.add({"d": 1.0, "iteration": 1, "c": 2.0})
    assert path.read_text().splitlines()[0] == "a,b,iteration,c,d"
    with path.open(newline="") as file:
        assert [row["c"] for row in csv.DictReader(file)] == ["", "2.0"]


@pytest.mark.parametrize("name", [".lock", "progress.csv", "config.yaml", "best"])
def test_links_in_a_run_folder_are_refused(tiny_document, tmp_path, name):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    metarl.train(parse_config(tiny_document), folder)
    outside.write_text("mine")
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    else:
        (folder / name).unlink()
    (folder / name).symlink_to(outside)
    with pytest.raises(metarl.ConfigError, match="is a link"):
        metarl.train(parse_config({**tiny_document, "iterations": 4}), folder, resume=True)
    assert outside.read_text() == "mine"


def test_a_damaged_later_checkpoint_never_outlives_a_whole_one(tiny_document, tmp_path):
    document = {**tiny_document, "iterations": 4, "checkpoint": {"every": 1, "keep": 3}}
    folder = tmp_path / "run"
    metarl.train(parse_config(document), folder)
    for number in (3, 4):
        with (folder / f"checkpoints/iteration_{number:06d}/weights.safetensors").open(
            "ab"
        ) as file:
            file.write(b"x")
    document |= {"iterations": 3, "checkpoint": {"every": 1, "keep": 1}}
    metarl.train(parse_config(document), folder, resume=True)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["iteration_000003"]
    assert newest_whole(folder).iteration == 3


def test_checkpoints_are_ordered_by_their_number(tmp_path):
    paths = [checkpoint_path(tmp_path, number) for number in (999_998, 999_999, 1_000_000)]
    for path in paths:
        path.mkdir(parents=True)
    remove_older(paths[-1], 2)
    assert sorted(p.name for p in paths[0].parent.iterdir()) == sorted(p.name for p in paths[1:])


def test_the_best_survives_a_kill_between_its_two_renames(tiny_document, tmp_path):
    document = {**tiny_document, "evaluation": {**tiny_document["evaluation"], "every": 1}}
    folder = tmp_path / "run"
    metarl.train(parse_config(document), folder)
    before = json.loads((folder / "best/metadata.json").read_text())
    (folder / "best").rename(folder / ".previous_best")
    metarl.train(parse_config(document), folder, resume=True)
    assert json.loads((folder / "best/metadata.json").read_text()) == before


def test_the_best_is_of_the_tasks_that_are_evaluated(tiny_document, tmp_path):
    folder = tmp_path / "run"
    metarl.train(parse_config(tiny_document), folder)
    path = folder / "best/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "best_return": 1e9}))
    document = {**tiny_document, "iterations": 4}
    metarl.train(parse_config(document), folder, resume=True)
    assert json.loads(path.read_text())["best_return"] == 1e9  # the same tasks
    document |= {"iterations": 5, "evaluation": {**tiny_document["evaluation"], "seed": 3}}
    metarl.train(parse_config(document), folder, resume=True)
    assert json.loads(path.read_text())["iteration"] == 5
