"""Several processes compute the same bits as one."""

import shutil

import pytest
from demonstrated import demonstrate_by_chance
from every_learner import POINT, RUNS
from running_processes import ROOT, bits_of, finished

EVERY = ROOT / "tests/every_learner.py"


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


@pytest.mark.training
@pytest.mark.parametrize("processes", [3, 4])
def test_more_processes_do_too(processes, alone):
    """The meta-batch is five: they get different numbers of tasks."""
    folder = alone.parent / str(processes)
    finished(processes, EVERY, folder)
    for name in RUNS:
        assert bits_of(folder / name) == bits_of(alone / name), name


@pytest.mark.training
def test_a_run_of_two_processes_goes_on_with_one_or_four(alone, two):
    names = ("promp on hopper", "rl2 on hopper", "pearl on hopper", "varibad", "prototypes")
    whole, one, four = (alone.parent / f"resumed{index}" for index in range(3))
    for folder, source, processes in ((whole, alone, 1), (one, two, 1), (four, two, 4)):
        for name in names:
            shutil.copytree(source / name, folder / name)
        finished(processes, EVERY, folder, "--resume", *names)
    for name in names:
        assert bits_of(one / name) == bits_of(four / name) == bits_of(whole / name), name
