"""Workers that raise, die or hang: reported within seconds, with sub-environment and task."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import metarl
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env
from metarl_envs.gymnasium_envs import WorkerError

TASKS = {"goal": np.array([-0.5, -0.5, -0.5, 0.5])}
FAULTS = {
    "Failing": "failed in 'step':",
    "Dying": "died with signal SIGKILL during 'step'",
    "Exiting": "died with exit code 7 during 'step'",
    "Hungry": "Unable to allocate",
    "Hanging": "did not finish 'step' within 0.5 s",
}


def make(name, num_envs=4, **plugin):
    module = "plugged" if name == "Point" else "plugged_faults"
    config = EnvConfig(id=f"{module}:{name}-v0", plugin={"num_workers": 2, **plugin})
    return make_env(config, num_envs, 25)


def shared_memory():
    return {path.name for path in Path("/dev/shm").glob("*")}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_workers_name_sub_environment_and_task(name):
    before = shared_memory()
    env = make(name, timeout_s=0.5 if name == "Hanging" else 60.0)
    env.set_tasks(TASKS)
    env.reset(seed=0)
    start = time.monotonic()
    with pytest.raises(WorkerError) as error:
        for _ in range(4):
            env.step(np.zeros((4, 1)))
    message = str(error.value)
    assert time.monotonic() - start < 10
    assert FAULTS[name] in message
    if name == "Failing":  # all of them do: the first to tell is named
        assert "the gripper fell off" in message and "plugged_faults.py" in message
    else:
        assert "worker 1 (sub-environments 2 to 3) in sub-environment 3, task {'goal':" in message
    assert not multiprocessing.active_children()
    assert shared_memory() <= before


@pytest.mark.parametrize("name", ["Dying", "Exiting", "Hungry", "Hanging"])
def test_a_replaced_worker_loses_its_episodes_and_no_others(name):
    env = make(name, timeout_s=1.0 if name == "Hanging" else 60.0, restarts=1)
    undisturbed = make("Point")
    for one in (env, undisturbed):
        one.set_tasks(TASKS)
        one.reset(seed=0)
    with pytest.warns(UserWarning, match="It is replaced, its episodes are lost"):
        for _ in range(4):
            obs, rewards, _, truncated, info = env.step(np.ones((4, 1)))
            expected, *_ = undisturbed.step(np.ones((4, 1)))
            if "diverged" in info:
                assert info["diverged"].tolist() == [False, False, True, True]
    assert truncated.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(obs[:2], expected[:2])
    assert np.isfinite(obs).all() and (rewards[2:] == 0).all()
    # the new worker knows its tasks
    env.set_tasks({"goal": np.full(4, -0.25)})
    env.reset(seed=1)
    _, rewards, *_ = env.step(np.zeros((4, 1)))
    undisturbed.set_tasks({"goal": np.full(4, -0.25)})
    undisturbed.reset(seed=1)
    np.testing.assert_array_equal(rewards, undisturbed.step(np.zeros((4, 1)))[1])
    env.close(), undisturbed.close()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 3]])
def test_a_reset_that_fails_is_tried_again_with_a_new_worker(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("DIED_ONCE", str(tmp_path / "died"))
    env, undisturbed = make("DyingInReset", restarts=1), make("Point")
    mask = np.isin(np.arange(4), rows)
    for one in (env, undisturbed):
        one.set_tasks(TASKS)
        one.reset(seed=0)
        one.step(np.ones((4, 1)))
    expected, _ = undisturbed.reset(seed=1, options={"reset_mask": mask})
    with pytest.warns(UserWarning, match="died with exit code 7 during 'reset'"):
        obs, _ = env.reset(seed=1, options={"reset_mask": mask})
    np.testing.assert_array_equal(obs[rows], expected[rows])
    _, rewards, _, truncated, info = env.step(np.ones((4, 1)))
    kept = [0, 1, 3] if len(rows) == 2 else rows
    np.testing.assert_array_equal(rewards[kept], undisturbed.step(np.ones((4, 1)))[1][kept])
    assert truncated.tolist() == [False, False, len(rows) == 2, False]
    if len(rows) == 2:  # sub-environment 2 shared the worker, and was in the middle of an episode
        assert info["diverged"].tolist() == [False, False, True, False]
    env.close(), undisturbed.close()


def test_a_task_that_fails_is_set_again_in_a_new_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("DIED_ONCE", str(tmp_path / "died"))
    env, undisturbed = make("DyingInTask", restarts=1), make("Point")
    for one in (env, undisturbed):
        one.set_tasks(TASKS)
        one.reset(seed=0)
        one.set_tasks({"goal": 0.5 * TASKS["goal"]})
    expected, _ = undisturbed.reset(seed=1)
    with pytest.warns(UserWarning, match="died with exit code 7 during 'set_task'"):
        obs, _ = env.reset(seed=1)
    np.testing.assert_array_equal(obs, expected)
    for one in (env, undisturbed):
        step = one.step(np.ones((4, 1)))
        assert "diverged" not in step[-1] and not step[3].any()
    np.testing.assert_array_equal(
        env.step(np.ones((4, 1)))[1], undisturbed.step(np.ones((4, 1)))[1]
    )
    env.close(), undisturbed.close()


def test_a_worker_is_not_replaced_for_ever():
    env = make("Dying", restarts=1)
    env.set_tasks(TASKS)
    with pytest.warns(UserWarning), pytest.raises(WorkerError, match="SIGKILL"):
        for _ in range(2):
            env.reset(seed=0)
            for _ in range(4):
                env.step(np.zeros((4, 1)))


def test_worker_killed_from_outside_is_noticed():
    env = make("Point")
    env.reset(seed=0)
    worker = min(multiprocessing.active_children(), key=lambda process: process.pid)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"worker \d .* died with signal SIGKILL"):
        for _ in range(3):
            env.step(np.zeros((4, 1)))


PARENT = """
import sys, multiprocessing, numpy as np
sys.path.insert(0, "tests")
from environments.test_worker_faults import TASKS, make
if __name__ == "__main__":
    env = make("Hanging")
    env.set_tasks(TASKS)
    env.reset(seed=0)
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    for _ in range(4):
        env.step(np.zeros((4, 1)))
"""


def started(tmp_path, text):
    """A script in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["tests", *sys.path])},
    )


@pytest.mark.slow
def test_hung_workers_end_with_their_parent(tmp_path):
    parent = started(tmp_path, PARENT)
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(0.5)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_runs(pid) for pid in workers)


UNGUARDED = """
from metarl.environments.config import EnvConfig
from metarl.environments.make import make_env

make_env(EnvConfig(id="plugged:Point-v0", plugin={"num_workers": 1}), 2, 25)
"""


@pytest.mark.slow
def test_a_script_that_each_worker_runs_again_is_told_so(tmp_path):
    _, errors = started(tmp_path, UNGUARDED).communicate()
    last = errors.splitlines()[-1]
    assert "WorkerError" in last and "died with exit code 1 during 'start'" in last
    assert 'outside `if __name__ == "__main__":`, and each worker runs it again' in last


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_bad_settings_of_workers_are_refused():
    with pytest.raises(metarl.UserError, match="restarts must not be negative, got -1"):
        make_plain(restarts=-1)
    with pytest.raises(metarl.UserError, match="timeout_s must be positive, got 0"):
        make_plain(timeout_s=0)


def make_plain(**settings):
    from metarl_envs.gymnasium_envs import PluginDefinition, PluginEnv

    return PluginEnv(1, PluginDefinition("plugged:Point-v0"), **settings)
