"""Checkpoints: folders of plain files, written whole or not at all, loaded without unpickling.

Files and folders reach the disk before a checkpoint gets its name. Its metadata, written last,
holds the hash of every other file, compared when it is read.

iteration_000060/
    weights.safetensors     meta-parameters
    training.safetensors    what resuming needs beyond them (optimiser moments)
    buffers.safetensors     experience that resuming needs, if any; in the newest checkpoint only
    config.yaml             the resolved config
    tasks.json              the held-out tasks of the evaluation
    metadata.json           iteration, sizes, seed, versions, hashes, number of this format
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.errors import CheckpointError, ConfigError
from metarl.experiment.config import ExperimentConfig, load_config, to_yaml
from metarl.learners.base import MetaLearner
from metarl.params import Params

_PACKAGES = ("metarl-robotics", "torch", "mujoco", "gymnasium", "numpy", "stable-baselines3")
_PREFIX, _BUFFERS = "iteration_", "buffers.safetensors"
_METADATA = "metadata.json"
_FILES = ("weights.safetensors", "training.safetensors", "config.yaml", _METADATA)
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    path: Path
    config: ExperimentConfig
    weights: Params
    training: Params
    spec: Spec
    iteration: int  # meta-updates behind these weights
    metadata: dict[str, Any]


def save_checkpoint(
    folder: Path,
    learner: MetaLearner,
    config: ExperimentConfig,
    iteration: int,
    env_steps: int,
    tasks: Mapping[str, Any],
) -> Path:
    """Write `folder/iteration_NNNNNN`, under a temporary name first; returns its path."""
    final = folder / f"{_PREFIX}{iteration:06d}"
    temporary = folder / f".writing_{iteration:06d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    buffers = learner.buffers()
    metadata = {
        "iteration": iteration,
        "env_steps": env_steps,
        "spec": learner.spec._asdict(),
        "seed": config.seed,
        "has_buffers": bool(buffers),
        "versions": versions(),
    }
    _save_tensors(temporary / "weights.safetensors", learner.meta_parameters)
    _save_tensors(temporary / "training.safetensors", learner.training_state())
    if buffers:
        _save_tensors(temporary / _BUFFERS, buffers)
    (temporary / "config.yaml").write_text(to_yaml(config))
    (temporary / "tasks.json").write_text(json.dumps(tasks))
    seal(temporary, metadata)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    _to_disk(folder)
    for older in folder.glob(f"{_PREFIX}*/{_BUFFERS}"):
        if older.parent != final:
            older.unlink()
    return final


def seal(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint's metadata, with the hashes of all files, and all to the disk."""
    files = sorted(path for path in folder.iterdir() if path.name != _METADATA)
    hashes = {path.name: file_hash(path) for path in files}
    document = {**metadata, "format": _FORMAT, "sha256": hashes}
    (folder / _METADATA).write_text(json.dumps(document, indent=2))
    for path in (*files, folder / _METADATA, folder):
        _to_disk(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_older(folder: Path, keep: int) -> None:
    """Leave the newest checkpoints of a folder."""
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # copies: safetensors refuses tensors that share memory
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(copies, path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or the newest one of a run folder.

    Raises:
        CheckpointError: if there is none, a file of it is missing or damaged, or it was written by
            a later version. It names the checkpoint before, if there is one.
    """
    folder, *before = _candidates(Path(path))
    try:
        return _read(folder)
    except CheckpointError as error:
        hint = f"; the one before is {before[0]}" if before else ""
        raise CheckpointError(f"{error}{hint}") from None


def newest_whole(run_dir: Path) -> Checkpoint | None:
    """The newest checkpoint of a run folder that can be read; None if it has none at all.

    Raises:
        CheckpointError: if there are some, and none can be read.
    """
    mistake = None
    for folder in _newest_first(run_dir / "checkpoints"):
        try:
            return _read(folder)
        except CheckpointError as error:
            mistake = mistake or error
    if mistake is not None:
        raise mistake
    return None


def _read(folder: Path) -> Checkpoint:
    for name in _FILES:
        if not (folder / name).is_file():
            raise CheckpointError(f"checkpoint {folder} is incomplete: {name} is missing")
    try:
        metadata = json.loads((folder / _METADATA).read_text())
        if metadata.get("format", _FORMAT) > _FORMAT:
            raise CheckpointError(
                f"checkpoint {folder} has format {metadata['format']}, written by a later version "
                f"of metarl; this one reads formats up to {_FORMAT}"
            )
        for name, expected in metadata.get("sha256", {}).items():
            path = folder / name
            # buffers move on to the next checkpoint
            if (path.is_file() or name != _BUFFERS) and file_hash(path) != expected:
                raise ValueError(f"{name} is not what was written")
        config = load_config(folder / "config.yaml")
        weights = load_file(folder / "weights.safetensors")
        training = load_file(folder / "training.safetensors")
        spec = {key: _plain(value) for key, value in metadata["spec"].items()}
        checkpoint = Checkpoint(
            folder, config, weights, training, Spec(**spec), int(metadata["iteration"]), metadata
        )
    except (SafetensorError, ConfigError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {error}") from None
    return checkpoint


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def restore(learner: MetaLearner, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's tensors into a learner of the same config.

    Raises:
        CheckpointError: if names or shapes differ.
    """
    expected = {name: tuple(value.shape) for name, value in learner.meta_parameters.items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0]
        raise CheckpointError(
            f"checkpoint {checkpoint.path} does not fit its config: parameter {wrong[0]!r} "
            f"has shape {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
        )
    # Written in the order of names; the learner's own order defines its parameter vector
    learner.load_meta_parameters({name: checkpoint.weights[name] for name in expected})
    if checkpoint.training:  # pretrained ones come without
        learner.load_training_state(checkpoint.training)


def restore_buffers(learner: MetaLearner, checkpoint: Checkpoint) -> None:
    """Give a learner back the experience that it had; only resuming needs it.

    Raises:
        CheckpointError: if a newer checkpoint has taken it over, or the file is damaged.
    """
    if not checkpoint.metadata.get("has_buffers", False):
        return
    path = checkpoint.path / _BUFFERS
    if not path.is_file():
        raise CheckpointError(f"{path} is gone: only the newest checkpoint can be resumed")
    try:
        learner.load_buffers(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _candidates(path: Path) -> list[Path]:
    """The checkpoint that a path names, and those before it."""
    if not path.is_dir():
        raise CheckpointError(f"no run or checkpoint folder at {path}")
    if (path / _METADATA).is_file() or path.name.startswith(_PREFIX):
        return [path]
    checkpoints = _newest_first(path / "checkpoints")
    if not checkpoints:
        raise CheckpointError(f"no checkpoint in {path}")
    return checkpoints


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True)
