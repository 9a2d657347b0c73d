"""Arrays that a parent and its workers see alike, one row per sub-environment."""

from multiprocessing.context import BaseContext

import numpy as np

from metarl_envs.protocol import SUCCESS_KEYS

# of success: 0 where not reported, 1 for no, 2 for yes; busy: while a command runs in it
_FLAGS = ("terminated", "truncated", *SUCCESS_KEYS, "busy")


class SharedArrays:
    """Observations, actions, rewards and flags. Nothing of them outlives the processes."""

    def __init__(
        self, context: BaseContext, num_envs: int, obs_size: int, action_size: int
    ) -> None:
        self.num_envs, self.obs_size, self.action_size = num_envs, obs_size, action_size
        self._obs = context.RawArray("d", num_envs * obs_size)
        self._actions = context.RawArray("d", num_envs * action_size)
        self._rewards = context.RawArray("d", num_envs)
        self._flags = context.RawArray("b", num_envs * len(_FLAGS))

    def views(self) -> "dict[str, np.ndarray]":
        """NumPy views by name."""
        n = self.num_envs
        flags = np.frombuffer(self._flags, np.int8).reshape(len(_FLAGS), n)
        return {
            "obs": np.frombuffer(self._obs).reshape(n, self.obs_size),
            "actions": np.frombuffer(self._actions).reshape(n, self.action_size),
            "rewards": np.frombuffer(self._rewards),
            **dict(zip(_FLAGS, flags, strict=True)),
        }
