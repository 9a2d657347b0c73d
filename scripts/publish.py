r"""Put a finished run into the zoo: its weights, and a card with what it cost and came to.

python scripts/publish.py runs/half_cheetah_vel/rl2-seed0 half_cheetah_vel/rl2 \
    --record results/half_cheetah_vel/rl2-seed0.json.gz
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from metarl.command_line import run
from metarl.errors import ConfigError
from metarl.evaluation.statistics import estimate
from metarl.experiment.checkpoint import Checkpoint, file_hash, read_checkpoint
from metarl.experiment.checkpoint_writing import seal
from metarl.experiment.config import first_difference, parse_config
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

    Raises:
        ConfigError: if the name is no name of that kind, or the record is of another run.
    """
    if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", name):
        raise ConfigError(f"{name!r} must be ENV/METHOD, of small letters, digits and underscores")
    checkpoint = read_checkpoint(run_dir)
    difference = first_difference(checkpoint.config, parse_config(record.config), frozenset())
    if difference is not None:
        raise ConfigError(f"the record is of another run than {run_dir}: {difference}")
    card = _card(checkpoint, record, name)
    final = FOLDER / name
    folder = final.with_name(f".writing_{final.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in _COPIED:
        shutil.copyfile(checkpoint.path / file, folder / file)
    save_file({}, folder / "training.safetensors")
    seal(folder, checkpoint.metadata | {"has_buffers": False})
    card["weights_sha256"] = file_hash(folder / "weights.safetensors")
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    folder.rename(final)
    return final


def _card(checkpoint: Checkpoint, record: RunRecord, name: str) -> dict[str, Any]:
    config = checkpoint.config
    return {
        "name": name,
        "environment": config.env.id,
        "learner": config.learner.name,
        "seed": config.seed,
        "env_steps": record.env_steps,
        "minutes": None if record.seconds is None else round(record.seconds / 60, 1),
        "command": f"python scripts/train.py metarl/zoo/{name}/config.yaml",
        "evaluation": {
            **config.evaluation.arguments(config.env.kwargs),
            "demonstrations": config.evaluation.demonstrations,
        },
        "results": {split: _figures(record, split) for split in record.evaluations},
        "versions": record.versions,
    }


def _figures(record: RunRecord, split: str) -> dict[str, Any]:
    """Interquartile mean and its interval per step, and success where it is reported."""
    estimates = [estimate(scores_ME[None]) for scores_ME in record.scores(split)]
    figures: dict[str, Any] = {
        "diverged": _short(np.isnan(record.scores(split)).mean()),
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
