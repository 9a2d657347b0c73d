"""What can befall a robot while it is watched."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from metarl.errors import ConfigError
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
        self._payload_kg = self._bare_kg = 0.0
        self._bare_inertia_3 = np.zeros(3)
        self._loaded: tuple[float, np.ndarray] | None = None  # as written
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
        """Push the first body with a force for so many control steps, beside all other forces."""
        self._push_N, self._push_steps = np.asarray(force_N, float), steps

    def load(self, payload_kg: float) -> None:
        """Put a mass on the first body, in place of the one before; inertia grows as mass does.

        Raises:
            ConfigError: if it is no mass.
        """
        if not 0.0 <= payload_kg < np.inf:
            raise ConfigError(f"a payload is a mass in kg, at least 0, got {payload_kg}")
        self._payload_kg = payload_kg
        self._weigh()

    def kill(self, motor: int | None) -> None:
        """Let a motor (from 0) do nothing; None for all alive."""
        self._dead = motor

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._end_push()
        found = super().reset(seed=seed, options=options)
        self._weigh()
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self._dead is not None:
            action = np.array(action, float)
            action[self._dead] = 0.0
        self._weigh()
        if self.bodies is not None and self._push_steps > 0:
            self.bodies.push(self._push_N)
        found = super().step(action)
        if self._push_steps == 1:
            self._end_push()
        self._push_steps = max(0, self._push_steps - 1)
        return found

    def _end_push(self) -> None:
        if self.bodies is not None and self._push_steps > 0:
            self.bodies.push(np.zeros(3))
        self._push_steps = 0

    def _weigh(self) -> None:
        """The payload on top of what the body weighs; tasks and resets may give it another mass."""
        if self.bodies is None:
            return
        carrier, mass_B = self.bodies.carrier, self.bodies.mass_B
        inertia_B3 = self.bodies.inertia_B3
        kg, inertia_3 = float(mass_B[carrier]), inertia_B3[carrier].copy()
        if self._loaded is None or kg != self._loaded[0]:
            self._bare_kg = kg
        if self._loaded is None or not np.array_equal(inertia_3, self._loaded[1]):
            self._bare_inertia_3 = inertia_3
        whole = self._bare_kg
        loaded = whole, self._bare_inertia_3
        if self._payload_kg:
            # a hair more than whole kilograms: no task gives the same by chance
            whole = float(np.nextafter(self._bare_kg + self._payload_kg, np.inf))
            loaded = whole, self._bare_inertia_3 * (whole / self._bare_kg)
        if kg != loaded[0] or not np.array_equal(inertia_3, loaded[1]):
            mass_B[carrier], inertia_B3[carrier] = loaded
            self.bodies.derive()
        self._loaded = loaded
