"""Real Ray clusters, of this machine's cores."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY
from running_processes import ENVIRONMENT, ROOT, bits_of, finished

from metarl.experiment.config import parse_config, to_yaml

pytest.importorskip("ray", reason="extra [ray]")
pytestmark = pytest.mark.training  # minutes on a busy machine


@pytest.fixture
def config(tmp_path):
    document = {**TINY, "iterations": 12, "num_threads": 1, "checkpoint": {"every": 1}}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(parse_config(document)))
    return path


def on_ray(name, tmp_path, *arguments):
    """A script in a home folder of its own, so that what it leaves there is seen."""
    home = tmp_path / "home"
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, ROOT / f"scripts/{name}.py", *map(str, arguments)],
        env={**ENVIRONMENT, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers():
    """Processes in which Ray trains."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::RayTrainWorker"):
                found.append(int(folder.name))
    return sorted(found)


def addresses_of_listeners(name):
    """Addresses on which processes of such a name listen, as the kernel writes them."""
    sockets = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if name in (link.parents[1] / "cmdline").read_text():
                sockets.update(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
        except OSError:
            continue
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


def test_a_killed_worker_is_started_again_with_the_same_bits(config, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    finished(1, ROOT / "scripts/train.py", config, "--run-dir", whole)
    training = on_ray("train_ray", tmp_path, config, "--num-workers", 2, "--run-dir", run)
    table, end = run / "progress.csv", time.monotonic() + 200
    while not table.is_file() or len(table.read_text().splitlines()) < 4:
        assert time.monotonic() < end and training.poll() is None
        time.sleep(0.02)
    listening = addresses_of_listeners("gcs_server") | addresses_of_listeners("raylet")
    assert listening and listening <= {"0100007F", "0000000000000000FFFF00000100007F"}
    os.kill(workers()[-1], signal.SIGKILL)
    printed, _ = training.communicate(timeout=300)
    assert training.returncode == 0, printed
    assert bits_of(run) == bits_of(whole)
    kept = list(run.glob("ray/checkpoint_*/weights.safetensors"))
    assert [path.read_bytes() for path in kept] == [bits_of(run)[0]["weights.safetensors"]]
    assert not (tmp_path / "home/.ray").exists()


def test_a_comparison_runs_as_tasks(config, tmp_path):
    chosen = (config, "--seeds", 0, 1, "--set", "iterations=2")
    finished(1, ROOT / "scripts/compare.py", *chosen, "--run-dir", tmp_path / "alone")
    comparison = on_ray("compare", tmp_path, *chosen, "--run-dir", tmp_path / "ray", "--ray")
    printed, _ = comparison.communicate(timeout=300)
    assert comparison.returncode == 0 and "| config | 2 |" in printed, printed
    for seed in (0, 1):
        alone, task = (tmp_path / f"{where}/config-seed{seed}" for where in ("alone", "ray"))
        assert bits_of(alone) == bits_of(task)
