"""How a plain Gymnasium environment gets its tasks.

Three ways, all of which end in one function `apply(env, task)`:

- the environment has `set_task(task)`;
- the user names a function `apply(env, task)` beside the ranges of its task;
- for MuJoCo models, model fields to vary are named, without code.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.gymnasium_envs.model_fields import FieldRange, ModelFields
from metarl_envs.registration import registered_spec
from metarl_envs.tasks.splits import Splits, TaskRange, range_splits

Apply = Callable[[gymnasium.Env, dict[str, Any]], None]


@dataclass(frozen=True)
class PluginDefinition:
    """A Gymnasium environment and where its tasks come from.

    Attributes:
        env_id: Gymnasium id, `[module:]Name-v0`.
        kwargs: its constructor arguments.
        tasks: ranges by task key; None if the environment defines `task_space` and
            `task_distribution(split)` itself, or model fields vary.
        apply: `"module:function"` with signature `(env, task)`, or None.
        model_fields: fields of a MuJoCo model to vary, or empty.
        drop_keys: keys of a Dict observation that the policy must not see, such as the goal.
        wrappers: ("module:Class", arguments) put around it, the first one innermost.
        spec: Gymnasium's own specification, for processes with another registry.
    """

    env_id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, TaskRange] | None = None
    apply: str | Apply | None = None
    model_fields: Sequence[FieldRange] = ()
    drop_keys: Sequence[str] = ()
    wrappers: Sequence[tuple[str, Mapping[str, Any]]] = ()
    spec: EnvSpec | None = None

    def make(self) -> "SubEnv":
        """One sub-environment, ready for `reset`, `step` and `set_task`."""
        return SubEnv(self)

    def resolved(self) -> "PluginDefinition":
        """The same with Gymnasium's own specification, for processes with another registry."""
        return replace(self, spec=registered_spec(self.env_id))

    def task_space_and_splits(self, env: "SubEnv") -> tuple[spaces.Dict, Splits]:
        """The task space and distributions, from whichever source there is."""
        ranges = dict(self.tasks or {})
        if self.model_fields:
            ranges |= env.model_fields.ranges()
        if ranges:
            return _space(ranges), range_splits(ranges)
        inner = env.env.unwrapped
        space = getattr(inner, "task_space", None)
        if not isinstance(space, spaces.Dict) or not hasattr(inner, "task_distribution"):
            raise EnvironmentConfigError(
                f"{self.env_id} does not say what its tasks are: give ranges (env.plugin.tasks), "
                "fields of its model (env.plugin.vary_fields), or define task_space (a Dict space) "
                "and task_distribution(split) in the environment"
            )
        return space, {name: inner.task_distribution(name) for name in ("train", "test")}


class SubEnv:
    """One Gymnasium environment with tasks and a flat observation."""

    def __init__(self, definition: PluginDefinition, env: gymnasium.Env | None = None) -> None:
        self.definition = definition
        self.env = env or gymnasium.make(
            definition.spec or definition.env_id,
            disable_env_checker=True,
            **definition.kwargs,
        )
        for name, kwargs in definition.wrappers:
            self.env = _wrapped(self.env, name, kwargs)
        self.model_fields = ModelFields(definition.model_fields, self.env)
        self._observed = _observed_space(self.env.observation_space, definition)
        self.observation_space = spaces.flatten_space(self._observed)
        if not isinstance(self.observation_space, spaces.Box):
            raise EnvironmentConfigError(
                f"{definition.env_id}: observations do not flatten to a vector: {self._observed}"
            )
        self.action_space = _checked_actions(self.env.action_space, definition.env_id)
        self._apply = self._resolve(definition)

    def _resolve(self, definition: PluginDefinition) -> Apply | None:
        apply = definition.apply
        if isinstance(apply, str):
            module, _, name = apply.partition(":")
            try:
                apply = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError, ValueError) as error:
                raise EnvironmentConfigError(
                    f"apply must name a function as 'module:function', got {definition.apply!r}: "
                    f"{error}"
                ) from None
            home = getattr(apply, "__module__", "").partition(".")[0]
            if not isinstance(apply, FunctionType) or home != module.partition(".")[0]:
                raise EnvironmentConfigError(
                    f"apply must name a function that {module!r} defines, got {definition.apply!r}"
                )
        if apply is not None or definition.model_fields:
            return apply
        if not hasattr(self.env.unwrapped, "set_task"):
            raise EnvironmentConfigError(
                f"{definition.env_id} has no set_task(task): give env.plugin.apply or "
                "env.plugin.vary_fields"
            )
        return lambda env, task: env.unwrapped.set_task(task)  # type: ignore[attr-defined]

    def set_task(self, task: dict[str, Any]) -> None:
        """Put a task in force, before the next reset."""
        own = self.model_fields.apply(task)
        rest = {key: value for key, value in task.items() if key not in own}
        if self._apply is not None:
            self._apply(self.env, rest)

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode; returns the flat observation."""
        return self.flat(self.env.reset(seed=seed)[0])

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """As in Gymnasium, with the flat observation."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self.flat(obs), float(reward), terminated, truncated, info

    def random_action(self, rng: np.random.Generator) -> Any:
        """A uniformly drawn action."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return int(space.start) + int(rng.integers(space.n))
        return rng.uniform(space.low, space.high).astype(space.dtype)

    def to_action(self, values: np.ndarray) -> Any:
        """An action of the environment's own kind from a row of the shared array."""
        if isinstance(self.action_space, spaces.Discrete):
            return int(self.action_space.start) + int(values[0])
        return values.astype(self.action_space.dtype)

    def flat(self, obs: Any) -> np.ndarray:
        """An observation as a vector."""
        if isinstance(self._observed, spaces.Box):
            return np.asarray(obs, np.float64).ravel()
        if isinstance(self._observed, spaces.Dict):
            obs = {key: obs[key] for key in self._observed.spaces}
        return np.asarray(spaces.flatten(self._observed, obs), np.float64)


def _wrapped(env: gymnasium.Env, name: str, kwargs: Mapping[str, Any]) -> gymnasium.Env:
    module, _, cls = name.partition(":")
    try:
        wrapper = getattr(importlib.import_module(module), cls)
        if not (isinstance(wrapper, type) and issubclass(wrapper, gymnasium.Wrapper)):
            raise TypeError("it is no gymnasium.Wrapper")
        wrapped: gymnasium.Env = wrapper(env, **kwargs)
    except Exception as error:  # of whatever kind its constructor finds the arguments
        raise EnvironmentConfigError(
            f"env.plugin.wrappers: {name!r} cannot be put around the environment: {error}"
        ) from None
    return wrapped


def _observed_space(space: spaces.Space, definition: PluginDefinition) -> spaces.Space:
    if not definition.drop_keys:
        return space
    if not isinstance(space, spaces.Dict):
        raise EnvironmentConfigError(f"drop_keys needs a Dict observation, got {space}")
    missing = set(definition.drop_keys) - set(space.spaces)
    if missing:
        raise EnvironmentConfigError(
            f"drop_keys names {missing.pop()!r}; the observation has: {', '.join(space.spaces)}"
        )
    kept = {key: part for key, part in space.items() if key not in definition.drop_keys}
    return spaces.Dict(kept)


def _checked_actions(space: spaces.Space, name: str) -> spaces.Box | spaces.Discrete:
    if isinstance(space, spaces.Discrete):
        return space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or space.dtype.kind != "f":
        raise EnvironmentConfigError(
            f"{name}: actions must be a vector of real numbers (Box) or Discrete, got {space}"
        )
    if not space.is_bounded():
        raise EnvironmentConfigError(
            f"{name}: actions must be bounded, got {space}; wrap it in RescaleAction or ClipAction"
        )
    return space


def _space(ranges: Mapping[str, TaskRange]) -> spaces.Dict:
    return spaces.Dict(
        {key: spaces.Box(*r.outer(), r.shape, np.float64) for key, r in ranges.items()}
    )
