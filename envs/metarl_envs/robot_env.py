"""A robot as a Gymnasium environment, in real time.

`Robot` is what a user writes for a machine: a handful of lines around its driver. `RobotEnv` keeps
the beat: it sends an action, waits for the next tick, and looks. Actions are limited, lost messages
and late steps have a rule each, and both are counted. It needs neither torch nor metarl, so that it
runs on the robot's own computer beside an exported policy.

Shapes: O observation, A action.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from metarl_envs.errors import EnvironmentConfigError


class Robot(Protocol):
    """A machine. No call may block for longer than a part of a control step, but `start`."""

    def start(self) -> np.ndarray:
        """Bring it to where an episode begins, and look: shape (O,). May take its time."""
        ...

    def act(self, action_A: np.ndarray) -> None:
        """Send an action, in force until the next one."""
        ...

    def observe(self) -> np.ndarray | None:
        """The newest observation (O,); None if none has come since the last call."""
        ...

    def stop(self) -> None:
        """Bring it to rest, safely; called at the end of every episode and after every error."""
        ...


# (observation, action as sent, next observation) -> reward
Reward = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Limits:
    """What a robot is asked for at most, within its action space.

    Raises:
        EnvironmentConfigError: if nothing lies between the lowest and the highest action, or the
            change is not positive.

    Attributes:
        change: of an action from one step to the next, a number or (A,); None for any.
        low: lowest action, a number or (A,); None for that of the space.
        high: highest action.
    """

    change: float | np.ndarray | None = None
    low: float | np.ndarray | None = None
    high: float | np.ndarray | None = None

    def __post_init__(self) -> None:
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        if not np.all(np.asarray(low) <= np.asarray(high)):
            raise EnvironmentConfigError(f"limits from {low} to {high} leave no action")
        if self.change is not None and not np.all(np.asarray(self.change) > 0):
            raise EnvironmentConfigError(f"the change of an action must be positive: {self.change}")

    def of(self, action_A: np.ndarray, before_A: np.ndarray | None) -> np.ndarray:
        """The nearest action that is allowed after `before_A` (None at the start)."""
        if self.low is not None or self.high is not None:
            action_A = np.clip(action_A, self.low, self.high)
        if self.change is not None and before_A is not None:
            action_A = np.clip(action_A, before_A - self.change, before_A + self.change)
        return action_A


@dataclass
class Timing:
    """What a control loop took, and what went wrong in it.

    Attributes:
        act_s: seconds from each observation to the action that followed from it.
        late: actions that came after their step had ended.
        missed: steps without an observation, which saw the one before again.
        limited: actions that were cut to the limits.
    """

    act_s: list[float] = field(default_factory=list)
    late: int = 0
    missed: int = 0
    limited: int = 0


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile of some times, in milliseconds; NaN of none."""
    if not seconds:
        return float("nan"), float("nan")
    median, high = np.percentile(seconds, (50, 99))
    return 1e3 * float(median), 1e3 * float(high)


class RobotEnv(gymnasium.Env):
    """Episodes on a robot, one control step per tick.

    A step sends the action, waits for the tick, and looks. An action that is ready only after its
    step has ended (the robot has been going on with the one before) is late: with `on_late="hold"`
    it is sent at once and the beat starts anew from there; with "stop" the episode is truncated.
    Where no observation has come the last one stands in; after `max_missed` in a row the episode is
    truncated. `info` tells both. The robot is stopped whenever an episode ends and at every error.

    Args:
        robot: the machine.
        observation_space: of the policy, a `Box` (O,).
        action_space: of the policy, a `Box` (A,).
        reward: of a step; None where nothing is learned from rewards (they read 0).
        terminated: whether an episode is over at an observation, such as after a fall.
        rate_hz: control steps per second; 0 for no clock (each step as soon as it can).
        max_episode_steps: horizon.
        limits: of actions.
        on_late: see above.
        max_missed: steps in a row without an observation that an episode survives.

    Raises:
        EnvironmentConfigError: if spaces or numbers are not allowed.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        robot: Robot,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        *,
        reward: Reward | None = None,
        terminated: Callable[[np.ndarray], bool] | None = None,
        rate_hz: float = 50.0,
        max_episode_steps: int = 200,
        limits: Limits | None = None,
        on_late: Literal["hold", "stop"] = "hold",
        max_missed: int = 5,
    ) -> None:
        if not isinstance(action_space, spaces.Box):
            raise EnvironmentConfigError(f"a robot takes a Box of actions, got {action_space}")
        if not rate_hz >= 0 or max_episode_steps < 1 or max_missed < 0:
            raise EnvironmentConfigError(
                "rate_hz and max_missed must not be negative, max_episode_steps positive; got "
                f"{rate_hz}, {max_missed} and {max_episode_steps}"
            )
        if on_late not in ("hold", "stop"):
            raise EnvironmentConfigError(f"on_late must be hold or stop, got {on_late!r}")
        self.robot, self.gives_rewards = robot, reward is not None
        self.observation_space, self.action_space = observation_space, action_space
        self.timing = Timing()
        self.spec = EnvSpec("Robot-v0", max_episode_steps=max_episode_steps)
        self._horizon = max_episode_steps
        self._reward, self._terminated = reward, terminated
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self._limits, self._stops_late = limits or Limits(), on_late == "stop"
        self._max_missed = max_missed
        self._before_A: np.ndarray | None = None
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; a robot knows no seed."""
        super().reset(seed=seed)
        try:
            self._obs = self._checked(self.robot.start())
        except BaseException:
            self.robot.stop()
            raise
        self._before_A, self._steps, self._missed_in_a_row = None, 0, 0
        self._is_over = False
        self._seen_s = self._tick_s = time.perf_counter()
        return self._obs, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step; see `gymnasium.Env.step`."""
        if self._is_over:
            raise EnvironmentConfigError("the episode is over, and the robot at rest: call reset")
        try:
            return self._step(np.asarray(action, np.float64))
        except BaseException:
            self._is_over = True
            self.robot.stop()
            raise

    def _step(self, action_A: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        sent_A = self._send(action_A)
        info: dict[str, Any] = {"late": self._is_late}
        obs, found = self._obs, None
        ended_late = self._is_late and self._stops_late
        if not ended_late:
            self._wait()
            found = self.robot.observe()
        if found is None:
            self.timing.missed += not ended_late
            self._missed_in_a_row += 1
        else:
            self._obs, self._missed_in_a_row = self._checked(found), 0
        self._seen_s = time.perf_counter()
        self._steps += 1
        reward = 0.0 if self._reward is None else float(self._reward(obs, sent_A, self._obs))
        if not np.isfinite(reward):
            raise EnvironmentConfigError(f"the reward is {reward}: nothing is learned from it")
        over = self._terminated is not None and bool(self._terminated(self._obs))
        info["missed"] = found is None and not ended_late
        truncated = (
            self._steps >= self._horizon or self._missed_in_a_row > self._max_missed or ended_late
        )
        if over or truncated:
            self._is_over = True
            self.robot.stop()
        return self._obs, reward, over, truncated, info

    def _send(self, action_A: np.ndarray) -> np.ndarray:
        """Send the nearest action that is allowed, unless it is late and lateness ends it."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        if action_A.shape != space.shape or not np.isfinite(action_A).all():
            raise EnvironmentConfigError(
                f"an action must be finite and of shape {space.shape}, got {action_A}"
            )
        inside_A = np.clip(action_A, space.low, space.high)
        sent_A = np.clip(self._limits.of(inside_A, self._before_A), space.low, space.high)
        self.timing.limited += bool((sent_A != inside_A).any())
        now = time.perf_counter()
        self.timing.act_s.append(now - self._seen_s)
        self._is_late = bool(self._period_s) and now > self._tick_s + self._period_s
        self.timing.late += self._is_late
        if self._is_late:
            self._tick_s = now
        if not (self._is_late and self._stops_late):
            self.robot.act(sent_A)
            self._before_A = sent_A
        return sent_A

    def _wait(self) -> None:
        """Until the next tick."""
        self._tick_s += self._period_s
        rest = self._tick_s - time.perf_counter()
        if rest > 0:
            time.sleep(rest)

    def _checked(self, obs: np.ndarray) -> np.ndarray:
        """An observation that the policy can take.

        Raises:
            EnvironmentConfigError: if it is of another shape or not finite.
        """
        values = np.asarray(obs, np.float64)
        if values.shape != self.observation_space.shape:
            raise EnvironmentConfigError(
                f"the robot observes shape {values.shape}, expected {self.observation_space.shape}"
            )
        if not np.isfinite(values).all():
            raise EnvironmentConfigError("the robot's observation is not finite")
        return values

    def close(self) -> None:
        """Stop the robot."""
        self._is_over = True
        self.robot.stop()
