"""What the README says of seeds: the same bits from the same seed, on one machine."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from conftest import TINY

from metarl.experiment.config import parse_config, to_yaml

LEARNERS = {
    "maml": {"name": "maml", "inner": {"step_sizes": [0.5]}},
    "rl2": {"name": "rl2", "memory": "lstm", "hidden_size": 8},
}


def run(folder, document, hash_seed="0"):
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(to_yaml(parse_config(document)))
    done = subprocess.run(
        [sys.executable, "scripts/train.py", config, "--run-dir", folder / "run"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    weights = folder / "run/checkpoints/iteration_000003/weights.safetensors"
    evaluation = json.loads((folder / "run/evaluation.json").read_text())
    return hashlib.sha256(weights.read_bytes()).hexdigest(), evaluation["returns"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_same_seed_same_bits(tmp_path, name):
    """Twice, under another hash seed, and on one thread or two (physics and learning)."""
    document = {**TINY, "learner": LEARNERS[name], "env": {"id": "metarl/HalfCheetahVel-v0"}}
    if name == "rl2":
        document["policy"] = {}
    reference = run(tmp_path / "first", {**document, "num_threads": 1})
    assert run(tmp_path / "again", {**document, "num_threads": 1}, "7") == reference
    assert run(tmp_path / "two", {**document, "num_threads": 2}, "random") == reference
    assert run(tmp_path / "other", {**document, "num_threads": 1, "seed": 1}) != reference
