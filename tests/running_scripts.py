"""The scripts as a user runs them, at small sizes."""

import subprocess
import sys
from pathlib import Path

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
