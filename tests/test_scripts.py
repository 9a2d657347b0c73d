"""The scripts as a user runs them: their output, and exit status 2 with one sentence."""

import json

import imageio.v2 as iio
import numpy as np
import pytest
from running_scripts import POINT, TINY, run


@pytest.mark.slow
def test_train_then_evaluate(tmp_path):
    folder = tmp_path / "run"
    done = run("train.py", POINT, *TINY, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout and "held-out tasks" in done.stdout
    out = tmp_path / "evaluation.json"
    done = run("evaluate.py", folder, "--num-tasks", 3, "--episodes", 2, "--json", out)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(out.read_text())["returns"]) == 4 and out.with_suffix(".png").is_file()
    done = run("train.py", "--resume", "--run-dir", folder, "iterations=3")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["nowhere.yaml"], "no config file at nowhere.yaml"),
        ("train.py", [POINT, "meta_bach=3"], "did you mean 'meta_batch'?"),
        ("train.py", [POINT, "meta_batch=-3"], "key 'meta_batch' is -3, must be greater than 0"),
        ("train.py", [POINT, "env.id=metarl/PointNav-v0"], "unknown environment"),
        ("train.py", [POINT, "tasks.kind=fixed", "tasks.num=5"], "tasks.num = 5 must be at least"),
        ("train.py", [POINT, "--resume"], "--resume needs --run-dir"),
        ("train.py", [], "name a config, or --resume --run-dir RUN_DIR"),
        (
            "train.py",
            ["--resume", "--run-dir", "metarl/zoo/point_navigation/maml_trpo"],
            "is a checkpoint, not the folder of a run",
        ),
        ("scratch.py", ["metarl/zoo/point_navigation/maml_trpo"], "it has no evaluation.json"),
        ("evaluate.py", ["nowhere"], "no run or checkpoint folder at nowhere"),
        ("../benchmarks/__main__.py", ["--env", "metarl/Nothing-v0"], "unknown environment"),
    ],
)
def test_mistakes_are_one_sentence_and_status_two(tmp_path, script, arguments, message):
    if script == "train.py" and "--resume" not in arguments:
        arguments = [*arguments, "--run-dir", tmp_path / "run"]
    done = run(script, *arguments)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert message in lines[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_record_and_check(tiny_run, tmp_path):
    clip = tmp_path / "clip.mp4"
    task = '{"goal": [0.3, 0.3]}'
    done = run("record.py", tiny_run, "--task", task, "--output", clip, "--episodes", 5)
    assert done.returncode == 0, done.stderr
    assert "return after 1 adaptation steps" in done.stdout
    video = iio.get_reader(clip)
    assert video.get_meta_data()["size"] == (512, 256)  # two episodes of ten steps, side by side
    frames = [np.asarray(frame, int) for frame in video]
    video.close()
    before, after = np.split(frames[-1][20:-20], 2, axis=1)  # without captions
    assert len(frames) == 10 and np.abs(before - after).max() > 50
    for wrong, message in (
        (["--task", "{"], "--task is not JSON"),
        (["--task", '{"gaol": [0, 0]}'], "unknown task key 'gaol'"),
        (["--task", task, "--output", tmp_path / "clip.txt"], "must end in .mp4, .gif, .png"),
    ):
        done = run("record.py", tiny_run, "--output", tmp_path / "no.mp4", *wrong)
        assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "no.mp4").exists()
    assert run("check_env.py", "metarl/HalfCheetahVel-v0").returncode == 0
    done = run("check_env.py", "CartPole-v1")
    assert done.returncode == 1 and "has no set_task" in done.stdout
    assert run("check_env.py", "Nothing-v0").returncode == 2


@pytest.mark.slow
def test_a_module_beside_the_config_is_found(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/mine.py").write_text(
        "import sys\n"
        "def apply(env, task):\n"
        "    assert 'torch' not in sys.modules\n"  # no worker loads what it does not need
        "    env.unwrapped.length = float(task['length'])\n"
    )
    (tmp_path / "config/mine.yaml").write_text(
        "env: {id: CartPole-v1, plugin: {apply: 'mine:apply', tasks: {length: {low: 0.3, "
        "high: 0.7}}}}\nlearner: {name: maml}\nmeta_batch: 2\nepisodes: 2\nhorizon: 10\n"
        "iterations: 1\nevaluation: {num_tasks: 2, episodes: 2}\n"
    )
    done = run("train.py", tmp_path / "config/mine.yaml", "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = run("evaluate.py", tmp_path / "run", "--num-tasks", 2, "--episodes", 2)
    assert done.returncode == 2 and "No module named 'mine'" in done.stderr
