"""Worker processes, many sub-environments in each, arrays in shared memory.

One message per worker and call; observations, actions, rewards and flags never travel through a
pipe. A worker that raises sends its traceback; one that dies is noticed through its sentinel, at
once and whatever it was doing.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper

from metarl_envs.errors import UserError
from metarl_envs.gymnasium_envs.definition import PluginDefinition, SubEnv
from metarl_envs.protocol import SUCCESS_KEYS

# of success: 0 where not reported, 1 for no, 2 for yes
_FLAGS = ("terminated", "truncated", *SUCCESS_KEYS)
_JOIN_S = 5.0


class WorkerError(UserError):
    """A worker process raised or died; the message names it and what it was doing."""


class SharedArrays:
    """The arrays that all processes see, one row per sub-environment."""

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


class InProcess:
    """All sub-environments in this process: for environments cheaper than a message.

    The interface of `WorkerPool`; exceptions arrive as they are.
    """

    def __init__(
        self, definition: PluginDefinition, num_envs: int, obs_size: int, action_size: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.shared = SharedArrays(context, num_envs, obs_size, action_size)
        self._views = self.shared.views()
        self._envs = [definition.make() for _ in range(num_envs)]

    def call(self, command: str, rows: np.ndarray | None, payload: Sequence[Any] = ()) -> None:
        """Run a command in the sub-environments concerned."""
        for position, row in enumerate(range(len(self._envs)) if rows is None else rows):
            item = payload[position] if len(payload) else None
            _run(command, self._envs[row], self._views, row, item)

    def draw(self, row: int) -> np.ndarray | None:
        """A frame of one sub-environment, in the mode it was made with."""
        frame = self._envs[row].env.render()
        return frame if isinstance(frame, np.ndarray) else None

    def close(self) -> None:
        """Close all sub-environments; safe to call twice."""
        for env in self._envs:
            env.env.close()
        self._envs = []


class WorkerPool:
    """W processes that hold N sub-environments in consecutive blocks.

    Args:
        definition: how to make a sub-environment.
        num_envs: N.
        num_workers: W, at most N.
        obs_size: O.
        action_size: A (1 for discrete actions).
        start_method: "spawn", "fork" or "forkserver".
    """

    def __init__(
        self,
        definition: PluginDefinition,
        num_envs: int,
        num_workers: int,
        obs_size: int,
        action_size: int,
        start_method: str,
    ) -> None:
        context = multiprocessing.get_context(start_method)
        self.shared = SharedArrays(context, num_envs, obs_size, action_size)
        blocks = np.array_split(np.arange(num_envs), num_workers)
        self._blocks = [(int(block[0]), int(block[-1]) + 1) for block in blocks]
        make: Any = definition.make
        self._connections: list[Connection] = []
        self._processes: list[Any] = []
        for first, last in self._blocks:
            ours, theirs = context.Pipe()
            process = context.Process(  # type: ignore[attr-defined]
                target=_work,
                args=(CloudpickleWrapper(make), first, last, self.shared, theirs),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        self._await(range(num_workers), "start")

    def call(self, command: str, rows: np.ndarray | None, payload: Sequence[Any] = ()) -> None:
        """Run a command in every worker concerned, and wait for all of them.

        Args:
            command: "reset", "step" or "set_task".
            rows: sub-environments, ascending; None for all.
            payload: one item per row ("reset": seeds, "set_task": tasks).

        Raises:
            WorkerError: if a worker raised or died.
        """
        busy = []
        for index, (first, last) in enumerate(self._blocks):
            if rows is None:
                message: Any = (command, None, payload[first:last])
            else:
                low, high = np.searchsorted(rows, (first, last))
                if low == high:
                    continue
                message = (command, rows[low:high], payload[low:high])
            try:
                self._connections[index].send(message)
            except (BrokenPipeError, ConnectionResetError):
                self._fail(index, command, "")
            busy.append(index)
        self._await(busy, command)

    def _await(self, workers: Sequence[int], command: str) -> None:
        pending = set(workers)
        while pending:
            waiting: dict[Any, int] = {self._connections[i]: i for i in pending}
            waiting |= {self._processes[i].sentinel: i for i in pending}
            for ready in wait(list(waiting)):
                index = waiting[ready]
                if index not in pending:
                    continue
                try:
                    failure = (
                        self._connections[index].recv()
                        if self._connections[index].poll()
                        else ""  # only the sentinel fired
                    )
                except (EOFError, ConnectionResetError):
                    failure = ""
                if failure is not None:
                    self._fail(index, command, failure)
                pending.discard(index)

    def _fail(self, index: int, command: str, failure: str) -> None:
        process, (first, last) = self._processes[index], self._blocks[index]
        where = f"worker {index} (sub-environments {first} to {last - 1})"
        if failure:
            self.close()
            raise WorkerError(f"{where} failed in '{command}':\n{failure.rstrip()}")
        process.join(_JOIN_S)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        self.close()
        raise WorkerError(f"{where} died with {how} during '{command}'")

    def close(self) -> None:
        """Stop all workers; safe to call twice."""
        for connection in self._connections:
            try:
                connection.send(None)
            except (BrokenPipeError, OSError):
                pass
        for process in self._processes:
            process.join(0.5)
            if process.is_alive():
                process.kill()
                process.join(_JOIN_S)
        for connection in self._connections:
            connection.close()
        self._connections, self._processes, self._blocks = [], [], []


def _work(make: Any, first: int, last: int, shared: SharedArrays, pipe: Connection) -> None:
    """The loop of one worker: answers None for success, a traceback for failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    try:
        envs = [make.fn() for _ in range(first, last)]
        views = shared.views()
        pipe.send(None)
        while (message := pipe.recv()) is not None:
            command, rows, payload = message
            rows = range(first, last) if rows is None else rows
            for position, row in enumerate(rows):
                item = payload[position] if len(payload) else None
                _run(command, envs[row - first], views, row, item)
            pipe.send(None)
    except (EOFError, KeyboardInterrupt):
        pass
    except BaseException:
        try:
            pipe.send(traceback.format_exc())
        except (BrokenPipeError, OSError):
            pass


def _run(command: str, env: SubEnv, views: Mapping[str, np.ndarray], row: int, item: Any) -> None:
    if command == "set_task":
        env.set_task(item)
        return
    if command == "reset":
        views["obs"][row] = env.reset(item)
        return
    action = views["actions"][row]
    obs, reward, terminated, truncated, info = env.step(env.to_action(action))
    views["obs"][row], views["rewards"][row] = obs, reward
    views["terminated"][row], views["truncated"][row] = terminated, truncated
    for name in SUCCESS_KEYS:
        if name in info:
            views[name][row] = 1 + bool(info[name])
