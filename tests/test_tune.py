"""The search: on validation tasks, resumable, one sentence for a mistake."""

import signal
import subprocess
import sys
import time

import optuna
import pytest
from omegaconf import OmegaConf
from running_scripts import POINT, ROOT, TINY, run

ONE_STEP = "evaluation.adaptation_steps=1"


def tune(folder, *arguments):
    return run("tune.py", POINT, *TINY, ONE_STEP, "--run-dir", folder, *arguments)


@pytest.mark.slow
def test_a_search_goes_on_and_never_sees_held_out_tasks(tmp_path):
    search = ["--search", "learner.outer.max_kl=0.001:0.1:log", "policy.init_std=0.5,1.0"]
    done = tune(tmp_path, *search, "--trials", 2)
    assert done.returncode == 0 and "2 configurations tried; best: {" in done.stdout, done.stderr
    done = tune(tmp_path, *search, "--trials", 3)
    assert "3 configurations tried" in done.stdout and "trial 2: -" in done.stdout
    runs = list(tmp_path.glob("*/config.yaml"))
    assert len(runs) == 3
    assert {OmegaConf.load(run).evaluation.split for run in runs} == {"validation"}
    assert len({OmegaConf.load(run).learner.outer.max_kl for run in runs}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("policy.init_std=1:0.5", "must be key=low:high, key=low:high:log or key=a,b,c"),
        ("policy.init_std=0:1:log", "a log range is positive"),
        ("policy.init_std=1", "must be key=low:high"),
        ("policy.init_std=0.1:inf", "must be key=low:high"),
        ("policy.init_sd=1,2", "did you mean 'init_std'"),
        ("learner.inner.steps=1,x", "learner.inner.steps"),
        ("learner.discount=0.9:1.5", "learner.discount"),
        ("meta_batch=0:3", "meta_batch"),
        ("evaluation.num_tasks=1,40", "belongs to what configurations are measured by"),
        ("seed=1,2", "belongs to what configurations are measured by"),
    ],
)
def test_mistakes_are_a_sentence(tmp_path, search, message):
    done = tune(tmp_path / "run", "--search", search, "--trials", 1)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_interrupted_training_is_taken_up_and_counts_once(tmp_path):
    search = ["--search", "policy.init_std=0.5:1.0", "meta_batch=3:5"]
    long = ["iterations=4000", "checkpoint.every=1"]
    arguments = ["tune.py", POINT, *TINY, ONE_STEP, *long, "--run-dir", tmp_path, *search]
    command = [sys.executable, *map(str, [f"scripts/{arguments[0]}", *arguments[1:]])]
    process = subprocess.Popen([*command, "--trials", "1"], cwd=ROOT, stderr=subprocess.PIPE)
    wait_for(tmp_path / "trial0-seed0/checkpoints")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    done = count(tmp_path)
    assert 1 <= done < 4000
    config = OmegaConf.load(tmp_path / "trial0-seed0/config.yaml")
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    interrupted = study.trials[0].params
    process = subprocess.Popen([*command, "--trials", "1"], cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while count(tmp_path) <= done and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert count(tmp_path) > done
    assert OmegaConf.load(tmp_path / "trial0-seed0/config.yaml") == config
    assert [path.name for path in tmp_path.glob("trial*")] == ["trial0-seed0"]
    assert study.trials[1].params == interrupted and isinstance(interrupted["meta_batch"], int)


def count(folder):
    """Iterations of the newest checkpoint."""
    names = [path.name for path in (folder / "trial0-seed0/checkpoints").glob("iteration_*")]
    return max((int(name.rpartition("_")[2]) for name in names), default=0)


def wait_for(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not (path.is_dir() and any(path.glob("iteration_*"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert any(path.glob("iteration_*"))


@pytest.mark.slow
def test_a_folder_holds_one_search(tmp_path):
    search = ["--search", "policy.init_std=0.5,1.0", "--trials", 1]
    assert tune(tmp_path, *search).returncode == 0
    for change in (["--seeds", 5], ["meta_batch=4"], ["--search", "policy.init_std=0.5,2.0"]):
        refused = tune(tmp_path, *search, *change)
        assert refused.returncode == 2 and "holds a search with another" in refused.stderr
