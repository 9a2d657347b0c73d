"""Programs in several processes of this machine, and what their runs came to."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = f"{ROOT}:{ROOT}/envs:{ROOT}/tests"
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


def launched(processes, *program, options=None):
    """A program in so many processes, under torchrun if they are several or it has options."""
    launcher = [sys.executable]
    if processes > 1 or options:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        launcher += ["--standalone"] if processes > 1 else []
    return subprocess.Popen(
        [*launcher, *(options or []), *map(str, program)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(processes, *program):
    """What it printed, once it has ended well."""
    run = launched(processes, *program)
    printed, _ = run.communicate(timeout=1200)
    assert run.returncode == 0, printed
    return printed


def bits_of(run):
    """Files of the newest checkpoint, evaluation, and metrics but for the time that they took."""
    checkpoint = max((run / "checkpoints").iterdir())
    files = {path.name: path.read_bytes() for path in checkpoint.glob("*.safetensors")}
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation.pop("checkpoint")  # its path
    with (run / "progress.csv").open() as table:
        rows = [dict(row) for row in csv.DictReader(table)]
    kept = [{k: v for k, v in r.items() if k[:5] != "time/" or k == "time/env_steps"} for r in rows]
    return files, evaluation, kept
