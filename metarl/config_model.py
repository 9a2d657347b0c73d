"""What every config builds on."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class ConfigModel(BaseModel):
    """A frozen pydantic model that rejects unknown keys; defined beside what it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TaskRangeConfig(ConfigModel):
    """Range of one task key of a plugged-in environment."""

    low: float
    high: float
    log: bool = False
    shape: tuple[PositiveInt, ...] = ()


class FieldRangeConfig(ConfigModel):
    """A field of a MuJoCo model that varies with the task, and its range."""

    field: str
    low: float
    high: float
    mode: Literal["scale", "absolute"] = "scale"
    names: tuple[str, ...] | None = None
    """Bodies, geoms, joints or actuators, one value each; null for all."""
    log: bool = False


class PluginConfig(ConfigModel):
    """How a plain Gymnasium environment becomes a task environment."""

    tasks: dict[str, TaskRangeConfig] | None = None
    apply: str | None = None
    """`module:function` with signature (env, task); by default the environment's set_task."""
    vary_fields: tuple[FieldRangeConfig, ...] = ()
    """Fields of a MuJoCo model to vary, without code."""
    drop_keys: tuple[str, ...] = ()
    """Keys of a Dict observation that would reveal the task."""
    num_workers: NonNegativeInt = 2
    """Processes; 0 steps everything in this one."""
    start_method: Literal["spawn", "fork", "forkserver"] = "spawn"
    action_scale: PositiveFloat = 1.0


class EnvConfig(ConfigModel):
    """An environment as Gymnasium names it, `[module:]namespace/Name-v0`."""

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments."""
    plugin: PluginConfig | None = None
    """For environments that are not task environments by themselves."""
    observe_task: bool = False
    """Append the task to the observation: an oracle, to compare with."""
