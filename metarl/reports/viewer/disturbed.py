"""What can befall a robot while it is watched."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from metarl.reports.viewer.bodies import bodies_of
from metarl_envs.single_env import SingleTaskEnv


class Disturbed(gymnasium.Wrapper):
    """One environment whose robot can be pushed, loaded, and lose a motor, at any time.

    What has befallen the robot stays over resets and changes of task.

    Args:
        env: see `metarl.make_env`.

    Attributes:
        bodies: of the robot, None where there are none: nothing to push or load then.
    """

    def __init__(self, env: SingleTaskEnv) -> None:
        super().__init__(env)
        self._single = env
        self.bodies = bodies_of(env)
        self._payload_kg = self._on_kg = self._weighed_kg = 0.0
        self._dead: int | None = None
        self._push_N, self._push_steps = np.zeros(3), 0

    @property
    def num_motors(self) -> int:
        """Real actions; none where they are discrete."""
        box = isinstance(self.action_space, gymnasium.spaces.Box)
        return int(np.prod(self.action_space.shape or ())) if box else 0

    def set_task(self, task: Mapping[str, Any]) -> None:
        """Change the task, from the next reset on."""
        self._single.set_task(task)

    def push(self, force_N: tuple[float, float, float], steps: int) -> None:
        """Push the first body with a force for so many control steps."""
        self._push_N, self._push_steps = np.asarray(force_N, float), steps

    def load(self, payload_kg: float) -> None:
        """Put a mass on the first body, in place of the one before; inertia grows as mass does."""
        self._payload_kg = payload_kg
        self._weigh()

    def kill(self, motor: int | None) -> None:
        """Let a motor (from 0) do nothing; None for all alive."""
        self._dead = motor

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        found = super().reset(seed=seed, options=options)
        self._weigh()
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._dead is not None:
            action = np.array(action, float)
            action[self._dead] = 0.0
        self._weigh()
        if self.bodies is not None:
            force_N = self._push_N if self._push_steps > 0 else np.zeros(3)
            self.bodies.force_B6[1, :3] = force_N
            self._push_steps = max(0, self._push_steps - 1)
        return super().step(action)

    def _weigh(self) -> None:
        if self.bodies is None:
            return
        mass_B = self.bodies.mass_B
        if self._on_kg and mass_B[1] != self._weighed_kg:
            self._on_kg = 0.0  # another task, or a change in mid-episode, gave the model its masses
        if self._payload_kg == self._on_kg:
            return
        before = float(mass_B[1])
        mass_B[1] = before + self._payload_kg - self._on_kg
        self.bodies.inertia_B3[1] *= mass_B[1] / before
        self.bodies.derive()
        self._on_kg, self._weighed_kg = self._payload_kg, float(mass_B[1])
