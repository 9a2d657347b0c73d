"""Checkpoints: folders of plain files, written whole or not at all, loaded without unpickling.

Files and folders reach the disk before a checkpoint gets its name. Its metadata, written last,
holds the hash of every other file, compared when it is read.

iteration_000060/
    weights.safetensors     meta-parameters
    training.safetensors    what resuming needs beyond them (optimiser moments)
    buffers.safetensors     experience that resuming needs, if any; in the newest checkpoint only
    config.yaml             the resolved config
    tasks.json              the held-out tasks of the evaluation
    metadata.json           iteration, cost, sizes, seed, versions, hashes, number of this format
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from metarl.environments.fit import Spec
from metarl.errors import CheckpointError
from metarl.experiment.config import ExperimentConfig, load_config
from metarl.experiment.cost import Cost, require_time
from metarl.learners.base import MetaLearner
from metarl.params import Params, all_finite
from metarl_envs.errors import one_line
from metarl_envs.tasks.batches import Tasks

PREFIX, BUFFERS = "iteration_", "buffers.safetensors"
METADATA = "metadata.json"
SHOWN = "demonstrated_tasks"  # a key of it
_FILES = ("weights.safetensors", "training.safetensors", "config.yaml", METADATA)
FORMAT = 1
# What reading a damaged or hostile file can raise
_DAMAGE: tuple[type[Exception], ...] = (SafetensorError, ValueError, LookupError, TypeError)
_DAMAGE += (AttributeError, ArithmeticError, OSError, RecursionError)


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

    @property
    def cost(self) -> Cost:
        """What lies behind these weights."""
        return Cost(self.metadata["env_steps"], self.metadata.get("seconds"))

    @property
    def held_out_tasks(self) -> dict[str, Any]:
        """Of the evaluation, as JSON holds them."""
        tasks: dict[str, Any] = json.loads((self.path / "tasks.json").read_text())
        return tasks

    @property
    def identity(self) -> str:
        """The same for checkpoints of the same content, wherever they lie."""
        hashes = json.dumps(self.metadata.get("sha256", {}), sort_keys=True)
        return f"iteration {self.iteration}, {hashlib.sha256(hashes.encode()).hexdigest()[:12]}"


def checkpoint_path(run_dir: Path, iteration: int) -> Path:
    """Where a run's checkpoint after so many iterations lies."""
    return run_dir / "checkpoints" / f"{PREFIX}{iteration:06d}"


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    for folder in newest_first(run_dir / "checkpoints"):
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
        if (folder / name).is_symlink():
            raise CheckpointError(f"checkpoint {folder}: {name} is a link, not a file")
    try:
        metadata = json.loads((folder / METADATA).read_text())
        if metadata.get("format", FORMAT) > FORMAT:
            raise CheckpointError(
                f"checkpoint {folder} has format {metadata['format']}, written by a later version "
                f"of metarl; this one reads formats up to {FORMAT}"
            )
        for name, expected in metadata.get("sha256", {}).items():
            path = folder / name
            irregular = path.is_symlink() or (path.exists() and not path.is_file())
            if Path(name).name != name or irregular:
                raise ValueError(f"{name!r} is no file of this folder")
            # buffers move on to the next checkpoint
            if (path.is_file() or name != BUFFERS) and file_hash(path) != expected:
                raise ValueError(f"{name} is not what was written")
        config = load_config(folder / "config.yaml", interpolate=False)
        weights = load_file(folder / "weights.safetensors")
        training = load_file(folder / "training.safetensors")
        spec = _checked_spec(metadata["spec"], sum(value.numel() for value in weights.values()))
        _check_counts(metadata)
        iteration = metadata["iteration"]
        checkpoint = Checkpoint(folder, config, weights, training, spec, iteration, metadata)
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {error}") from None
    return checkpoint


def _check_counts(metadata: Mapping[str, Any]) -> None:
    for name in ("iteration", "env_steps"):
        if type(metadata[name]) is not int or metadata[name] < 0:
            raise ValueError(f"{name} is {metadata[name]!r}, must be a count")
    require_time(metadata.get("seconds"))
    if not isinstance(metadata.get("versions", {}), dict):
        raise ValueError("versions must be a mapping")


def _checked_spec(document: Mapping[str, Any], num_weights: int) -> Spec:
    """The sizes that weights belong to; every input and output takes one weight at least."""
    fields = dict(document)
    low, high = (tuple(fields.pop(key)) for key in ("action_low", "action_high"))
    spec = Spec(action_low=low, action_high=high, **fields)
    sizes = (spec.obs_size, spec.num_actions, len(low), spec.task_size)
    if any(type(n) is not int for n in sizes) or any(type(n) is not float for n in (*low, *high)):
        raise ValueError(f"{spec} holds no sizes and bounds")
    bounded = len(low) == len(high) and bool(
        np.isfinite([low, high]).all() and (np.less_equal(low, high)).all()
    )
    if (
        min(sizes[0], sizes[1] + 1, sizes[2], sizes[3] + 1) < 1
        or max(sizes[:3]) > num_weights
        or not bounded
    ):
        raise ValueError(f"no weights can belong to {spec}")
    return spec


def restore(learner: MetaLearner, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's tensors into a learner of the same config.

    Raises:
        CheckpointError: if names or shapes differ, or a number is not finite.
    """
    expected = {name: tuple(value.shape) for name, value in learner.meta_parameters.items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.weights.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[0]
        raise CheckpointError(
            f"checkpoint {checkpoint.path} does not fit its config: parameter {wrong[0]!r} "
            f"has shape {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
        )
    for name, value in learner.meta_parameters.items():
        kind = checkpoint.weights[name].dtype
        if kind != value.dtype:
            raise CheckpointError(
                f"checkpoint {checkpoint.path}: {name!r} has type {kind}, expected {value.dtype}"
            )
    try:
        for name, value in {**checkpoint.weights, **checkpoint.training}.items():
            if not value.isfinite().all():
                raise CheckpointError(f"checkpoint {checkpoint.path}: {name!r} is not finite")
    except RuntimeError as error:
        raise CheckpointError(f"checkpoint {checkpoint.path} is damaged: {error}") from None
    # Written in the order of names; the learner's own order defines its parameter vector
    learner.load_meta_parameters({name: checkpoint.weights[name] for name in expected})
    if checkpoint.training:  # pretrained ones come without
        learner.load_training_state(checkpoint.training)


def demonstrated_tasks(checkpoint: Checkpoint) -> Tasks | None:
    """The tasks that demonstrations showed in training, None where they were drawn.

    Raises:
        CheckpointError: if they are no numbers.
    """
    if SHOWN not in checkpoint.metadata:
        return None
    try:
        document = dict(checkpoint.metadata[SHOWN])
        return {str(key): np.asarray(values, float) for key, values in document.items()}
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.path} is damaged: {error}") from None


def restore_buffers(learner: MetaLearner, checkpoint: Checkpoint) -> None:
    """Give a learner back the experience that it had; only resuming needs it.

    Raises:
        CheckpointError: if a newer checkpoint has taken it over, or the file is damaged.
    """
    if not checkpoint.metadata.get("has_buffers", False):
        return
    path = checkpoint.path / BUFFERS
    if not path.is_file():
        raise CheckpointError(f"{path} is gone: only the newest checkpoint can be resumed")
    try:
        buffers = load_file(path)
        if not all_finite(buffers):
            raise ValueError("it holds numbers that are not finite")
        learner.load_buffers(buffers)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit the learner: {one_line(error)}") from None


def _candidates(path: Path) -> list[Path]:
    """The checkpoint that a path names, and those before it."""
    if not path.is_dir():
        raise CheckpointError(f"no run or checkpoint folder at {path}")
    named = path.name.startswith(PREFIX) and not (path / "checkpoints").is_dir()
    if (path / METADATA).is_file() or named:
        return [path]
    checkpoints = newest_first(path / "checkpoints")
    if not checkpoints:
        raise CheckpointError(f"no checkpoint in {path}")
    return checkpoints


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in a folder."""
    found = [path for path in folder.glob(f"{PREFIX}*") if _number(path).isdigit()]
    return sorted(found, key=lambda path: int(_number(path)), reverse=True)


def _number(path: Path) -> str:
    return path.name.removeprefix(PREFIX)
