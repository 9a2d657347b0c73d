"""Parts that an environment's task is made of: goals, and variations of the robot.

A robot's task space is the union of its parts' spaces; goals and variations combine freely.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import (
    ListTasks,
    ProductTasks,
    TaskDistribution,
    UniformTasks,
)

if TYPE_CHECKING:
    from metarl_envs.robots.base import MujocoTaskEnv

Splits = dict[str, TaskDistribution]
_MAX_VELOCITY = 20.0  # m/s


class TaskPart(ABC):
    """One or more keys of a task, and what they do to the environment.

    Attributes:
        shares_tasks: True where training and test tasks are the same few.
    """

    shares_tasks: bool = False

    def prepare(self, env: "MujocoTaskEnv") -> None:  # noqa: B027
        """Called once, when the model is compiled and before anything else is asked."""

    @property
    @abstractmethod
    def spaces(self) -> dict[str, spaces.Space]:
        """The space of each key."""

    @property
    @abstractmethod
    def nominal(self) -> dict[str, Any]:
        """The value of each key that leaves the robot as its model defines it."""

    @abstractmethod
    def splits(self) -> Splits:
        """Distributions of these keys, by split name."""

    @abstractmethod
    def apply(self, env: "MujocoTaskEnv", tasks: Tasks, rows: np.ndarray) -> None:
        """Put these keys' values (leading axis len(rows)) in force in some simulations."""

    def reset(  # noqa: B027
        self, env: "MujocoTaskEnv", rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        """Called when episodes begin, after the initial states are drawn."""

    def act(self, env: "MujocoTaskEnv", control: np.ndarray) -> np.ndarray:
        """What reaches the actuators when the policy asks for `control`, shape (N, A)."""
        return control

    def observe(self, env: "MujocoTaskEnv", observations: np.ndarray) -> np.ndarray:
        """What the policy sees of `observations`, shape (N, O)."""
        return observations


def combine_splits(parts: Sequence[TaskPart]) -> Splits:
    """Splits of independent parts together.

    `train` and `test` combine the parts' own. In `extrapolation` every part that can leaves its
    training range; the others stay within `test`.
    """
    every = [part.splits() for part in parts]
    if len(every) == 1:
        return every[0]
    combined: Splits = {}
    for name in ("train", "test"):
        combined[name] = ProductTasks([splits[name] for splits in every])
    if any("extrapolation" in splits for splits in every):
        outside = [splits.get("extrapolation", splits["test"]) for splits in every]
        combined["extrapolation"] = ProductTasks(outside)
    return combined


class Goal(TaskPart):
    """A part that only the reward reads: one key, one array of values per simulation.

    Args:
        key: the task key.
        space: its space.
        nominal: its nominal value.
        splits: its distributions.
    """

    def __init__(self, key: str, space: spaces.Space, nominal: Any, splits: Splits) -> None:
        self._key, self._space, self._nominal, self._splits = key, space, nominal, splits
        self.values = np.zeros(0)

    def prepare(self, env: "MujocoTaskEnv") -> None:
        self.values = np.repeat(np.asarray(self._nominal, float)[None], env.num_envs, axis=0)

    @property
    def spaces(self) -> dict[str, spaces.Space]:
        return {self._key: self._space}

    @property
    def nominal(self) -> dict[str, Any]:
        return {self._key: self._nominal}

    def splits(self) -> Splits:
        return self._splits

    def apply(self, env: "MujocoTaskEnv", tasks: Tasks, rows: np.ndarray) -> None:
        self.values[rows] = tasks[self._key]


class VelocityGoal(Goal):
    """A goal that rewards the forward velocity."""

    @abstractmethod
    def reward(self, velocity: np.ndarray) -> np.ndarray:
        """Reward of every simulation for its velocity in m/s, shape (N,)."""


class TargetVelocity(VelocityGoal):
    """A target forward velocity in m/s: `{"target_velocity": v*}`, rewarded by -|v - v*|.

    Args:
        velocity_range: `train` and `test` interleave over it; `extrapolation` is the range above,
            half as wide.
        fixed: lists that replace `train` and `test`, by split, or None.
    """

    def __init__(
        self,
        velocity_range: tuple[float, float],
        fixed: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        low, high = (float(bound) for bound in velocity_range)
        if not -_MAX_VELOCITY <= low < high <= _MAX_VELOCITY:
            raise EnvironmentConfigError(
                f"velocity_range must increase within +-{_MAX_VELOCITY:g}, "
                f"got {tuple(velocity_range)}"
            )
        key, top = "target_velocity", min(_MAX_VELOCITY, high + 0.5 * (high - low))
        splits: Splits = {
            "train": UniformTasks({key: low}, {key: high}, part="train"),
            "test": UniformTasks({key: low}, {key: high}, part="held_out"),
        }
        if top > high:
            splits["extrapolation"] = UniformTasks({key: np.nextafter(high, top)}, {key: top})
        for split, velocities in (fixed or {}).items():
            splits[split] = ListTasks({key: velocities})
        space = spaces.Box(-_MAX_VELOCITY, _MAX_VELOCITY, (), np.float64)
        super().__init__(key, space, min(max(1.0, low), high), splits)

    def reward(self, velocity: np.ndarray) -> np.ndarray:
        return -np.abs(velocity - self.values)


class Direction(VelocityGoal):
    """Forwards or backwards: `{"forward": 1}` or `{"forward": 0}`, rewarded by +v or -v.

    There are two tasks, and the literature trains and tests on both.
    """

    shares_tasks = True

    def __init__(self) -> None:
        both = ListTasks({"forward": np.array([0, 1])})
        super().__init__("forward", spaces.Discrete(2), 1, {"train": both, "test": both})

    def reward(self, velocity: np.ndarray) -> np.ndarray:
        return (2.0 * self.values - 1.0) * velocity


class Heading(Goal):
    """A direction in the plane: `{"heading": angle}`, radians in [-pi, pi), 0 along x."""

    def __init__(self) -> None:
        low, high = {"heading": -np.pi}, {"heading": np.pi}
        splits: Splits = {
            "train": UniformTasks(low, high, part="train"),
            "test": UniformTasks(low, high, part="held_out"),
        }
        super().__init__("heading", spaces.Box(-np.pi, np.pi, (), np.float64), 0.0, splits)

    def reward(self, velocity: np.ndarray) -> np.ndarray:
        """Velocity along the heading, of velocities (N, 2)."""
        return velocity[:, 0] * np.cos(self.values) + velocity[:, 1] * np.sin(self.values)


def pearl_velocities() -> dict[str, np.ndarray]:
    """PEARL's fixed target velocities: 100 for training, 30 for test (oyster, seed 1337)."""
    velocities = np.random.RandomState(1337).uniform(0.0, 3.0, size=130)
    return {"train": velocities[:100], "test": velocities[100:]}
