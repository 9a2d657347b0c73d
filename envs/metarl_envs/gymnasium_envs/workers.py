"""Worker processes, many sub-environments in each, arrays in shared memory.

One message per worker and call; observations, actions, rewards and flags never travel through a
pipe. A worker that raises sends its traceback; one that dies is noticed through its sentinel, at
once and whatever it was doing; one that hangs is noticed when its time is up.
"""

import multiprocessing
import signal
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper

from metarl_envs.errors import UserError
from metarl_envs.gymnasium_envs.definition import PluginDefinition
from metarl_envs.gymnasium_envs.shared_arrays import SharedArrays
from metarl_envs.gymnasium_envs.worker import run, work

_JOIN_S = 5.0
_REPLACED_IN = ("step", "reset", "set_task")
_START_S = 60.0  # a new process imports much; it may take that long, whatever a step may take


class WorkerError(UserError):
    """A worker process raised, died or hung; names it, what it was doing, and on which task."""


class PoolSettings(NamedTuple):
    """How sub-environments are shared out.

    Attributes:
        num_workers: W; 0 for none, all in this process.
        start_method: "spawn", "fork" or "forkserver".
        timeout_s: longest time that a worker may take for one command.
        restarts: how often a worker that fails is replaced; its episodes are lost.
    """

    num_workers: int
    start_method: str
    timeout_s: float
    restarts: int


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

    def call(
        self, command: str, rows: np.ndarray | None, payload: Sequence[Any] = ()
    ) -> Sequence[int]:
        """Run a command in the sub-environments concerned; none of them is ever lost."""
        for position, row in enumerate(range(len(self._envs)) if rows is None else rows):
            item = payload[position] if len(payload) else None
            run(command, self._envs[row], self._views, row, item)
        return ()

    def env_of(self, row: int) -> gymnasium.Env:
        """What the user has written, without its wrappers."""
        return self._envs[row].env.unwrapped

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
        settings: see there; at most N workers.
        obs_size: O.
        action_size: A (1 for discrete actions).
    """

    def __init__(
        self,
        definition: PluginDefinition,
        num_envs: int,
        settings: PoolSettings,
        obs_size: int,
        action_size: int,
    ) -> None:
        self._settings, self._restarts = settings, settings.restarts
        self._context: Any = multiprocessing.get_context(settings.start_method)
        self.shared = SharedArrays(self._context, num_envs, obs_size, action_size)
        blocks = np.array_split(np.arange(num_envs), min(settings.num_workers, num_envs))
        self._blocks = [(int(block[0]), int(block[-1]) + 1) for block in blocks]
        self._make: Any = definition.make
        self._tasks: list[Any] = [None] * num_envs
        workers = [self._start(index) for index in range(len(self._blocks))]
        self._connections: list[Connection] = [connection for connection, _ in workers]
        self._processes: list[Any] = [process for _, process in workers]
        self._await(range(len(workers)), "start")

    def _start(self, index: int) -> tuple[Connection, Any]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work,
            args=(CloudpickleWrapper(self._make), *self._blocks[index], self.shared, theirs),
            daemon=True,
        )
        # a child that is still importing would answer Ctrl-C with a traceback
        kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, kept)
        theirs.close()
        return ours, process

    def call(
        self, command: str, rows: np.ndarray | None, payload: Sequence[Any] = ()
    ) -> Sequence[int]:
        """Run a command in every worker concerned, and wait for all of them.

        Args:
            command: "reset", "step" or "set_task".
            rows: sub-environments, ascending; None for all.
            payload: one item per row ("reset": seeds, "set_task": tasks).

        Returns:
            Sub-environments whose worker failed and was replaced: they need their tasks and a
            reset.

        Raises:
            WorkerError: if a worker raised, died or hung, and no restarts are left.
        """
        if command == "set_task":
            for position, row in enumerate(range(len(self._tasks)) if rows is None else rows):
                self._tasks[row] = payload[position]
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
                pass  # its sentinel tells
            busy.append(index)
        return self._await(busy, command)

    def _await(self, workers: Sequence[int], command: str) -> list[int]:
        """Wait for the workers' answers; returns the rows of those that had to be replaced."""
        pending, lost = set(workers), list[int]()
        seconds = max(self._settings.timeout_s, _START_S if command == "start" else 0.0)
        deadline = time.monotonic() + seconds
        while pending:
            waiting: dict[Any, int] = {self._connections[i]: i for i in pending}
            waiting |= {self._processes[i].sentinel: i for i in pending}
            ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
            for index in {waiting[one] for one in ready} if ready else set(pending):
                failure = self._answer(index, command, hung=not ready)
                if failure is not None:
                    lost += self._replace(index, command, failure)
                pending.discard(index)
        return lost

    def _answer(self, index: int, command: str, hung: bool) -> str | None:
        """None if a worker has done its work; else what became of it."""
        if hung:
            return f"did not finish '{command}' within {self._settings.timeout_s:g} s"
        try:
            if self._connections[index].poll():
                failure = self._connections[index].recv()
                return None if failure is None else f"failed in '{command}':\n{failure.rstrip()}"
        except (EOFError, ConnectionResetError):
            pass
        self._processes[index].join(_JOIN_S)
        code = self._processes[index].exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        failure = f"died with {how} during '{command}'"
        if command == "start" and code == 1 and self._settings.start_method != "fork":
            failure += (
                '; perhaps your script does its work outside `if __name__ == "__main__":`, and '
                "each worker runs it again"
            )
        return failure

    def _replace(self, index: int, command: str, failure: str) -> range:
        """Start a worker anew, if that is still allowed; returns the rows that it loses."""
        first, last = self._blocks[index]
        busy = np.flatnonzero(self.shared.views()["busy"][first:last])
        where = f"worker {index} (sub-environments {first} to {last - 1})"
        if busy.size:
            row = first + int(busy[0])
            where += f" in sub-environment {row}, task {self._tasks[row]},"
        if command not in _REPLACED_IN or not self._restarts:
            self.close()
            raise WorkerError(f"{where} {failure}")
        self._restarts -= 1
        warnings.warn(f"{where} {failure}\nIt is replaced, its episodes are lost", stacklevel=2)
        self._processes[index].kill()
        self._processes[index].join(_JOIN_S)
        self._connections[index].close()
        self.shared.views()["busy"][first:last] = 0
        self._connections[index], self._processes[index] = self._start(index)
        self._await([index], "start")
        return range(first, last)

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
