"""Kills and signals: nothing that was computed is lost."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY

import metarl
from metarl.experiment.checkpoint import newest_whole
from metarl.experiment.config import parse_config, to_yaml
from metarl.params import flatten
from metarl.training.run_folder import only_writer

ITERATIONS = 12


@pytest.fixture(scope="module")
def document():
    return {
        **TINY,
        "learner": {"name": "promp", "inner": {"step_sizes": [0.5]}},
        "iterations": ITERATIONS,
        "evaluation": {"num_tasks": 3, "episodes": 2, "adaptation_steps": 1, "every": 4},
        "checkpoint": {"every": 1, "keep": 2},
    }


@pytest.fixture(scope="module")
def whole(document, tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    metarl.train(parse_config(document), folder)
    return folder


def start(document, folder, iterations=ITERATIONS):
    """`train.py --resume` in a process of its own."""
    config = folder.parent / "config.yaml"
    config.write_text(to_yaml(parse_config({**document, "iterations": iterations})))
    return subprocess.Popen(
        [sys.executable, "scripts/train.py", config, "--run-dir", folder, "--resume"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(folder, count):
    path = folder / "progress.csv"
    while not path.is_file() or len(path.read_text().splitlines()) <= count:
        time.sleep(0.01)


def columns(folder):
    """All that is logged but times."""
    with (folder / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = ("physics", "environment", "policy", "learning")
    timed = {f"time/{name}" for name in ("env_steps_per_s", "iteration_s", "seconds", *shares)}
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def check_equal(folder, whole):
    first, second = metarl.load(folder), metarl.load(whole)
    assert torch.equal(flatten(first.meta_parameters), flatten(second.meta_parameters))
    assert columns(folder) == columns(whole)
    assert (folder / "evaluation.json").is_file()
    assert len(list((folder / "checkpoints").glob("iteration_*"))) == 2


def kill_and_resume(document, folder, whole, kills):
    """SIGKILL at random instants, until a training gets through."""
    chooser = random.Random(0)
    for _ in range(kills):
        process = start(document, folder)
        before = newest_whole(folder)
        rows = before.iteration if before is not None else 0
        wait_for_rows(folder, min(rows + 1, ITERATIONS - 1))
        time.sleep(0.05 * chooser.random())
        process.kill()
        process.communicate()
    process = start(document, folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    check_equal(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.training)])
def test_killed_at_random_instants_and_resumed_to_the_bit(document, whole, tmp_path, kills):
    kill_and_resume(document, tmp_path / "run", whole, kills)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_iteration_and_leaves_a_checkpoint(document, whole, tmp_path, number):
    folder = tmp_path / "run"
    changed = {**document, "checkpoint": {"every": 0, "keep": 2}}
    process = start(changed, folder, iterations=100_000)
    wait_for_rows(folder, 3)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "go on with: metarl train --resume" in errors and len(errors.strip().splitlines()) == 1
    assert "stopping after this iteration" in output
    saved = newest_whole(folder).iteration
    assert saved == len(columns(folder)) >= 3


@pytest.mark.slow
def test_a_second_signal_stops_at_once(document, tmp_path):
    folder = tmp_path / "run"
    slow = {**document, "meta_batch": 100, "episodes": 100, "horizon": 400}
    process = start(slow, folder)
    while not (folder / "config.yaml").is_file():
        time.sleep(0.05)
    time.sleep(1.0)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors and "stopped at once" in errors


def test_two_trainings_do_not_share_a_folder(document, tmp_path):
    with only_writer(tmp_path), pytest.raises(metarl.ConfigError, match="another training writes"):
        metarl.train(parse_config(document), tmp_path)


def test_resuming_a_folder_without_a_checkpoint_begins(document, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/progress.csv").write_text("iteration\n0\n")
    short = parse_config({**document, "iterations": 1})
    metarl.train(short, tmp_path / "run", resume=True)
    assert [row["iteration"] for row in columns(tmp_path / "run")] == ["0"]


def test_resuming_a_finished_run_says_so(document, whole, capsys):
    before = columns(whole)
    metarl.train(parse_config(document), whole, resume=True)
    assert f"all {ITERATIONS} iterations are done" in capsys.readouterr().out
    assert columns(whole) == before


def test_checkpoints_by_the_clock(document, tmp_path):
    often = {**document, "iterations": 3, "checkpoint": {"every": 0, "minutes": 1e-6, "keep": 9}}
    metarl.train(parse_config(often), tmp_path / "run")
    assert len(list(Path(tmp_path, "run/checkpoints").glob("iteration_*"))) == 3


def test_a_run_folder_that_cannot_be_made(document, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(metarl.ConfigError, match="cannot be made"):
        metarl.train(parse_config(document), tmp_path / "file/run")
