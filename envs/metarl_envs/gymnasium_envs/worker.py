"""What runs in a worker process: a block of sub-environments, and commands to them."""

import os
import signal
import threading
import traceback
from collections.abc import Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from metarl_envs.gymnasium_envs.definition import SubEnv
from metarl_envs.gymnasium_envs.shared_arrays import SharedArrays
from metarl_envs.protocol import SUCCESS_KEYS

_ORPHANED = 1


def work(make: Any, first: int, last: int, shared: SharedArrays, pipe: Connection) -> None:
    """The loop of one worker: answers None for success, a traceback for failure.

    Args:
        make: wraps the function that makes a sub-environment.
        first: of its sub-environments.
        last: the one behind the last of them.
        shared: arrays of all.
        pipe: brings commands; None ends the loop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=follow_the_parent, daemon=True).start()
    try:
        envs = [make.fn() for _ in range(first, last)]
        views = shared.views()
        pipe.send(None)
        while (message := pipe.recv()) is not None:
            command, rows, payload = message
            rows = range(first, last) if rows is None else rows
            for position, row in enumerate(rows):
                item = payload[position] if len(payload) else None
                run(command, envs[row - first], views, row, item)
            pipe.send(None)
    except (EOFError, KeyboardInterrupt):
        pass
    except BaseException:
        try:
            pipe.send(traceback.format_exc())
        except (BrokenPipeError, OSError):
            pass


def follow_the_parent() -> None:
    """End with the parent, however it ends and whatever hangs here."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(_ORPHANED)


def run(
    command: str, env: SubEnv, views: Mapping[str, np.ndarray], row: int, item: Any = None
) -> None:
    """A command in one sub-environment: "set_task", "reset" (with a seed) or "step"."""
    views["busy"][row] = 1
    if command == "set_task":
        env.set_task(item)
    elif command == "reset":
        views["obs"][row] = env.reset(item)
    else:
        action = views["actions"][row]
        obs, reward, terminated, truncated, info = env.step(env.to_action(action))
        views["obs"][row], views["rewards"][row] = obs, reward
        views["terminated"][row], views["truncated"][row] = terminated, truncated
        for name in SUCCESS_KEYS:
            if name in info:
                views[name][row] = 1 + bool(info[name])
    views["busy"][row] = 0
