"""Checkpoints written whole or not at all; what they hold is described in `checkpoint`."""

import json
import math
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from metarl.experiment.checkpoint import (
    BUFFERS,
    FORMAT,
    METADATA,
    PREFIX,
    SHOWN,
    file_hash,
    newest_first,
)
from metarl.experiment.config import ExperimentConfig, to_yaml
from metarl.experiment.cost import Cost
from metarl.learners.base import MetaLearner
from metarl_envs.tasks.batches import to_json

_PACKAGES = ("metarl-robotics", "torch", "mujoco", "gymnasium", "numpy", "stable-baselines3")
_BEST = "best_return"


class Snapshot(NamedTuple):
    """What a checkpoint is written of.

    Attributes:
        learner: as it is now.
        config: of the run.
        iteration: meta-updates behind it.
        cost: what lies behind it.
        tasks: the held-out tasks of the run's evaluations, for JSON.
    """

    learner: MetaLearner
    config: ExperimentConfig
    iteration: int
    cost: Cost
    tasks: Mapping[str, Any]


def save_checkpoint(path: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint to resume from, under a temporary name first.

    Its experience buffers replace those of the older checkpoints beside it.
    """
    buffers = snapshot.learner.buffers()
    with written_whole(path) as temporary:
        if buffers:
            save_tensors(temporary / BUFFERS, buffers)
        write_checkpoint(temporary, snapshot, {"has_buffers": bool(buffers)})
    for older in path.parent.glob(f"{PREFIX}*/{BUFFERS}"):
        if older.parent != path:
            older.unlink()


def save_best(path: Path, snapshot: Snapshot, value: float) -> None:
    """Write a checkpoint to load, which replaces the one before; `best_return` reads `value`."""
    with written_whole(path) as temporary:
        write_checkpoint(temporary, snapshot, {_BEST: value})


def best_return(path: Path, tasks: Mapping[str, Any]) -> float:
    """The mean return with which `save_best` was called; minus infinity if not on these tasks.

    A kill between its two renames has left the one before under another name: it is put back.
    """
    previous = _previous(path)
    if previous.is_dir() and not path.exists():
        os.replace(previous, path)
    try:
        if json.loads((path / "tasks.json").read_text()) != json.loads(json.dumps(tasks)):
            return -math.inf
        return float(json.loads((path / METADATA).read_text())[_BEST])
    except (OSError, ValueError, LookupError, TypeError):
        return -math.inf


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` at the end, once it is on the disk."""
    temporary = path.with_name(f".writing_{path.name}")
    previous = _previous(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(previous, ignore_errors=True)
    if path.exists():
        os.replace(path, previous)
    os.replace(temporary, path)
    _to_disk(path.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _previous(path: Path) -> Path:
    return path.with_name(f".previous_{path.name}")


def write_checkpoint(folder: Path, snapshot: Snapshot, about: Mapping[str, Any]) -> None:
    """Write a checkpoint's files into a folder that is there; `about` joins its metadata."""
    learner, config = snapshot.learner, snapshot.config
    save_tensors(folder / "weights.safetensors", learner.meta_parameters)
    save_tensors(folder / "training.safetensors", learner.training_state())
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "tasks.json").write_text(json.dumps(snapshot.tasks))
    metadata: dict[str, Any] = {
        "iteration": snapshot.iteration,
        "env_steps": snapshot.cost.env_steps,
        "seconds": snapshot.cost.seconds,
        "spec": learner.spec._asdict(),
        "seed": config.seed,
        "versions": versions(),
    }
    trained = learner.trained_on
    if trained is not None and trained.tasks is not None:
        metadata[SHOWN] = to_json(trained.tasks)
    seal(folder, {**metadata, **about})


def seal(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint's metadata, with the hashes of all files, and all to the disk."""
    files = sorted(path for path in folder.iterdir() if path.name != METADATA)
    hashes = {path.name: file_hash(path) for path in files}
    document = {**metadata, "format": FORMAT, "sha256": hashes}
    (folder / METADATA).write_text(json.dumps(document, indent=2))
    for path in (*files, folder / METADATA, folder):
        _to_disk(path)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_older(newest: Path, keep: int) -> None:
    """Leave `keep` checkpoints beside and with the one just written.

    Later ones are of an interrupted run, or could not be read when this one went on.
    """
    found = newest_first(newest.parent)
    first = found.index(newest)
    for old in (*found[:first], *found[first + keep :]):
        shutil.rmtree(old)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one safetensors file."""
    # copies: safetensors refuses tensors that share memory
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    path.write_bytes(save(copies))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
