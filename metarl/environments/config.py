"""Which environment, with which tasks: the `env` section of a config."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator

from metarl.config_model import ConfigModel
from metarl_envs.gymnasium_envs.model_fields import FieldRange
from metarl_envs.tasks.splits import TaskRange


class WrapperConfig(ConfigModel):
    """A wrapper of Gymnasium environments."""

    name: str
    """`module:Class`, such as gymnasium.wrappers:RescaleAction."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Its arguments beside the environment."""


class PluginConfig(ConfigModel):
    """How a plain Gymnasium environment becomes a task environment."""

    tasks: dict[str, TaskRange] | None = None
    """Range of each task key: `{low, high, log, shape}`."""
    apply: str | None = None
    """`module:function` with signature (env, task); by default the environment's set_task."""
    wrappers: tuple[WrapperConfig, ...] = ()
    """Put around each environment, the first one innermost."""
    vary_fields: tuple[FieldRange, ...] = ()
    """Fields of a MuJoCo model to vary, without code."""
    drop_keys: tuple[str, ...] = ()
    """Keys of a Dict observation that would reveal the task."""
    num_workers: NonNegativeInt = 2
    """Processes; 0 steps everything in this one."""
    start_method: Literal["spawn", "fork", "forkserver"] = "spawn"
    """How worker processes begin."""
    timeout_s: float = Field(300.0, gt=0.0, le=86_400.0)
    """Longest time that a worker may take for one step, reset or start of its environments."""
    restarts: NonNegativeInt = 0
    """How often a worker that fails is replaced; its episodes are lost."""
    action_scale: PositiveFloat = 1.0
    """Factor of actions before they are clipped to the environment's space."""

    @field_validator("apply", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        """A function of the user's own by its name, so that runs and workers find it again."""
        if not callable(value):
            return value
        name = getattr(value, "__qualname__", "<nameless>")
        if "<" in name or "." in name:
            raise ValueError(f"must be a function of a module, not {name}")
        return f"{value.__module__}:{name}"


class EnvConfig(ConfigModel):
    """An environment as Gymnasium names it, `[module:]namespace/Name-v0`."""

    id: str
    """Gymnasium's id."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Constructor arguments."""
    plugin: PluginConfig | None = None
    """For environments that are not task environments by themselves."""
    observe_task: bool = False
    """Append the task to the observation: an oracle, to compare with."""
