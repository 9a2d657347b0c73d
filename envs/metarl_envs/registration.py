"""The registry of task environments: Gymnasium id -> where the class lives, and its horizon.

A new environment is one file and one line here.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec

from metarl_envs.single_env import SingleTaskEnv
from metarl_envs.task_env import TaskVectorEnv


class Registration(NamedTuple):
    """Where a task environment is defined, and its default horizon in steps."""

    location: str  # "module:Class" or "module:function" inside metarl_envs
    max_episode_steps: int


ENVIRONMENTS: dict[str, Registration] = {
    "metarl/PointNavigation-v0": Registration("points.navigation:PointNavigation", 100),
    "metarl/PointNavigationSparse-v0": Registration(
        "points.navigation:point_navigation_sparse", 100
    ),
    "metarl/PointCorners-v0": Registration("points.corners:PointCorners", 100),
    "metarl/ReacherGoal-v0": Registration("robots.reacher:reacher_goal", 50),
    "metarl/ArmReach-v0": Registration("robots.arm_reach:arm_reach", 100),
    "metarl/SwimmerVel-v0": Registration("robots.swimmer:swimmer_vel", 200),
    "metarl/HalfCheetah-v0": Registration("robots.half_cheetah:HalfCheetah", 200),
    "metarl/HalfCheetahVel-v0": Registration("robots.half_cheetah:half_cheetah_vel", 200),
    "metarl/HalfCheetahDir-v0": Registration("robots.half_cheetah:half_cheetah_dir", 200),
    "metarl/Ant-v0": Registration("robots.ant:Ant", 200),
    "metarl/AntDir-v0": Registration("robots.ant:ant_dir", 200),
    "metarl/AntVel-v0": Registration("robots.ant:ant_vel", 200),
    "metarl/AntGoal-v0": Registration("robots.ant:ant_goal", 200),
    "metarl/HumanoidDir-v0": Registration("robots.humanoid:humanoid_dir", 200),
    "metarl/Walker2d-v0": Registration("robots.walker2d:Walker2d", 200),
    "metarl/Walker2dVel-v0": Registration("robots.walker2d:walker2d_vel", 200),
    "metarl/Walker2dDir-v0": Registration("robots.walker2d:walker2d_dir", 200),
    "metarl/Walker2dRandParams-v0": Registration("robots.walker2d:walker2d_rand_params", 200),
    "metarl/Hopper-v0": Registration("robots.hopper:Hopper", 200),
    "metarl/HopperVel-v0": Registration("robots.hopper:hopper_vel", 200),
    "metarl/Quadruped-v0": Registration("robots.quadruped:Quadruped", 250),
    "metarl/QuadrupedStand-v0": Registration("robots.quadruped:quadruped_stand", 100),
    "metarl/HopperRandParams-v0": Registration("robots.hopper:hopper_rand_params", 200),
}


# Environments of other packages, stepped one by one in worker processes
ADAPTERS: dict[str, Registration] = {
    "metarl/MetaWorld-v0": Registration("gymnasium_envs.meta_world:MetaWorld", 500),
    "metarl/Fetch-v0": Registration("gymnasium_envs.fetch:Fetch", 50),
}


def register_environments() -> None:
    """Register every environment of this package with Gymnasium; idempotent."""
    for env_id, (location, horizon) in ADAPTERS.items():
        if env_id not in gymnasium.registry:
            entry_point = f"metarl_envs.{location}"
            gymnasium.register(env_id, entry_point, max_episode_steps=horizon)
    for env_id, registration in ENVIRONMENTS.items():
        location = f"metarl_envs.{registration.location}"
        register_task_env(env_id, location, registration.max_episode_steps)


def register_task_env(env_id: str, location: str, max_episode_steps: int) -> None:
    """Register a batched task environment with Gymnasium, for `make` and `make_vec`.

    Args:
        env_id: "namespace/Name-v0".
        location: "module:name" of a subclass of `TaskVectorEnv`, or of a function that makes one.
        max_episode_steps: default horizon, in control steps.
    """
    if env_id in gymnasium.registry:
        return
    gymnasium.register(
        id=env_id,
        entry_point=partial(_make_single, location),
        vector_entry_point=partial(_make_batch, location),
        max_episode_steps=max_episode_steps,
    )


def registered_spec(env_id: str) -> EnvSpec:
    """Gymnasium's specification of `[module:]Name-v0`, after importing the module."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(name)


def _maker(location: str) -> Callable[..., TaskVectorEnv]:
    module, name = location.split(":")
    maker: Callable[..., TaskVectorEnv] = getattr(importlib.import_module(module), name)
    return maker


def _make_batch(location: str, **kwargs: Any) -> TaskVectorEnv:
    return _maker(location)(**kwargs)


def _make_single(location: str, **kwargs: Any) -> SingleTaskEnv:
    return SingleTaskEnv(_maker(location), **kwargs)
