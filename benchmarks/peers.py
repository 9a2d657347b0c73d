"""What a user would otherwise sample with, with the same policy in the loop.

python -m benchmarks.peers

The same HalfCheetah, as `HalfCheetah-v5`, in Gymnasium's, stable-baselines3's and EnvPool's vector
environments, where they are installed, beside the native batch.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common.vec_env import SubprocVecEnv

from benchmarks import Workload
from metarl.environments.fit import spec_of_spaces
from metarl.experiment.building import build_learner
from metarl.interaction.threads import arithmetic_threads
from metarl.policies.actors import Percept

TASKS, EPISODES = 2, 20
NUM_ENVS = TASKS * EPISODES
_ENDLESS = 10**9  # an episode that has ended would cost nothing
SECONDS = 1.0  # per environment


def speeds() -> dict[str, float]:
    """Environment steps/s of every vector environment that is installed and starts."""
    measured = {}
    for name, make in makers().items():
        try:
            measured[name] = _speed(make())
        except Exception as error:  # of any kind: the other figures must not be lost
            print(f"{name} is left out: {error}")
    return measured


def makers() -> dict[str, Callable[[], Any]]:
    """Vector environments by name."""
    found: dict[str, Callable[[], Any]] = {
        "metarl, native": lambda: gymnasium.make_vec(
            "metarl/HalfCheetahVel-v0",
            num_envs=NUM_ENVS,
            torso_position=False,
            max_episode_steps=_ENDLESS,
        ),
        "Gymnasium SyncVectorEnv": lambda: SyncVectorEnv([_cheetah] * NUM_ENVS),
        "Gymnasium AsyncVectorEnv": lambda: AsyncVectorEnv([_cheetah] * NUM_ENVS),
        "stable-baselines3 SubprocVecEnv": lambda: SubprocVecEnv(
            [_cheetah] * NUM_ENVS, start_method="fork"
        ),
    }
    if importlib.util.find_spec("envpool") is not None:
        found["EnvPool"] = _envpool
    return found


def _envpool() -> Any:
    import envpool

    return envpool.make_gymnasium("HalfCheetah-v4", num_envs=NUM_ENVS)


def _cheetah() -> gymnasium.Env:
    # in every process: Gymnasium's model uses an attribute that MuJoCo announces it will drop
    mujoco.set_mju_user_warning(lambda message: None)
    return gymnasium.make("HalfCheetah-v5")


def _speed(env: Any) -> float:
    """Steps/s with a 2x64 policy of `TASKS` tasks choosing the actions."""
    single = gymnasium.make("metarl/HalfCheetahVel-v0", torso_position=False)
    workload = Workload("metarl/HalfCheetahVel-v0", TASKS, EPISODES, 200)
    spec = spec_of_spaces(single.observation_space, single.action_space)
    learner = build_learner(workload.config(), spec)
    actor = learner.actor(learner.begin(TASKS, EPISODES))
    generator = np.random.default_rng(0)
    result = env.reset()
    obs = result[0] if isinstance(result, tuple) else result
    steps, start = 0, time.perf_counter()
    with arithmetic_threads(1), torch.no_grad():
        while time.perf_counter() - start < SECONDS:
            obs_MEO = np.asarray(obs, np.float32).reshape(TASKS, EPISODES, -1)
            noise = generator.standard_normal((TASKS, EPISODES, spec.action_size), np.float32)
            zeros = np.zeros((TASKS, EPISODES), np.float32)
            step = actor.act(Percept(obs_MEO, 0.0 * noise, zeros, zeros > 0), noise)
            actions = step.actions_MEA.reshape(NUM_ENVS, -1).clip(-1.0, 1.0)
            obs = env.step(actions)[0]
            steps += TASKS * EPISODES
    speed = steps / (time.perf_counter() - start)
    env.close()
    return speed


def main() -> None:
    """Measure and print."""
    for name, speed in speeds().items():
        print(f"{name:32} {speed:>9,.0f} steps/s")


if __name__ == "__main__":
    main()
