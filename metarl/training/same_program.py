"""Processes that train together run the same experiment with the same code, or not at all."""

import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path

from metarl.errors import ConfigError
from metarl.experiment.checkpoint import Checkpoint
from metarl.experiment.checkpoint_writing import versions
from metarl.experiment.config import ExperimentConfig, to_yaml
from metarl.experiment.world import Alone, Processes

_PACKAGES = ("metarl", "metarl_envs")


def require_same_program(
    world: Alone | Processes, config: ExperimentConfig, checkpoint: Checkpoint | None
) -> None:
    """Refuse processes whose config, code, packages or checkpoint differ from the first one's.

    Raises:
        ConfigError: with the difference; and where there are more processes than tasks.
    """
    require_task_each(config, world.size)
    first, *others = (
        json.loads(told) for told in world.tell(json.dumps(_program(config, checkpoint)))
    )
    for rank, other in enumerate(others, 1):
        for name, value in first.items():
            if other.get(name) != value:
                raise ConfigError(
                    f"process {rank} has another {name} than process 0: {_both(value, other[name])}"
                )


def require_task_each(config: ExperimentConfig, processes: int) -> None:
    """Refuse more processes than tasks.

    Raises:
        ConfigError: with both numbers.
    """
    if config.meta_batch < processes:
        raise ConfigError(
            f"meta_batch = {config.meta_batch} tasks cannot be shared by {processes} processes: "
            "start fewer, or raise it"
        )


def _program(config: ExperimentConfig, checkpoint: Checkpoint | None) -> dict[str, str]:
    return {
        "config": to_yaml(config),
        **versions(),
        "code": _hash_of_code(),
        "checkpoint": "none" if checkpoint is None else checkpoint.identity,
    }


def _both(first: str, other: str) -> str:
    """Two values side by side; of texts the first lines that differ."""
    ours, theirs = first.splitlines(), other.splitlines()
    pairs = zip(ours, theirs, strict=False)
    found = next((pair for pair in pairs if pair[0] != pair[1]), (ours[-1], theirs[-1]))
    return f"{found[1].strip()!r} in place of {found[0].strip()!r}"


@cache
def _hash_of_code() -> str:
    """Of all sources, by their names."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
