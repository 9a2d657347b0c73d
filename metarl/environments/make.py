"""Environments by their Gymnasium id: the library knows no robot."""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium

from metarl.environments.config import EnvConfig, PluginConfig
from metarl.errors import EnvironmentFitError, UserError, did_you_mean
from metarl_envs.check_process import check_in_process
from metarl_envs.engine.rendering import choose_backend
from metarl_envs.errors import one_line, shortened
from metarl_envs.gymnasium_envs import PluginDefinition, PluginEnv
from metarl_envs.observed_task import ObservedTask
from metarl_envs.protocol import TaskEnv
from metarl_envs.registration import registered_spec
from metarl_envs.single_env import SingleTaskEnv
from metarl_envs.task_env import TaskVectorEnv


def make_env(config: EnvConfig, num_envs: int, max_episode_steps: int | None) -> TaskEnv:
    """Make a batched task environment.

    Args:
        config: id and constructor arguments.
        num_envs: sub-environments.
        max_episode_steps: horizon, or None for the registered one.

    Raises:
        EnvironmentFitError: if the id is unknown, an argument is not accepted, or the
            environment has no tasks.
    """
    if config.observe_task:
        plain = config.model_copy(update={"observe_task": False})
        return ObservedTask(make_env(plain, num_envs, max_episode_steps))
    if _is_native(config):
        horizon = {} if max_episode_steps is None else {"max_episode_steps": max_episode_steps}
        try:
            env = gymnasium.make_vec(config.id, num_envs=num_envs, **{**config.kwargs, **horizon})
        except UserError:
            raise
        except Exception as error:  # of whatever kind its constructor finds the arguments
            raise EnvironmentFitError(
                f"{config.id} does not accept env.kwargs {shortened(config.kwargs)}: "
                f"{one_line(error)}"
            ) from error
        if isinstance(env.unwrapped, TaskVectorEnv):
            return env.unwrapped
        env.close()
    return _plug_in(config, num_envs, max_episode_steps)


def make_single(
    config: EnvConfig,
    task: Mapping[str, Any] | None,
    max_episode_steps: int,
    render_mode: str | None = None,
) -> SingleTaskEnv:
    """One environment with one task, as a config describes it, plug-ins and all.

    Args:
        config: the environment.
        task: the task, or None for the nominal one.
        max_episode_steps: horizon.
        render_mode: "human", "rgb_array", or None.

    Raises:
        UserError: if it cannot be made, or the task does not belong to it.
    """
    make = partial(_copies, config=config, drawn=render_mode)
    return SingleTaskEnv(make, task, render_mode, max_episode_steps=max_episode_steps)


def _copies(
    *, config: EnvConfig, drawn: str | None, num_envs: int, max_episode_steps: int
) -> TaskEnv:
    """Batches for `make_single`; one plugged-in environment lives, and draws, in this process."""
    if num_envs != 1 or _is_native(config):
        return make_env(config, num_envs, max_episode_steps)
    plugin = (config.plugin or PluginConfig()).model_copy(update={"num_workers": 0})
    plain = config.model_copy(update={"plugin": plugin})
    if drawn is None:
        return make_env(plain, 1, max_episode_steps)
    if drawn == "rgb_array":
        with suppress(UserError):  # it may draw by other means
            choose_backend()
    drawing = plain.model_copy(update={"kwargs": {**config.kwargs, "render_mode": drawn}})
    try:
        return make_env(drawing, 1, max_episode_steps)
    except Exception as error:
        make_env(plain, 1, max_episode_steps).close()  # what else is wrong comes first
        raise EnvironmentFitError(
            f"{config.id} cannot be drawn, it does not take render_mode: {one_line(error)}"
        ) from None


def _is_native(config: EnvConfig) -> bool:
    _require_known(config.id)
    return config.plugin is None and registered_spec(config.id).vector_entry_point is not None


def check_env(config: EnvConfig, timeout_s: float = 60.0) -> list[str]:
    """What is wrong with an environment, one sentence each, see `check_task_env`.

    It is made in a process of its own, where nothing may take longer than `timeout_s`.
    """
    _require_known(config.id)
    definition = _definition(config, config.plugin or PluginConfig())
    return check_in_process(definition, timeout_s)


def _definition(config: EnvConfig, plugin: PluginConfig) -> PluginDefinition:
    return PluginDefinition(
        config.id,
        config.kwargs,
        plugin.tasks,
        plugin.apply,
        plugin.vary_fields,
        plugin.drop_keys,
        [(wrapper.name, wrapper.kwargs) for wrapper in plugin.wrappers],
    )


def _plug_in(config: EnvConfig, num_envs: int, max_episode_steps: int | None) -> PluginEnv:
    plugin = config.plugin or PluginConfig()
    try:
        return PluginEnv(
            num_envs,
            _definition(config, plugin),
            num_workers=plugin.num_workers,
            start_method=plugin.start_method,
            timeout_s=plugin.timeout_s,
            restarts=plugin.restarts,
            action_scale=plugin.action_scale,
            max_episode_steps=max_episode_steps,
        )
    except TypeError as error:
        raise _unaccepted(config, error) from None


def _unaccepted(config: EnvConfig, error: TypeError) -> Exception:
    """The user's error for an argument that does not exist; any other is the author's own."""
    if "unexpected keyword argument" in str(error) or "required keyword" in str(error):
        return EnvironmentFitError(f"{config.id} does not accept env.kwargs: {error}")
    return error


def _require_known(env_id: str) -> None:
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise EnvironmentFitError(
                f"cannot import the module of {env_id!r}: {error}; a module beside your folder's "
                f"files is found where you type the command, with --allow-import {module}"
            ) from None
        except Exception as error:  # whatever the author's module raises
            said = f": {one_line(error)}" if str(error) else ""
            raise EnvironmentFitError(
                f"the module of {env_id!r} cannot be imported: {type(error).__name__}{said}"
            ) from error
    if name not in gymnasium.registry:
        own = _registered_by(module) if module else []
        whose = f"those of {module} are" if own else "this project's are"
        known = own or [known for known in gymnasium.registry if known.startswith("metarl/")]
        raise EnvironmentFitError(
            f"unknown environment {env_id!r}{did_you_mean(name, gymnasium.registry)}; "
            f"{whose}: {', '.join(sorted(known))}"
        )


def _registered_by(package: str) -> list[str]:
    """Ids whose class or function a module or package defines."""
    found = []
    for env_id, spec in gymnasium.registry.items():
        made: Any = spec.entry_point or spec.vector_entry_point
        if isinstance(made, partial) and made.args:
            made = made.args[0]  # as `register_task_env` does
        home = made.partition(":")[0] if isinstance(made, str) else getattr(made, "__module__", "")
        if home == package or str(home).startswith(f"{package}."):
            found.append(env_id)
    return found


def registered_horizon(env_id: str) -> int | None:
    """The horizon under which an environment is registered, in steps.

    Raises:
        EnvironmentFitError: if the id is unknown.
    """
    _require_known(env_id)
    return registered_spec(env_id).max_episode_steps
