"""What several processes do where one is lost, differs, or fails."""

import json
import os
import signal
import time

import pytest
from conftest import TINY
from running_processes import ROOT, bits_of, finished, launched

import metarl
from metarl.experiment.config import parse_config, to_yaml
from metarl.training.same_program import require_same_program

TRAIN = ROOT / "scripts/train.py"
DOCUMENT = {
    **TINY,
    "learner": {"name": "promp", "inner": {"step_sizes": [0.5]}},
    "iterations": 12,
    "num_threads": 1,
    "checkpoint": {"every": 1, "keep": 2},
}
pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(parse_config(DOCUMENT)))
    return path


def wait_for_rows(run, count):
    table = run / "progress.csv"
    end = time.monotonic() + 100
    while not table.is_file() or len(table.read_text().splitlines()) <= count:
        assert time.monotonic() < end
        time.sleep(0.01)


def children_of(pid):
    """Processes that a launcher has started, in the order of their ranks."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_ends_the_others_with_a_sentence(rank, config, tmp_path):
    run = launched(2, TRAIN, config, "iterations=100000", "--run-dir", tmp_path / "run")
    wait_for_rows(tmp_path / "run", 2)
    lost = children_of(run.pid)[rank]
    os.kill(lost, signal.SIGKILL)
    start = time.monotonic()
    printed, _ = run.communicate(timeout=100)
    assert run.returncode != 0 and time.monotonic() - start < 20
    assert f"error: process {rank} (pid {lost}" in printed and "was lost" in printed
    assert metarl.load(tmp_path / "run").trained_on is not None


def test_a_restart_goes_on_from_the_last_checkpoint(config, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    finished(1, TRAIN, config, "--run-dir", whole)
    run = launched(2, TRAIN, config, "--run-dir", again, options=["--max-restarts=1"])
    wait_for_rows(again, 3)
    os.kill(children_of(run.pid)[1], signal.SIGKILL)
    printed, _ = run.communicate(timeout=200)
    assert run.returncode == 0, printed
    assert bits_of(again) == bits_of(whole)


def test_a_folder_in_use_is_refused_by_a_restart_too(config, tmp_path):
    """Only the launch that began a run goes on with it."""
    finished(1, TRAIN, config, "iterations=1", "--run-dir", tmp_path / "run")
    before = bits_of(tmp_path / "run")
    again = launched(2, TRAIN, config, "--run-dir", tmp_path / "run", options=["--max-restarts=1"])
    printed, _ = again.communicate(timeout=100)
    assert again.returncode != 0 and printed.count("is not empty: resume it or name another") == 2
    assert bits_of(tmp_path / "run") == before


@pytest.mark.training
def test_a_restart_where_one_comes_late(config, tmp_path):
    program = tmp_path / "late.py"
    program.write_text(
        "import os, sys, time, metarl\n"
        "from metarl.command_line import run\n"
        "if os.environ['RANK'] == '1' and os.environ['TORCHELASTIC_RESTART_COUNT'] == '1':\n"
        "    time.sleep(3)\n"
        "config = metarl.load_config(sys.argv[1])\n"
        "run(lambda: metarl.train(config, sys.argv[2]))\n"
    )
    run = launched(2, program, config, tmp_path / "run", options=["--max-restarts=1"])
    wait_for_rows(tmp_path / "run", 3)
    os.kill(children_of(run.pid)[0], signal.SIGKILL)
    printed, _ = run.communicate(timeout=200)
    assert run.returncode == 0, printed


def test_a_signal_ends_all_after_the_iteration(config, tmp_path):
    run = launched(2, TRAIN, config, "iterations=100000", "--run-dir", tmp_path / "run")
    wait_for_rows(tmp_path / "run", 2)
    run.send_signal(signal.SIGTERM)
    printed, _ = run.communicate(timeout=100)
    assert run.returncode != 0 and "of 100000 iterations; go on with" in printed
    done = len((tmp_path / "run/progress.csv").read_text().splitlines()) - 1
    assert (tmp_path / f"run/checkpoints/iteration_{done:06}").is_dir()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("f'seed={rank}'", "another config than process 0: 'seed: 1' in place of 'seed: 0'"),
        ("'meta_batch=1'", "meta_batch = 1 tasks cannot be shared by 2 processes"),
    ],
)
def test_what_cannot_train_together_is_refused(keys, message, config, tmp_path):
    program = tmp_path / "differs.py"
    program.write_text(
        "import os, sys, metarl\n"
        "from metarl.command_line import run\n"
        "rank = os.environ['RANK']\n"
        f"config = metarl.load_config(sys.argv[1], [{keys}])\n"
        "run(lambda: metarl.train(config, sys.argv[2]))\n"
    )
    run = launched(2, program, config, tmp_path / "run")
    printed, _ = run.communicate(timeout=100)
    assert run.returncode != 0 and message in printed
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_all(config, tmp_path):
    program = tmp_path / "full.py"
    program.write_text(
        "import os, resource, signal, sys, metarl\n"
        "from metarl.command_line import run\n"
        "config = metarl.load_config(sys.argv[1], ['iterations=100000'])\n"
        "if os.environ['RANK'] == '0':\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (12 * 1024,) * 2)\n"
        "run(lambda: metarl.train(config, sys.argv[2]))\n"
    )
    run = launched(2, program, config, tmp_path / "run")
    printed, _ = run.communicate(timeout=100)
    assert run.returncode != 0
    assert "File too large" in printed and "go on with: metarl train --resume" in printed
    assert "could not write" in printed and "see its message" in printed


def test_a_run_folder_has_to_be_named(config):
    printed, _ = launched(2, TRAIN, config).communicate(timeout=100)
    assert "name it with --run-dir" in printed


@pytest.mark.training
def test_two_launchers_over_loopback_are_one_training(config, tmp_path):
    """Two "nodes" of one process each."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    finished(1, TRAIN, config, "--run-dir", whole)
    nodes = ["--nnodes=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:29431"]
    both = [
        launched(1, TRAIN, config, "--run-dir", run, options=[*nodes, "--local-addr=127.0.0.1"])
        for _ in range(2)
    ]
    for node in both:
        printed, _ = node.communicate(timeout=200)
        assert node.returncode == 0, printed
    assert bits_of(run) == bits_of(whole)


@pytest.mark.training
def test_evaluation_and_comparison_share_their_tasks(config, tmp_path):
    finished(1, TRAIN, config, "--run-dir", tmp_path / "run")
    evaluate = ROOT / "scripts/evaluate.py", tmp_path / "run", "--num-tasks", 5, "--episodes", 2
    compare = ROOT / "scripts/compare.py", config, "--seeds", 0, "--set", "iterations=2"
    for count in (1, 2):
        finished(count, *evaluate, "--json", tmp_path / f"{count}.json")
        finished(count, *compare, "--run-dir", tmp_path / f"compare{count}")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    alone, two = (tmp_path / f"compare{count}/config-seed0" for count in (1, 2))
    assert bits_of(alone) == bits_of(two)


class Told:
    """A world whose second process says something else."""

    rank, size = 0, 2

    def __init__(self, **other):
        self.other = other

    def tell(self, text):
        return [text, json.dumps({**json.loads(text), **self.other})]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"torch": "1.0"}, "process 1 has another torch than process 0: '1.0' in place of"),
        ({"code": "0123"}, "process 1 has another code than process 0: '0123' in place of"),
        (
            {"checkpoint": "iteration 3, 0a1b"},
            "another checkpoint than process 0: 'iteration 3, 0a1b' in place of 'none'",
        ),
    ],
)
def test_other_versions_are_refused(other, message):
    with pytest.raises(metarl.UserError, match=message):
        require_same_program(Told(**other), parse_config(DOCUMENT), None)
    require_same_program(Told(), parse_config(DOCUMENT), None)
