"""Checkpoints: folders of plain files, written whole or not at all, loaded without unpickling.

iteration_000060/
    weights.safetensors     meta-parameters
    training.safetensors    what resuming needs beyond them (optimiser moments)
    buffers.safetensors     experience that resuming needs, if any; in the newest checkpoint only
    config.yaml             the resolved config
    tasks.json              the held-out tasks of the evaluation
    metadata.json           iteration, sizes, seed, versions
"""

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
_BUFFERS = "buffers.safetensors"
_FILES = ("weights.safetensors", "training.safetensors", "config.yaml", "metadata.json")


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
    final = folder / f"iteration_{iteration:06d}"
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
    (temporary / "metadata.json").write_text(json.dumps(metadata, indent=2))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    for older in folder.glob(f"iteration_*/{_BUFFERS}"):
        if older.parent != final:
            older.unlink()
    return final


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # copies: safetensors refuses tensors that share memory
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(copies, path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or the newest one of a run folder.

    Raises:
        CheckpointError: if there is none, or a file of it is missing or damaged.
    """
    folder = _newest(Path(path))
    for name in _FILES:
        if not (folder / name).is_file():
            raise CheckpointError(f"checkpoint {folder} is incomplete: {name} is missing")
    try:
        config = load_config(folder / "config.yaml")
        weights = load_file(folder / "weights.safetensors")
        training = load_file(folder / "training.safetensors")
        metadata = json.loads((folder / "metadata.json").read_text())
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


def _newest(path: Path) -> Path:
    if not path.is_dir():
        raise CheckpointError(f"no run or checkpoint folder at {path}")
    if (path / "metadata.json").is_file() or path.name.startswith("iteration_"):
        return path
    checkpoints = sorted((path / "checkpoints").glob("iteration_*"))
    if not checkpoints:
        raise CheckpointError(f"no checkpoint in {path}")
    return checkpoints[-1]
