"""An adapted policy as a folder: a checkpoint of its learner, and the state it has adapted to.

    policy.safetensors     the tensors of the state, by their place in it
    policy.json            the action space
    learner/               weights, config, versions: a checkpoint, see `checkpoint`

Loading unpickles nothing. Weights of networks inside are (inputs, outputs), transposed relative to
`torch.nn.Linear`. Shapes: A action.
"""

import json
from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from metarl.adapted_policy import AdaptedPolicy
from metarl.errors import CheckpointError, ConfigError
from metarl.experiment.building import load
from metarl.experiment.checkpoint import read_checkpoint
from metarl.experiment.checkpoint_writing import (
    Snapshot,
    save_tensors,
    write_checkpoint,
    written_whole,
)
from metarl.params import Params, all_finite

_STATE, _ABOUT, _LEARNER = "policy.safetensors", "policy.json", "learner"
S = TypeVar("S")


def save_policy(policy: AdaptedPolicy[S], folder: str | Path) -> None:
    """Write an adapted policy, whole or not at all.

    Args:
        policy: see `metarl.adapt`.
        folder: in whose place it comes, if it is there.

    Raises:
        ConfigError: if its learner comes from no checkpoint, or another folder is in the way.
    """
    learner, folder = policy.learner, Path(folder)
    if learner.trained_on is None or learner.trained_on.checkpoint is None:
        raise ConfigError("the policy's learner comes from no checkpoint: see metarl.load")
    if folder.exists() and not (folder / _ABOUT).is_file():
        raise ConfigError(f"{folder} is there, and no policy: name another folder")
    origin = read_checkpoint(learner.trained_on.checkpoint)
    tasks = origin.held_out_tasks
    with written_whole(folder) as temporary:
        snapshot = Snapshot(learner, origin.config, origin.iteration, origin.cost, tasks)
        (temporary / _LEARNER).mkdir()
        write_checkpoint(temporary / _LEARNER, snapshot, {})
        save_tensors(temporary / _STATE, leaves(policy.state))
        (temporary / _ABOUT).write_text(json.dumps(_of_space(policy.action_space)))


def load_policy(
    folder: str | Path, device: str = "cpu", *, trust_imports: Collection[str] = ()
) -> AdaptedPolicy[Any]:
    """The policy that `AdaptedPolicy.save` wrote.

    Args:
        folder: of the policy.
        device: where its learner's tensors go.
        trust_imports: see `metarl.load`.

    Raises:
        CheckpointError: if it is none, or damaged.
    """
    folder = Path(folder)
    if not (folder / _ABOUT).is_file():
        raise CheckpointError(f"no adapted policy at {folder}: {_ABOUT} is missing")
    learner = load(folder / _LEARNER, device, trust_imports=trust_imports)
    try:
        about = json.loads((folder / _ABOUT).read_text())
        named = load_file(folder / _STATE, device=device)
        if not all_finite(named):
            raise ValueError("its state is not finite")
        state = with_leaves(learner.begin(1, 1), named)
        return AdaptedPolicy(learner, state, _space(about))
    except (SafetensorError, ValueError, LookupError, TypeError, OSError) as error:
        raise CheckpointError(f"the policy at {folder} is damaged: {error}") from None


def leaves(state: Any, prefix: str = "") -> Params:
    """The tensors of a pytree, by their place in it."""
    if isinstance(state, Tensor):
        return {prefix: state}
    found: Params = {}
    for name, value in _children(state).items():
        found |= leaves(value, f"{prefix}.{name}" if prefix else name)
    return found


def with_leaves(like: S, named: Params, prefix: str = "") -> S:
    """A pytree of the same structure with these tensors.

    Raises:
        LookupError: if one is missing.
        ValueError: if one has another number of axes or another type.
    """
    if isinstance(like, Tensor):
        found = named[prefix]
        if found.ndim != like.ndim or found.dtype != like.dtype:
            raise ValueError(f"{prefix} has shape {tuple(found.shape)} and type {found.dtype}")
        return found  # type: ignore[return-value]
    if like is None and prefix in named:
        return named[prefix]  # type: ignore[return-value]
    made: dict[str, Any] = {}
    for name, value in _children(like).items():
        made[name] = with_leaves(value, named, f"{prefix}.{name}" if prefix else name)
    if is_dataclass(like) and not isinstance(like, type):
        return replace(like, **made)
    if isinstance(like, dict):
        return made  # type: ignore[return-value]
    return like


def _children(state: Any) -> dict[str, Any]:
    """What a node of a pytree holds by name; nothing for what is no node."""
    if is_dataclass(state):
        return {field.name: getattr(state, field.name) for field in fields(state)}
    return dict(state) if isinstance(state, dict) else {}


def _of_space(space: spaces.Space) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n), "start": int(space.start)}
    assert isinstance(space, spaces.Box)
    return {"low": space.low.tolist(), "high": space.high.tolist(), "dtype": str(space.dtype)}


def _space(about: dict[str, Any]) -> spaces.Space:
    if "n" in about:
        return spaces.Discrete(about["n"], start=about["start"])
    kind = np.dtype(about["dtype"])
    low, high = (np.asarray(about[key], kind) for key in ("low", "high"))
    return spaces.Box(low, high, dtype=kind.type)
