"""The run folder: one training at a time writes to it, and a run goes on from what it holds."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.errors import CheckpointError, ConfigError
from metarl.experiment.checkpoint import Checkpoint, newest_whole
from metarl.experiment.config import ExperimentConfig, first_difference

_LOCK = ".lock"


def make_folder(run_dir: Path) -> None:
    """Make the run folder, unless it is there.

    Raises:
        ConfigError: if it cannot be made, or is a checkpoint.
    """
    if (run_dir / "metadata.json").is_file():
        raise ConfigError(f"{run_dir} is a checkpoint, not the folder of a run")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"run folder {run_dir} cannot be made: {error.strerror}") from None


@contextmanager
def only_writer(run_dir: Path) -> Iterator[None]:
    """Hold the run folder, which must exist, against other trainings.

    Raises:
        ConfigError: if another one holds it, it cannot be written to, or there are links in it.
    """
    for path in run_dir.iterdir():
        if path.is_symlink():
            raise ConfigError(f"{path} is a link: a training writes inside its own folder alone")
    try:
        lock = (run_dir / _LOCK).open("w")
    except OSError as error:
        raise ConfigError(f"run folder {run_dir} cannot be written to: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another training writes to run folder {run_dir}") from None
        yield


def require_unused(run_dir: Path) -> None:
    """Refuse a folder in which there is something.

    Raises:
        ConfigError: with what to do.
    """
    if run_dir.exists() and any(path.name != _LOCK for path in run_dir.iterdir()):
        raise ConfigError(f"run folder {run_dir} is not empty: resume it or name another one")


def resumed_checkpoint(config: ExperimentConfig, run_dir: Path) -> Checkpoint | None:
    """The checkpoint from which a run goes on: the newest that is whole; None if it has none.

    Raises:
        CheckpointError: if none can be read, or it was made by another experiment.
    """
    checkpoint = newest_whole(run_dir)
    if checkpoint is None:
        return None
    difference = first_difference(checkpoint.config, config)
    if difference is not None:
        raise CheckpointError(f"{checkpoint.path} was made with another config: {difference}")
    if checkpoint.iteration > config.iterations:
        raise CheckpointError(
            f"{checkpoint.path} is past the {config.iterations} iterations asked for"
        )
    return checkpoint
