"""Native task environments where stable-baselines3 expects a `VecEnv`.

Shapes: N sub-environments, O observation, A action.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from metarl.environments.single import into_space
from metarl.errors import EnvironmentFitError
from metarl_envs.task_env import TaskVectorEnv


class TaskVecEnv(VecEnv):
    """A native batch, whose ended episodes start again at once, as stable-baselines3 wants it.

    Args:
        env: made by `metarl.make_env(..., num_envs=N)` or `gymnasium.make_vec`; its tasks are those
            set, new ones by `env.set_tasks`.

    Raises:
        EnvironmentFitError: if it is no native batch.
    """

    def __init__(self, env: Any) -> None:
        batch = env.unwrapped
        if not isinstance(batch, TaskVectorEnv):
            raise EnvironmentFitError("a native batch, please: metarl.make_env(..., num_envs=64)")
        self.env: TaskVectorEnv = batch
        self._actions: np.ndarray = np.zeros((batch.num_envs, 1))
        self._returns, self._lengths = np.zeros(batch.num_envs), np.zeros(batch.num_envs, int)
        self._seed: int | None = None
        super().__init__(batch.num_envs, batch.single_observation_space, batch.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start an episode everywhere."""
        obs, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._returns[:], self._lengths[:] = 0.0, 0
        return obs.astype(np.float32)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """The seed of the next reset."""
        self._seed = seed
        return [seed] * self.num_envs

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions."""
        rows = np.asarray(actions).reshape(self.num_envs, -1)
        self._actions = into_space(rows, self.action_space).reshape(self.num_envs, -1)

    def step_wait(self) -> VecEnvStepReturn:
        """Take them; `infos` of ended episodes hold their return and last observation."""
        obs, rewards, terminated, truncated, info = self.env.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        done = terminated | truncated
        shown = {key: values for key, values in info.items() if not key.startswith("_")}
        infos = [{key: values[row] for key, values in shown.items()} for row in range(len(done))]
        if done.any():
            for row in np.flatnonzero(done):
                infos[row] |= {
                    "terminal_observation": obs[row].astype(np.float32),
                    "TimeLimit.truncated": bool(truncated[row] and not terminated[row]),
                    "episode": {
                        "r": float(self._returns[row]),
                        "l": int(self._lengths[row]),
                        "t": 0.0,
                    },
                }
            obs, _ = self.env.reset(options={"reset_mask": done})
            self._returns[done], self._lengths[done] = 0.0, 0
        return obs.astype(np.float32), rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the batch."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the batch, once per sub-environment; it draws nothing here."""
        value = None if attr_name == "render_mode" else getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sub-environments have no attributes of their own."""
        raise NotImplementedError("sub-environments of a native batch have no attributes")

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Sub-environments have no methods of their own."""
        raise NotImplementedError("sub-environments of a native batch have no methods")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """In `Monitor` alone, as it were: `infos` hold returns and lengths as that gives them."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
