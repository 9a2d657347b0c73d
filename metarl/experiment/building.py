"""Meta-learners from configs and checkpoints."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.environments.fit import Spec
from metarl.errors import ConfigError
from metarl.experiment.checkpoint import (
    Checkpoint,
    demonstrated_tasks,
    read_checkpoint,
    restore,
)
from metarl.experiment.config import ExperimentConfig
from metarl.experiment.trust import require_trust
from metarl.experiment.zoo import resolve
from metarl.interaction.allocator import keep_freed_memory
from metarl.learners import LEARNERS
from metarl.learners.base import MetaLearner, Setting, TrainedOn
from metarl.params import Params
from metarl.policies.normalization import PREFIX
from metarl_envs.memory import memory_limit

_SLACK = 4  # of what a network may take over the weights that are there for it


def build_learner(config: ExperimentConfig, spec: Spec) -> MetaLearner:
    """An untrained learner.

    Raises:
        ConfigError: if sizes do not fit together, or the device is not there.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch finds no CUDA device here; use 'cpu'")
    keep_freed_memory()
    setting = Setting(
        spec,
        config.episodes,
        config.horizon,
        config.seed,
        torch.device(config.device),
        num_tasks=config.tasks.num,
    )
    learner = LEARNERS[config.learner.name](config.learner, config.policy, setting)
    learner.trained_on = TrainedOn(config.env, config.horizon, None)
    return learner


class Begun(NamedTuple):
    """How a training began with another one's parameters."""

    own: list[str]
    """Parts that stay as they were drawn."""
    differs: list[str]
    """What else is not as it was there."""

    @property
    def remarks(self) -> list[str]:
        """What a user should know of it."""
        own = [f"its own at the start: {', '.join(self.own)}"] if self.own else []
        return own + self.differs


def start_from(learner: MetaLearner, checkpoint: Checkpoint, task_keys: Collection[str]) -> Begun:
    """Give a learner a checkpoint's parameters, part by part, where names and shapes are its own.

    What the other learner calls or lays out otherwise is taken as `MetaLearner.as_own` has it. A
    part is a network, a parameter or running statistics: what stands before the first dot of a
    name, whatever number it ends with. Parts that depend on what a task's numbers mean are taken
    only where both have the same.

    Args:
        learner: has just been built.
        checkpoint: of another training.
        task_keys: of the learner's tasks.

    Raises:
        ConfigError: if no network fits.
    """
    own = learner.meta_parameters
    found = learner.as_own(checkpoint.config.learner.name, checkpoint.weights)
    same_tasks = set(checkpoint.held_out_tasks) == set(task_keys)
    strange = frozenset[str]() if same_tasks else learner.task_parts
    parts: dict[str, bool] = {}
    for name, value in own.items():
        part = _part(name)
        fits = part not in strange and name in found and _alike(found[name], value)
        parts[part] = parts.get(part, True) and fits
    taken = {name: found[name] for name in own if parts[_part(name)]}
    if not any(value.dim() > 1 for value in taken.values()):
        raise ConfigError(
            f"start_from: no network of {checkpoint.path}, a run of "
            f"{checkpoint.config.learner.name}, fits: {_misfit(found, own)}"
        )
    learner.load_meta_parameters({**own, **taken})
    differs = list[str]()
    env, trained = checkpoint.config.env, learner.trained_on
    if trained is not None and env.id != trained.env.id:
        differs.append(f"env.id was {env.id}")
    if trained is not None and env.observe_task != trained.env.observe_task:
        differs.append(f"env.observe_task was {str(env.observe_task).lower()}")
    if any(name.startswith(PREFIX) for name in found.keys() - own.keys()):
        differs.append("what it saw was normalised (learner.normalization), which is off here")
    if _bounds(checkpoint.spec) != _bounds(learner.spec):
        differs.append("actions had other bounds")
    return Begun([part for part, fits in parts.items() if not fits], differs)


def _misfit(found: Params, own: Params) -> str:
    """Why a network is not taken, by the first parameter that is not."""
    for name, value in own.items():
        if name not in found:
            return f"it has no {name}"
        there, here = tuple(found[name].shape), tuple(value.shape)
        if there != here:
            return f"{name} has shape {there} there, and {here} here"
        if not _alike(found[name], value):
            return f"{name} is of another type, or not finite"
    return "it is of other tasks"


def _part(name: str) -> str:
    return name.partition(".")[0].rstrip("0123456789").rstrip("_")


def _bounds(spec: Spec) -> tuple[Sequence[float], Sequence[float]]:
    return spec.action_low, spec.action_high


def _alike(found: Tensor, own: Tensor) -> bool:
    same = found.shape == own.shape and found.dtype == own.dtype
    return same and bool(found.isfinite().all())


def load(
    path: str | Path, device: str = "cpu", *, trust_imports: Collection[str] = ()
) -> MetaLearner:
    """The meta-learner of a checkpoint folder, or of the newest checkpoint of a run folder.

    Args:
        path: the folder; or "zoo:ENV/METHOD", a pretrained one, see `metarl.zoo_names`.
        device: where its tensors go, "cpu" or "cuda".
        trust_imports: modules that its config may import, with those inside them. Such a module has
            to be named or imported already, unless you trained the run yourself, on this machine.

    Raises:
        CheckpointError: if there is no whole checkpoint, or it wants to import another module.
    """
    checkpoint = read_checkpoint(resolve(path))
    require_trust(checkpoint.config, checkpoint.path, trust_imports)
    return from_checkpoint(checkpoint, checkpoint.config.model_copy(update={"device": device}))


def from_checkpoint(checkpoint: Checkpoint, config: ExperimentConfig) -> MetaLearner:
    """A learner with a checkpoint's weights and training state."""
    stored = sum(value.numel() * value.element_size() for value in checkpoint.weights.values())
    with memory_limit(_SLACK * stored, "the file of weights"):
        learner = build_learner(config, checkpoint.spec)
    restore(learner, checkpoint)
    tasks = demonstrated_tasks(checkpoint)
    learner.trained_on = TrainedOn(config.env, config.horizon, str(checkpoint.path), tasks)
    return learner
