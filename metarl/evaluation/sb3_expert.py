"""A trained model of stable-baselines3 as an expert, the same one in every task.

Shapes: M tasks, E episodes per task, O observation, A action.
"""

from pathlib import Path

import numpy as np
import stable_baselines3
import torch

from metarl.environments.fit import Spec, spec_of_spaces
from metarl.errors import ConfigError
from metarl.interaction.rollouts import Rollouts
from metarl.policies.actors import ActionStep, Percept
from metarl_envs.errors import one_line

ALGORITHMS = ("PPO", "A2C", "SAC", "TD3", "DDPG", "DQN")


class SB3Expert:
    """Takes a model's most likely actions, and learns nothing.

    Its file is a pickle: reading it runs what it says.

    Args:
        algorithm: "PPO", "SAC", ...
        path: the file that `model.save` wrote.

    Raises:
        ConfigError: if there is no such model.
    """

    def __init__(self, algorithm: str, path: str | Path) -> None:
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"algorithm {algorithm!r} must be one of: {', '.join(ALGORITHMS)}")
        try:
            self._model = getattr(stable_baselines3, algorithm).load(path, device="cpu")
        except Exception as error:  # of whatever kind another file makes it raise
            raise ConfigError(f"{path} is no model of {algorithm}: {one_line(error)}") from None
        self.spec: Spec = spec_of_spaces(self._model.observation_space, self._model.action_space)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @property
    def noise_size(self) -> int:
        """None is used."""
        return 0

    def begin(self, num_tasks: int, episodes: int) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def adapt(self, state: tuple[()], rollouts: Rollouts) -> tuple[()]:
        """Nothing to learn."""
        return state

    def actor(self, state: tuple[()]) -> "SB3Expert":
        """Itself."""
        return self

    @property
    def state(self) -> tuple[()]:
        """Nothing."""
        return ()

    def act(self, seen: Percept, noise_MEN: np.ndarray | None) -> ActionStep:
        """Actions of all episodes, in one call of the model."""
        shape = seen.obs_MEO.shape[:2]
        rows = seen.obs_MEO.reshape(-1, self.spec.obs_size)
        actions, _ = self._model.predict(rows, deterministic=True)
        return ActionStep(np.asarray(actions, np.float32).reshape(*shape, -1))
