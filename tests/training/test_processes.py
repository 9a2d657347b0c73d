"""Several processes: the same bits, whoever computes them; and what happens when one is lost."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from demonstrated import demonstrate_by_chance
from every_learner import POINT, RUNS

ROOT = Path(__file__).parents[2]
EVERY = ROOT / "tests/every_learner.py"
PATHS = f"{ROOT}:{ROOT}/envs:{ROOT}/tests"
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


def launched(processes, *program, **options):
    """A program in so many processes of this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    several = [*launcher, f"--nproc-per-node={processes}"] if processes > 1 else [sys.executable]
    return subprocess.Popen(
        [*several, *map(str, program)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finished(processes, *program):
    run = launched(processes, *program)
    printed, _ = run.communicate(timeout=400)
    assert run.returncode == 0, printed
    return printed


def bits_of(run):
    """Files of the newest checkpoint, evaluation, and metrics but for the time that they took."""
    checkpoint = max((run / "checkpoints").iterdir())
    files = {path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")}
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation.pop("checkpoint")  # its path
    with (run / "progress.csv").open() as table:
        rows = [dict(row) for row in csv.DictReader(table)]
    kept = [{k: v for k, v in r.items() if k[:5] != "time/" or k == "time/env_steps"} for r in rows]
    return files, evaluation, kept


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Every learner, trained by one process."""
    folder = tmp_path_factory.mktemp("every")
    demonstrate_by_chance(folder / "shown", POINT, num_tasks=5, h=7)
    finished(1, EVERY, folder / "1")
    return folder / "1"


@pytest.fixture(scope="module")
def two(alone):
    """Every learner, trained by two processes."""
    finished(2, EVERY, alone.parent / "2")
    return alone.parent / "2"


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_compute_the_same_bits(name, alone, two):
    assert bits_of(two / name) == bits_of(alone / name)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, 4])
def test_more_processes_do_too(processes, alone):
    """The meta-batch is five: they get different numbers of tasks."""
    names = ("maml on hopper", "rl2 on hopper", "pearl on hopper", "varibad", "prototypes")
    folder = alone.parent / str(processes)
    finished(processes, EVERY, folder, *names)
    for name in names:
        assert bits_of(folder / name) == bits_of(alone / name), name


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_a_run_goes_on_with_another_number_of_processes(processes, alone, two):
    names = ("promp on hopper", "rl2 on hopper", "pearl on hopper", "varibad", "prototypes")
    for folder in (alone, two):
        for name in names:
            shutil.copytree(folder / name, folder.parent / f"{processes}{folder.name}" / name)
    whole, resumed = (alone.parent / f"{processes}{n}" for n in (1, 2))
    finished(1, EVERY, whole, "--resume", *names)
    finished(processes, EVERY, resumed, "--resume", *names)
    for name in names:
        assert bits_of(resumed / name) == bits_of(whole / name), name
