"""Any Gymnasium environment behind the contract of batched task environments."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl_envs.errors import EnvironmentConfigError, require_positive
from metarl_envs.gymnasium_envs.definition import PluginDefinition
from metarl_envs.gymnasium_envs.workers import InProcess, PoolSettings, WorkerPool
from metarl_envs.protocol import SUCCESS_KEYS, Rows, Transition
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks.batches import Tasks, take
from metarl_envs.tasks.distributions import TaskDistribution

_START_METHODS = ("spawn", "fork", "forkserver")


class PluginEnv(TaskVectorEnv):
    """N copies of a Gymnasium environment in W worker processes.

    Tasks, seeds, horizons and ended episodes behave as in the native environments. Actions are
    clipped to the action space (Box) or are indices, shape (N, 1) (Discrete). Dict observations
    are flattened.

    Args:
        num_envs: N.
        definition: the environment and where its tasks come from.
        num_workers: W, cut to N; 0 steps everything in this process, which is faster where a
            step costs less than some 20 microseconds.
        start_method: how workers start: "spawn" (safe everywhere), "fork" or "forkserver".
        timeout_s: longest time that a worker may take for one command; then it counts as hung.
        restarts: how often a worker that fails is replaced: its episodes then count as diverged (a
            reset or task is tried again), and the others go on.
        action_scale: see `MujocoTaskEnv`; 1 for Discrete actions.
        max_episode_steps: horizon, or None for the environment's own.

    Raises:
        EnvironmentConfigError: if the environment cannot serve.
        WorkerError: if a worker raises, dies or hangs, and `restarts` are used up.
    """

    def __init__(
        self,
        num_envs: int,
        definition: PluginDefinition,
        *,
        num_workers: int = 2,
        start_method: str = "spawn",
        timeout_s: float = 300.0,
        restarts: int = 0,
        action_scale: float = 1.0,
        max_episode_steps: int | None = None,
    ) -> None:
        require_positive("num_envs", num_envs)
        _require_workers(settings := PoolSettings(num_workers, start_method, timeout_s, restarts))
        definition = definition.resolved()
        probe = definition.make()
        try:
            self.task_space, self._splits = definition.task_space_and_splits(probe)
            shape, actions = probe.observation_space.shape or (), probe.action_space
            self.render_modes = tuple(probe.env.metadata.get("render_modes", ()))
            self.render_fps = _whole_fps(probe.env.metadata.get("render_fps"), self.render_fps)
            self.step_s = _step_s(probe.env.unwrapped)
        finally:
            probe.env.close()
        self.nominal_task, bounds = _centre(self.task_space), _bounds(actions)
        super().__init__(
            num_envs,
            observation_size=math.prod(shape),
            action_low=bounds[0],
            action_high=bounds[1],
            action_scale=action_scale,
            max_episode_steps=max_episode_steps,
        )
        if isinstance(actions, spaces.Discrete):
            self.single_action_space = spaces.Discrete(int(actions.n))
        self._pool = _pool(definition, num_envs, settings, (math.prod(shape), len(bounds[0])))
        self._views = self._pool.shared.views()
        self._has_new_task[:] = True
        self._lost = np.zeros(num_envs, bool)  # until the next reset
        self._unprepared = np.zeros(num_envs, bool)  # in a worker that has only just started

    def _distributions(self) -> Mapping[str, TaskDistribution]:
        return self._splits

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        singles = [{key: values[i] for key, values in tasks.items()} for i in range(len(rows))]
        self._start_anew(self._pool.call("set_task", rows, singles))

    def _start_anew(self, replaced: Sequence[int]) -> None:
        """Give sub-environments of new workers their tasks; a reset is what they need then."""
        rows = np.asarray(sorted(replaced), int)
        if rows.size:
            self._unprepared[rows] = True
            self._apply_tasks(take(self.tasks, rows), rows)

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        seeds = dict(zip(rows.tolist(), (int(g.integers(2**31)) for g in generators), strict=True))
        self._unprepared[rows] = True
        while self._unprepared.any():
            pending = np.flatnonzero(self._unprepared)
            self._unprepared[:] = False
            items = [seeds.get(row, 0) for row in pending.tolist()]
            replaced = self._pool.call("reset", pending, items)
            # episodes that had no reset to repeat are lost
            self._lost[np.setdiff1d(pending, rows)] = True
            self._start_anew(replaced)
        self._lost[rows] = False
        for name in (*SUCCESS_KEYS, "terminated", "truncated"):
            self._views[name][rows] = 0

    def _observe(self) -> np.ndarray:
        return self._views["obs"].copy()

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        self._views["actions"][:] = control
        if rows is None or rows.size:
            replaced = list(self._pool.call("step", rows))
            self._has_new_task[replaced] = self._lost[replaced] = True
        views = self._views
        info = {name: views[name] > 1 for name in SUCCESS_KEYS if views[name].any()}
        return Transition(
            self._observe(),
            views["rewards"].copy(),
            views["terminated"] > 0,
            info,
            views["truncated"] > 0,
            self._lost.copy() if self._lost.any() else None,
        )

    def env_of(self, row: int) -> gymnasium.Env | None:
        """The environment behind a sub-environment; None where it lives in another process."""
        return self._pool.env_of(row) if isinstance(self._pool, InProcess) else None

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one sub-environment; needs `num_workers=0` and a `render_mode`.

        Raises:
            EnvironmentConfigError: if the environments live in other processes.
        """
        if not isinstance(self._pool, InProcess):
            raise EnvironmentConfigError("to draw a plugged-in environment, take num_workers=0")
        return self._pool.draw(row)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the workers."""
        self._pool.close()

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.close()


def _step_s(env: gymnasium.Env) -> float | None:
    """Seconds of a control step, where the environment tells as Gymnasium's own do."""
    dt = getattr(env, "dt", None)
    return float(dt) if isinstance(dt, float | int) and dt > 0 else None


def _require_workers(settings: PoolSettings) -> None:
    require_positive("timeout_s", settings.timeout_s)
    for name in ("num_workers", "restarts"):
        if getattr(settings, name) < 0:
            raise EnvironmentConfigError(
                f"{name} must not be negative, got {getattr(settings, name)}"
            )
    if settings.start_method not in _START_METHODS:
        raise EnvironmentConfigError(
            f"start_method must be one of {', '.join(_START_METHODS)}, "
            f"got {settings.start_method!r}"
        )


def _bounds(actions: spaces.Box | spaces.Discrete) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest actions, as vectors."""
    if isinstance(actions, spaces.Discrete):
        return np.zeros(1), np.array([float(actions.n) - 1.0])
    return actions.low.astype(float), actions.high.astype(float)


def _pool(
    definition: PluginDefinition, num_envs: int, settings: PoolSettings, sizes: tuple[int, int]
) -> InProcess | WorkerPool:
    """The sub-environments; `sizes` are those of observations and actions."""
    if settings.num_workers == 0:
        return InProcess(definition, num_envs, *sizes)
    return WorkerPool(definition, num_envs, settings, *sizes)


def _centre(space: spaces.Dict) -> dict[str, Any]:
    """A task in the middle of the space, in force until tasks are set."""
    centre: dict[str, Any] = {}
    for key, part in space.items():
        if isinstance(part, spaces.Discrete):
            centre[key] = int(part.start)
        else:
            assert isinstance(part, spaces.Box)
            middle = 0.5 * (np.clip(part.low, -1e6, 1e6) + np.clip(part.high, -1e6, 1e6))
            centre[key] = middle.astype(part.dtype)
    return centre


def _whole_fps(told: object, otherwise: int) -> int:
    """What an environment tells of itself, if it is a number of frames."""
    found = float(told) if isinstance(told, Real) else 0.0
    return round(found) if 0.5 < found < math.inf else otherwise
