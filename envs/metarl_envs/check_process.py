"""The checker in a process of its own, for environments that may hang or crash."""

import multiprocessing
import threading
from multiprocessing.connection import Connection
from typing import Any

from gymnasium.vector.utils import CloudpickleWrapper

from metarl_envs.checker import check_task_env
from metarl_envs.errors import UserError, one_line
from metarl_envs.gymnasium_envs.definition import PluginDefinition
from metarl_envs.gymnasium_envs.worker import follow_the_parent

_STAGE, _DONE = "stage", "done"


def check_in_process(definition: PluginDefinition, timeout_s: float) -> list[str]:
    """`check_task_env` on an environment made in another process.

    Args:
        definition: the environment, and where its tasks come from.
        timeout_s: longest time that anything asked of the environment may take.
    """
    context: Any = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    wrapped = CloudpickleWrapper(definition.resolved())  # type: ignore[arg-type]
    process = context.Process(target=_check, args=(wrapped, theirs))
    process.start()
    theirs.close()
    stage = "making the environment"
    try:
        while ours.poll(timeout_s):
            kind, value = ours.recv()
            if kind == _DONE:
                findings: list[str] = value
                return findings
            stage = value
        return [f"{stage} does not end within {timeout_s:g} s"]
    except EOFError:
        process.join()
        return [f"the process died (exit code {process.exitcode}) in: {stage}"]
    finally:
        process.kill()
        process.join()
        ours.close()


def _check(wrapped: Any, pipe: Connection) -> None:
    threading.Thread(target=follow_the_parent, daemon=True).start()
    definition: PluginDefinition = wrapped.fn
    try:
        env = definition.make().env
    except UserError as error:
        pipe.send((_DONE, [str(error)]))
        return
    except Exception as error:  # whatever the author's constructor raises
        message = one_line(error)
        pipe.send(
            (_DONE, [f"making the environment raises {type(error).__name__}: {message[:500]}"])
        )
        return
    findings = check_task_env(env, definition, lambda stage: pipe.send((_STAGE, stage)))
    pipe.send((_DONE, findings))
