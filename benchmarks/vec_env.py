"""Native batches against stable-baselines3's own vector environments, on the same robot.

python -m benchmarks.vec_env [--env metarl/HalfCheetahVel-v0] [--num-envs 16] [--steps 300]

Random actions; the three take turns, so that what else the machine does slows all of them.
"""

import argparse
import time
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

import metarl_envs  # noqa: F401  registers the environments
from metarl.command_line import run
from metarl.deployment.sb3_vec_env import TaskVecEnv

_ROUNDS = 5


def main() -> None:
    """Parse, step, print."""
    parser = argparse.ArgumentParser(description="Speed of vector environments.")
    parser.add_argument("--env", default="metarl/HalfCheetahVel-v0")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300, help="of each in every round")
    arguments = parser.parse_args()
    make = partial(gymnasium.make, arguments.env)
    single: list[Any] = [make for _ in range(arguments.num_envs)]
    batch = gymnasium.make_vec(arguments.env, num_envs=arguments.num_envs)
    made: dict[str, VecEnv] = {
        "TaskVecEnv": TaskVecEnv(batch),
        "SubprocVecEnv": SubprocVecEnv(single, start_method="spawn"),
        "DummyVecEnv": DummyVecEnv(single),
    }
    seconds = dict.fromkeys(made, 0.0)
    for env in made.values():
        env.reset()
    for _ in range(_ROUNDS):
        for name, env in made.items():
            seconds[name] += _step(env, arguments.steps)
    total = _ROUNDS * arguments.steps * arguments.num_envs
    print(f"{arguments.env}, {arguments.num_envs} environments, {total:,} steps each")
    for name, spent in seconds.items():
        ratio = seconds["SubprocVecEnv"] / spent
        print(f"{name:>14}: {total / spent:8,.0f} steps/s, {ratio:.1f} x SubprocVecEnv")
        made[name].close()


def _step(env: VecEnv, steps: int) -> float:
    shape = (env.num_envs, *(env.action_space.shape or ()))
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    start = time.perf_counter()
    for _ in range(steps):
        env.step(actions)
    return time.perf_counter() - start


if __name__ == "__main__":
    run(main)
