"""Sections of the experiment config: evaluation, checkpoints, tasks."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from metarl.config_model import ConfigModel


class EvaluationConfig(ConfigModel):
    """Evaluation on held-out tasks, during training and at its end."""

    every: int = Field(0, ge=0)
    """Iterations between evaluations; 0 evaluates at the end only."""
    split: str = "test"
    """Which tasks: test, gap, extrapolation, validation or train."""
    num_tasks: PositiveInt = 40
    """Tasks."""
    episodes: PositiveInt = 20
    """Episodes per task that measure each step."""
    support_episodes: PositiveInt | None = None
    """Episodes per task that each step learns from; null for those that are measured."""
    adaptation_steps: int = Field(3, ge=0)
    """K; the return is measured after 0 to K of them."""
    seed: int = Field(0, ge=0)
    """Of tasks, initial states and noise."""
    demonstrations: str | None = None
    """Folder of demonstrations to adapt to; their tasks take the place of the split's."""
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the environment that are others than in training, merged into those.

    Such as a change in mid-episode that training never meets.
    """

    def arguments(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        """Of `metarl.evaluate`, without split and demonstrations, given `env.kwargs`."""
        chosen = self.model_dump(exclude={"every", "split", "demonstrations", "env_kwargs"})
        return {**chosen, "env_kwargs": self.merged_into(trained) if self.env_kwargs else None}

    def merged_into(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of the environment of the evaluation, given `env.kwargs`."""
        return _merged(trained, self.env_kwargs)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**first, **second}
    for key, value in second.items():
        if isinstance(value, dict) and isinstance(first.get(key), dict):
            merged[key] = _merged(first[key], value)
    return merged


class CheckpointConfig(ConfigModel):
    """Checkpoints, written every so many iterations or minutes and at the end."""

    every: int = Field(50, ge=0)
    """Iterations between checkpoints; 0 for none by count."""
    minutes: PositiveFloat | None = 5.0
    """Time between checkpoints, which bounds what a kill can cost; null for none by time."""
    keep: PositiveInt = 3
    """How many of the newest stay."""


class TasksConfig(ConfigModel):
    """Which tasks an iteration sees."""

    kind: Literal["fresh", "fixed", "demonstrated"] = "fresh"
    """New in every iteration, or some of `num` that keep their keys, or of those demonstrated."""
    num: PositiveInt | None = None
    """Number of fixed tasks."""
    demonstrations: str | None = None
    """Folder of demonstrations, see metarl record_demonstrations."""

    @model_validator(mode="after")
    def _num_belongs_to_fixed(self) -> "TasksConfig":
        if (self.num is not None) != (self.kind == "fixed"):
            raise ValueError("takes num with kind fixed, and only with it")
        if (self.demonstrations is not None) != (self.kind == "demonstrated"):
            raise ValueError("takes demonstrations with kind demonstrated, and only with it")
        return self
