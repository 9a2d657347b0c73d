"""Print the table of environments, and how fast each way of stepping them is.

python -m benchmarks.throughput                 # every native environment, one row each
python -m benchmarks.throughput --compare 40    # native, plug-in, Gymnasium's vector environments

Everything is stepped with random actions, in one run; speeds are the best of three turns.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np

import metarl_envs
from metarl.command_line import run
from metarl.environments.config import EnvConfig, PluginConfig
from metarl.environments.make import make_env

_TURNS = 3
_SECONDS = 0.4  # per turn
_COMPARED = ("PointNavigation", "ReacherGoal", "HopperRandParams", "HalfCheetahVel", "AntDir")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Tables of environments and their speed.")
    parser.add_argument("--compare", type=int, metavar="N", help="sub-environments")
    arguments = parser.parse_args()
    if arguments.compare is None:
        environments()
    else:
        compare(arguments.compare)


def environments() -> None:
    """One row per native environment."""
    print("| id | task space | obs | act | horizon | dt, s | steps/s |\n|" + "---|" * 7)
    for env_id in metarl_envs.ENVIRONMENTS:
        env: Any = gymnasium.make_vec(env_id, num_envs=400).unwrapped
        shapes = {key: list(space.shape or ()) for key, space in env.task_space.items()}
        space = ", ".join(f"{key} {shape}" if shape else key for key, shape in shapes.items())
        speed = _speed(env)
        dt = f"{env.dt:.3f}" if hasattr(env, "dt") else "-"
        print(
            f"| `{env_id}` | {space} | {env.observation_size} | {env.single_action_space.shape[0]} "
            f"| {env.max_episode_steps} | {dt} | {speed:,.0f} |"
        )


def compare(num_envs: int) -> None:
    """Native batch, plug-in, and Gymnasium's two vector environments on the same environment."""
    print(
        "| environment | native | plug-in, 2 workers | plug-in, in process "
        "| SyncVectorEnv | AsyncVectorEnv |"
    )
    print("|" + "---|" * 6)
    for name in _COMPARED:
        env_id = f"metarl/{name}-v0"
        plugs = [
            EnvConfig(id=env_id, plugin=PluginConfig(num_workers=w, start_method="fork"))
            for w in (2, 0)
        ]
        ways: list[Callable[[], Any]] = [
            partial(gymnasium.make_vec, env_id, num_envs),
            *(partial(make_env, plug, num_envs, None) for plug in plugs),
            partial(gymnasium.make_vec, env_id, num_envs, "sync"),
            partial(gymnasium.make_vec, env_id, num_envs, "async"),
        ]
        envs = [way() for way in ways]
        speeds = [max(_speed(env) for _ in range(_TURNS)) for env in envs]
        for env in envs:
            env.close()
        print(f"| {name} | " + " | ".join(f"{speed:,.0f}" for speed in speeds) + " |")


def _speed(env: Any) -> float:
    """Environment steps/s under random actions, ended episodes reset."""
    rng = np.random.default_rng(0)
    space = env.single_action_space
    actions = rng.uniform(space.low, space.high, (64, env.num_envs, *space.shape))
    actions = actions.astype(space.dtype)
    env.reset(seed=0)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            ended = terminated | truncated
            if ended.any() and env.metadata["autoreset_mode"].name == "DISABLED":
                env.reset(options={"reset_mask": ended})
        steps += len(actions) * env.num_envs
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    run(main)
