"""What every config builds on."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ConfigModel(BaseModel):
    """A frozen pydantic model that rejects unknown keys; defined beside what it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EnvConfig(ConfigModel):
    """An environment as Gymnasium names it, `[module:]namespace/Name-v0`."""

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments."""
