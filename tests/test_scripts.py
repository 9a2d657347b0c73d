"""The scripts as a user runs them: their output, and exit status 2 with one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POINT = "configs/point_navigation/maml_trpo.yaml"
TINY = ["meta_batch=3", "episodes=4", "horizon=10", "iterations=2", "policy.hidden_sizes=[8]"]
TINY += ["evaluation.num_tasks=4", "evaluation.episodes=3"]


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, f"scripts/{script}", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_train_then_evaluate(tmp_path):
    folder = tmp_path / "run"
    done = run("train.py", POINT, *TINY, "--run-dir", folder)
    assert done.returncode == 0, done.stderr
    assert "adaptation step" in done.stdout and "held-out tasks" in done.stdout
    out = tmp_path / "evaluation.json"
    done = run("evaluate.py", folder, "--num-tasks", 3, "--episodes", 2, "--json", out)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(out.read_text())["returns"]) == 4 and out.with_suffix(".png").is_file()
    done = run("train.py", POINT, *TINY, "iterations=3", "--run-dir", folder, "--resume")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["nowhere.yaml"], "no config file at nowhere.yaml"),
        ("train.py", [POINT, "meta_bach=3"], "did you mean 'meta_batch'?"),
        ("train.py", [POINT, "meta_batch=-3"], "key 'meta_batch' is -3, must be greater than 0"),
        ("train.py", [POINT, "env.id=metarl/PointNav-v0"], "unknown environment"),
        ("train.py", [POINT, "episodes=1", "horizon=5"], "too few for the baseline"),
        ("train.py", [POINT, "--resume"], "--resume needs --run-dir"),
        ("evaluate.py", ["nowhere"], "no run or checkpoint folder at nowhere"),
        ("benchmark.py", ["--env", "metarl/Nothing-v0"], "unknown environment"),
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
