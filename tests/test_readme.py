"""Every command and snippet of the README, as typed, in its order, at small sizes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = {  # flag or override by script, added behind what is typed
    "train.py": "meta_batch=3 episodes=4 horizon=10 iterations={n} policy.hidden_sizes=[8] "
    "evaluation.num_tasks=3 evaluation.episodes=3",
    "evaluate.py": "--num-tasks 3 --episodes 3",
    "record.py": "--episodes 3",
}
# tested by CI itself, by test_viewer and test_compare, or not ours
ELSEWHERE = ("make", "pip", "check_env.py my_module", ". .venv", "metarl watch", "metarl compare")


def blocks():
    """Shell lines and Python snippets in their order."""
    pattern = re.compile(r"```python\n(.*?)```|((?:^    \S[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
    for match in pattern.finditer(README.partition("## What it is not")[0]):
        yield match.group(1), [line.strip() for line in (match.group(2) or "").splitlines()]


@pytest.mark.slow
def test_the_readme_runs_as_typed(tmp_path):
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    python = Path(sys.executable).parent
    path = f"{python}{os.pathsep}{os.environ['PATH']}"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "envs")))
    env = {**os.environ, "PATH": path, "PYTHONPATH": paths, "SNIPPET_SIZE": "small"}
    typed, code, trained = 0, "", 2
    for snippet, lines in blocks():
        for line in lines:
            if any(line.startswith(p) or p in line for p in ELSEWHERE):
                continue
            script = next(name for name in SMALL if name in line)
            trained += script == "train.py"
            small = SMALL[script].format(n=trained)
            line = re.sub(r"iterations=\d+|--num-tasks \d+|--episodes \d+", "", line)
            command = f"{line.partition(' #')[0]} {small}"
            done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True)
            assert done.returncode == 0, (line, done.stderr.decode())
            typed += 1
        if snippet:
            code += re.sub(r"num_tasks=\d+", "num_tasks=3", snippet)
    # the snippets go on from one to the next
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert typed >= 7 and code.count("metarl.") >= 5
