r"""Put a finished run into the zoo: its weights, and a card with what it cost and came to.

python scripts/publish.py runs/half_cheetah_vel/rl2-seed0 half_cheetah_vel/rl2 \
    --record results/half_cheetah_vel/rl2-seed0.json.gz
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from metarl.command_line import run
from metarl.evaluation.statistics import estimate
from metarl.experiment.checkpoint import file_hash, read_checkpoint, seal
from metarl.experiment.run_record import RunRecord
from metarl.experiment.zoo import FOLDER

_COPIED = ("weights.safetensors", "config.yaml", "tasks.json")


def main() -> None:
    """Parse, copy, write the card."""
    parser = argparse.ArgumentParser(description="Put a finished run into the zoo.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("name", help="ENV/METHOD, the config that it was trained with")
    parser.add_argument("--record", type=Path, required=True, help="written by compare.py")
    arguments = parser.parse_args()
    record = RunRecord.read(arguments.record)
    print(publish(arguments.run_dir, record, arguments.name))


def publish(run_dir: Path, record: RunRecord, name: str) -> Path:
    """Copy a run's newest checkpoint into the zoo, with a card; returns its folder.

    Args:
        run_dir: the run folder.
        record: what the run came to.
        name: "ENV/METHOD".
    """
    checkpoint, folder = read_checkpoint(run_dir), FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in _COPIED:
        shutil.copyfile(checkpoint.path / file, folder / file)
    save_file({}, folder / "training.safetensors")
    seal(folder, checkpoint.metadata | {"has_buffers": False})
    config = checkpoint.config
    card = {
        "name": name,
        "environment": config.env.id,
        "learner": config.learner.name,
        "seed": config.seed,
        "env_steps": record.env_steps,
        "minutes": round(record.seconds / 60, 1),
        "command": f"python scripts/train.py configs/{name}.yaml seed={config.seed}",
        "evaluation": config.evaluation.model_dump(exclude={"every", "split"}),
        "results": {split: _figures(record, split) for split in record.evaluations},
        "versions": record.versions,
        "weights_sha256": file_hash(folder / "weights.safetensors"),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return folder


def _figures(record: RunRecord, split: str) -> dict[str, Any]:
    """Interquartile mean and its interval per step, and success where it is reported."""
    estimates = [estimate(scores_ME[None]) for scores_ME in record.scores(split)]
    figures: dict[str, Any] = {
        "held_out": record.evaluations[split]["held_out"],
        "iqm": [_short(e.value) for e in estimates],
        "interval": [[_short(value) for value in e.interval] for e in estimates],
    }
    success = record.evaluations[split]["success"]
    if success is not None:
        figures["success"] = [_short(value) for value in np.mean(success, axis=(1, 2))]
    return figures


def _short(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.6g}")


if __name__ == "__main__":
    run(main)
