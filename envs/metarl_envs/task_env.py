"""The bookkeeping that all batched task environments share."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from metarl_envs.errors import (
    ActionError,
    EnvironmentConfigError,
    TaskError,
    did_you_mean,
    require_positive,
)
from metarl_envs.memory import require_memory
from metarl_envs.protocol import Rows, Transition
from metarl_envs.tasks.batches import Tasks, batch_of_one, check_tasks, take
from metarl_envs.tasks.distributions import TaskDistribution

_BYTES_PER_ENV = 1024  # a generator alone takes half of it


class TaskVectorEnv(VectorEnv):
    """N copies of one environment, each with a task of its own, stepped as one batch.

    Sub-environments never reset on their own (`AutoresetMode.DISABLED`). One whose episode has
    ended stands still: it costs no physics, repeats its last observation and its end flags, and
    earns no reward, until `reset`. A simulation that diverges ends its own episode: it is
    reported as truncated, with `info["diverged"]`, a reward of zero and its last finite
    observation.

    A subclass defines `task_space`, `nominal_task`, `_distributions`, `_apply_tasks`,
    `_reset_rows`, `_observe` and `_advance`, all over the leading axis.

    Attributes:
        task_space: the space of a single task.
        nominal_task: the task that leaves the robot as its model defines it.
        shares_tasks: True where the literature trains and tests on the same few tasks.
        render_modes: what `draw` accepts.
        render_fps: of a film of every control step.
        step_s: seconds of simulated time of a control step, None where there is no time.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    task_space: spaces.Dict
    nominal_task: dict[str, Any]
    shares_tasks: bool = False
    render_modes: tuple[str, ...] = ()
    render_fps: int = 20
    step_s: float | None = None

    def __init__(
        self,
        num_envs: int,
        *,
        observation_size: int,
        action_low: np.ndarray,
        action_high: np.ndarray,
        action_scale: float,
        max_episode_steps: int | None,
    ) -> None:
        require_positive("num_envs", num_envs)
        require_memory(f"{num_envs:,} sub-environments", num_envs * _BYTES_PER_ENV)
        if max_episode_steps is not None:
            require_positive("max_episode_steps", max_episode_steps)
        require_positive("action_scale", action_scale)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.observation_size = observation_size
        # a row per sub-environment: broadcasting over a few actuators is several times slower
        self._lowest, self._highest = np.stack([[action_low, action_high]] * num_envs, axis=1)
        self.action_scale = action_scale
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (observation_size,), np.float64)
        self.single_action_space = spaces.Box(
            np.float32(action_low * action_scale), np.float32(action_high * action_scale)
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._oldest = 0  # steps since the earliest reset
        self._terminated, self._truncated = np.zeros((2, num_envs), bool)
        self._ended: np.ndarray | None = None  # None while every episode runs
        self._generators: list[np.random.Generator] | None = None
        self._observations = np.zeros((num_envs, observation_size))
        self.tasks = take(self._checked_task(self.nominal_task), np.zeros(num_envs, np.int64))
        self._tasks_under_way = {key: values.copy() for key, values in self.tasks.items()}
        self._has_new_task = np.zeros(num_envs, bool)

    # Tasks

    @property
    def physics_s(self) -> float:
        """Seconds spent in a physics engine so far."""
        return 0.0

    @property
    def tasks_in_force(self) -> Tasks:
        """The tasks as they hold in the episodes under way."""
        return self._tasks_under_way

    @property
    def elapsed_steps(self) -> np.ndarray:
        """Steps since the start of each sub-environment's episode, shape (N,)."""
        return self._elapsed

    @property
    def task_splits(self) -> tuple[str, ...]:
        """Names of the task distributions of this environment."""
        return tuple(self._distributions())

    def task_distribution(self, split: str) -> TaskDistribution:
        """The distribution named `split`; see `tasks.splits`.

        Raises:
            TaskError: if this environment has no such split.
        """
        distributions = self._distributions()
        if split not in distributions:
            raise TaskError(
                f"no task split {split!r}{did_you_mean(split, distributions)}; "
                f"{type(self).__name__} has: {', '.join(distributions)}"
            )
        return distributions[split]

    def set_tasks(self, tasks: Mapping[str, Any]) -> None:
        """Give every sub-environment a task, in force from its next reset.

        Args:
            tasks: one array-like per key of `task_space`, with leading axis `num_envs`.

        Raises:
            TaskError: if a task does not belong to `task_space`; nothing is changed then.
        """
        self.tasks = check_tasks(self.task_space, tasks, self.num_envs)
        self._has_new_task[:] = True

    def _checked_task(self, task: Mapping[str, Any]) -> Tasks:
        return check_tasks(self.task_space, batch_of_one(task), 1)

    # Episodes

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes, in all sub-environments or in those of `options["reset_mask"]`.

        Args:
            seed: an integer s seeds sub-environment i with s + i; a sequence gives one seed
                each; None goes on with the generators as they are.
            options: `{"reset_mask": bool array (num_envs,)}` or None.

        Returns:
            Observations of all sub-environments, shape (num_envs, O), and an empty info.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        self._seed(seed)
        mask = (options or {}).get("reset_mask")
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        changed = rows[self._has_new_task[rows]]
        if changed.size:
            for key, values in self.tasks.items():
                self._tasks_under_way[key][changed] = values[changed]
            self._apply_tasks(take(self.tasks, changed), changed)
            self._has_new_task[changed] = False
        assert self._generators is not None
        self._elapsed[rows] = 0
        self._reset_rows(rows, [self._generators[row] for row in rows])
        self._terminated[rows] = False
        self._truncated[rows] = False
        self._oldest = int(self._elapsed.max())
        self._ended = _unless_empty(self._terminated | self._truncated)
        self._observations = self._held(self._observe(), self._ended)
        return self._observations.copy(), {}

    def _seed(self, seed: int | Sequence[int] | None) -> None:
        if seed is None and self._generators is not None:
            return
        if seed is None:
            seeds = np.random.SeedSequence().generate_state(self.num_envs, np.uint64).tolist()
        elif isinstance(seed, (int, np.integer)):
            seeds = list(range(int(seed), int(seed) + self.num_envs))
        else:
            seeds = [int(s) for s in seed]
        if len(seeds) != self.num_envs:
            raise EnvironmentConfigError(f"{len(seeds)} seeds for {self.num_envs} sub-environments")
        self._generators = [np.random.Generator(np.random.PCG64(s)) for s in seeds]

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every running episode by one control step.

        Args:
            actions: shape (num_envs, A); divided by `action_scale` and clipped to the range.

        Returns:
            Observations (num_envs, O), rewards, terminated, truncated (num_envs,) and info.

        Raises:
            ActionError: for a wrong shape or a value that is not finite; nothing moves then.
        """
        control = self._control(actions)
        running = True if self._ended is None else ~self._ended
        self._elapsed += running
        self._oldest += 1
        step = self._advance(control, None if running is True else np.flatnonzero(running))
        observations, rewards, diverged = step.observations, step.rewards, self._diverged(step)
        if diverged is not None:
            rewards = np.where(diverged, 0.0, rewards)
            observations = self._held(observations, diverged)
        if self._ended is not None:
            rewards = np.where(self._ended, 0.0, rewards)
            observations = self._held(observations, self._ended)
        self._end(step, diverged, running)
        self._observations = observations
        info: dict[str, Any] = {}
        for key, values in step.info.items():
            info |= {key: values, f"_{key}": np.full(self.num_envs, running)}
        if diverged is not None:
            info |= {"diverged": diverged, "_diverged": diverged.copy()}
        return observations.copy(), rewards, self._terminated.copy(), self._truncated.copy(), info

    def _end(self, step: Transition, diverged: np.ndarray | None, running: Any) -> None:
        limit = self.max_episode_steps or 0
        late = 0 < limit <= self._oldest
        terminated = None if step.terminated is None else _unless_empty(step.terminated)
        if terminated is None and step.truncated is None and diverged is None and not late:
            return
        sound = running if diverged is None else running & ~diverged
        if terminated is not None:
            self._terminated = self._terminated | terminated & sound
        if step.truncated is not None:
            self._truncated = self._truncated | step.truncated & sound & ~self._terminated
        if late:
            self._truncated = self._truncated | (self._elapsed >= limit) & ~self._terminated
        if diverged is not None:
            self._truncated = self._truncated | diverged
        self._ended = _unless_empty(self._terminated | self._truncated)

    def _diverged(self, step: Transition) -> np.ndarray | None:
        diverged = step.diverged
        # one sum tells that all numbers are finite; only if it is not does it matter which
        if not math.isfinite(step.observations.sum() + step.rewards.sum()):
            lost = ~(np.isfinite(step.observations).all(axis=1) & np.isfinite(step.rewards))
            diverged = lost if diverged is None else diverged | lost
        if diverged is None:
            return None
        return _unless_empty(diverged if self._ended is None else diverged & ~self._ended)

    def _held(self, observations: np.ndarray, held: np.ndarray | None) -> np.ndarray:
        if held is None:
            return observations
        return np.where(held[:, None], self._observations, observations)

    def _control(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions)
        if actions.shape != self._lowest.shape:
            raise ActionError(f"actions have shape {actions.shape}, expected {self._lowest.shape}")
        control = np.divide(actions, self.action_scale, dtype=np.float64)
        if not math.isfinite(control.sum()) and not np.isfinite(control).all():
            row = int(np.argwhere(~np.isfinite(control))[0, 0])
            raise ActionError(
                f"the action of sub-environment {row} is not finite: {actions[row].tolist()}"
            )
        np.maximum(control, self._lowest, out=control)
        return np.minimum(control, self._highest, out=control)

    # What a family of environments defines

    @abstractmethod
    def _distributions(self) -> Mapping[str, TaskDistribution]:
        """By split name: "train", "test" and others."""

    @abstractmethod
    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        """Put `tasks` (leading axis len(rows)) in force in the given sub-environments."""

    @abstractmethod
    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        """Put the given sub-environments into initial states, one generator each."""

    @abstractmethod
    def _observe(self) -> np.ndarray:
        """A fresh array of all observations, shape (num_envs, O)."""

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        raise EnvironmentConfigError(f"{type(self).__name__} draws nothing")

    @abstractmethod
    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        """Step the given sub-environments; rows that stand still may hold anything."""


def _unless_empty(flags: np.ndarray) -> np.ndarray | None:
    return flags if flags.any() else None
