"""Goals: what a robot is rewarded for. Only the reward reads them.

A goal asks the robot for named quantities and fits every robot that has them; a robot without one
refuses the goal when it is made. Shapes: N simulations.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError, require_positive
from metarl_envs.mirror import Exchange
from metarl_envs.parts.base import Simulations, TaskPart, TaskValue
from metarl_envs.protocol import TRACKING_ERROR
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import ListTasks
from metarl_envs.tasks.splits import Splits, box_splits, disc_splits

_MAX_VELOCITY = 20.0  # m/s


class Quantities(Protocol):
    """What a reward may ask a robot for, in the state after the step.

    A robot defines those that make sense for it; the others raise.
    """

    @property
    def height(self) -> np.ndarray:
        """Height of the trunk in m, shape (N,)."""
        ...

    @property
    def pitch(self) -> np.ndarray:
        """Angle of the trunk in the sagittal plane in rad, shape (N,)."""
        ...

    @property
    def position(self) -> np.ndarray:
        """Where the robot is in the horizontal plane in m, shape (N, 2)."""
        ...

    @property
    def forward_velocity(self) -> np.ndarray:
        """Mean velocity along x during the last control step in m/s, shape (N,)."""
        ...

    @property
    def planar_velocity(self) -> np.ndarray:
        """Mean velocity in the horizontal plane during the last control step, shape (N, 2)."""
        ...

    @property
    def tip(self) -> np.ndarray:
        """Position of an arm's tip in m, shape (N, 3)."""
        ...

    @property
    def tracking(self) -> np.ndarray:
        """How well the robot follows its command, as its weights say, shape (N,)."""
        ...

    @property
    def tracking_error(self) -> np.ndarray:
        """Distance of the mean velocity from the commanded one in m/s, shape (N,)."""
        ...


class Goal(TaskPart):
    """A part that the reward reads.

    Attributes:
        needs: the quantities that `reward` asks for.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def reward(self, robot: Quantities) -> np.ndarray:
        """Reward of every simulation, without the robot's costs: shape (N,)."""

    def info(self, robot: Quantities) -> dict[str, np.ndarray]:
        """What `info` reports after a step, one row per simulation; such as "is_success"."""
        return {}


class KeylessGoal(Goal):
    """A goal that is the same in all tasks, so that it has no key; tasks differ by other parts."""

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        return {}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return {}

    def splits(self) -> Splits:
        return {}

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        """Nothing depends on the task."""


class Forward(KeylessGoal):
    """Run along x: r = v."""

    needs = ("forward_velocity",)

    def reward(self, robot: Quantities) -> np.ndarray:
        return robot.forward_velocity

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {}


class FollowCommand(KeylessGoal):
    """Follow the command that the robot sees: r = tracking. Tasks differ by other parts."""

    needs = ("tracking", "tracking_error")

    def reward(self, robot: Quantities) -> np.ndarray:
        return robot.tracking

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange]:
        return {}

    def info(self, robot: Quantities) -> dict[str, np.ndarray]:
        return {TRACKING_ERROR: robot.tracking_error}


class KeyedGoal(Goal):
    """A goal of one key, with an array of values, one per simulation.

    Args:
        key: the task key.
        space: its space.
        nominal: its nominal value.
        splits: its distributions.
    """

    def __init__(self, key: str, space: spaces.Space, nominal: TaskValue, splits: Splits) -> None:
        self._key, self._space, self._nominal, self._splits = key, space, nominal, splits
        self.values: np.ndarray = np.zeros(0)

    def prepare(self, simulations: Simulations) -> None:
        nominal = np.asarray(self._nominal, float)
        self.values = np.repeat(nominal[None], simulations.num_envs, axis=0)

    @property
    def spaces(self) -> Mapping[str, spaces.Space]:
        return {self._key: self._space}

    @property
    def nominal(self) -> Mapping[str, TaskValue]:
        return {self._key: self._nominal}

    def splits(self) -> Splits:
        return self._splits

    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        self.values[rows] = tasks[self._key]


class TargetVelocity(KeyedGoal):
    """A target forward velocity in m/s: `{"target_velocity": v*}`, rewarded by -|v - v*|.

    Args:
        velocity_range: `train` and `test` interleave over it; `extrapolation` is the range above,
            half as wide.
        fixed: lists that replace the parts of the range, by split, or None.
        constant: added to the reward.
    """

    needs = ("forward_velocity",)

    def __init__(
        self,
        velocity_range: tuple[float, float],
        fixed: Mapping[str, np.ndarray] | None = None,
        constant: float = 0.0,
    ) -> None:
        self._constant = constant
        low, high = (float(bound) for bound in velocity_range)
        if not -_MAX_VELOCITY <= low < high <= _MAX_VELOCITY:
            raise EnvironmentConfigError(
                f"velocity_range must increase within +-{_MAX_VELOCITY:g}, "
                f"got {tuple(velocity_range)}"
            )
        key, top = "target_velocity", min(_MAX_VELOCITY, high + 0.5 * (high - low))
        outer = ({key: low}, {key: top}) if top > high else None
        splits = box_splits({key: low}, {key: high}, outer)
        if fixed is not None:  # no part of the range is left out of a list
            beyond = {name: splits[name] for name in ("extrapolation",) if name in splits}
            lists = {name: ListTasks({key: values}) for name, values in fixed.items()}
            splits = {**lists, **beyond}
        space = spaces.Box(-_MAX_VELOCITY, _MAX_VELOCITY, (), np.float64)
        super().__init__(key, space, min(max(1.0, low), high), splits)

    def reward(self, robot: Quantities) -> np.ndarray:
        return self._constant - np.abs(robot.forward_velocity - self.values)


class Direction(KeyedGoal):
    """Forwards or backwards: `{"forward": 1}` or `{"forward": 0}`, rewarded by +v or -v.

    There are two tasks, and the literature trains and tests on both.
    """

    shares_tasks = True
    needs = ("forward_velocity",)

    def __init__(self) -> None:
        both = ListTasks({"forward": np.array([0, 1])})
        super().__init__("forward", spaces.Discrete(2), 1, {"train": both, "test": both})

    def reward(self, robot: Quantities) -> np.ndarray:
        return (2.0 * self.values - 1.0) * robot.forward_velocity


class Heading(KeyedGoal):
    """A direction in the plane: `{"heading": angle}`, radians in [-pi, pi), 0 along x.

    Rewarded by the velocity along it.
    """

    needs = ("planar_velocity",)

    def __init__(self) -> None:
        splits = box_splits({"heading": -np.pi}, {"heading": np.pi})
        super().__init__("heading", spaces.Box(-np.pi, np.pi, (), np.float64), 0.0, splits)

    def reward(self, robot: Quantities) -> np.ndarray:
        velocity = robot.planar_velocity
        return velocity[:, 0] * np.cos(self.values) + velocity[:, 1] * np.sin(self.values)


class Place(KeyedGoal):
    """A point of the plane to run to: `{"goal": [x, y]}` in m, rewarded by -|x - gx| - |y - gy|.

    Args:
        radius: of the disc of goals in m; `extrapolation` is the ring around it, up to 1.5 radii.
    """

    needs = ("position",)

    def __init__(self, radius: float) -> None:
        if not 0 < radius <= 20:
            raise EnvironmentConfigError(f"goal_radius must be in (0, 20], got {radius}")
        space = spaces.Box(-30.0, 30.0, (2,), np.float64)
        super().__init__("goal", space, [1.0, 1.0], disc_splits("goal", radius, 1.5 * radius))

    def reward(self, robot: Quantities) -> np.ndarray:
        return -np.abs(robot.position - self.values).sum(axis=1)


class Reach(KeyedGoal):
    """A point for an arm's tip: `{"goal": [x, y]}` or `[x, y, z]` in m, rewarded by -distance.

    Args:
        space: the space of points.
        nominal: the nominal point.
        splits: its distributions.
        success_distance: m; nearer than this, `info["is_success"]` is true.
    """

    needs = ("tip",)

    def __init__(
        self, space: spaces.Box, nominal: TaskValue, splits: Splits, success_distance: float
    ) -> None:
        require_positive("success_distance", success_distance)
        super().__init__("goal", space, nominal, splits)
        self._success_distance = success_distance

    def distance(self, robot: Quantities) -> np.ndarray:
        """Distance of the tip from the point in m, shape (N,); a goal in the plane has no z."""
        offset = robot.tip[:, : self.values.shape[1]] - self.values
        return np.linalg.norm(offset, axis=1)

    def reward(self, robot: Quantities) -> np.ndarray:
        return -self.distance(robot)

    def info(self, robot: Quantities) -> dict[str, np.ndarray]:
        return {"is_success": self.distance(robot) < self._success_distance}


def pearl_velocities() -> dict[str, np.ndarray]:
    """PEARL's fixed target velocities: 100 for training, 30 for test (oyster, seed 1337)."""
    velocities = np.random.RandomState(1337).uniform(0.0, 3.0, size=130)
    return {"train": velocities[:100], "test": velocities[100:]}
