"""Watch a robot while it lives, in a window or in a browser."""

import argparse
import math
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import metarl
from metarl.command_line import parsed_json
from metarl.errors import ConfigError, UserError
from metarl.learners.base import MetaLearner
from metarl.reports.video import drawn
from metarl.reports.viewer.session import Session

_LAST_PORT = 65535


def main(arguments: argparse.Namespace) -> None:
    """Load, show until it is closed."""
    if not 0.0 < arguments.speed < math.inf:
        raise ConfigError(f"--speed must be positive and finite, got {arguments.speed}")
    if not 0 <= arguments.port <= _LAST_PORT:
        raise ConfigError(f"--port must be from 0 to {_LAST_PORT}, got {arguments.port}")
    try:
        from metarl.reports.viewer.browser import BrowserViewer
        from metarl.reports.viewer.desktop import HELP, run_desktop
    except ImportError as error:
        raise ConfigError(f"it needs {error.name}: pip install metarl-robotics[report]") from None
    task = None if arguments.task is None else parsed_json("--task", arguments.task)
    learner = metarl.load(arguments.path, trust_imports=arguments.allow_import)
    session = session_of(learner, task, arguments)
    try:
        if _has_screen() and not arguments.browser:
            print(HELP)
            run_desktop(session, arguments.speed)
            return
        viewer = BrowserViewer(session, arguments.host, arguments.port, arguments.speed)
        print(f"watch at {viewer.url}", flush=True)
        try:
            viewer.run()
        finally:
            viewer.close()
    finally:
        session.close()


def session_of(
    learner: MetaLearner, task: Mapping[str, Any] | None, arguments: argparse.Namespace
) -> Session:
    """With pictures, where the environment draws any."""
    from metarl.reports.scene import Simulated  # needs an extra

    settings = {"episodes": arguments.episodes, "seed": arguments.seed}
    with ExitStack() as failing:
        try:
            session = Session(learner, task, **settings, render_mode="rgb_array")
            failing.callback(session.close)
            if not isinstance(session.env.get_wrapper_attr("vector_env"), Simulated):
                drawn(session.env)
            failing.pop_all()
            return session
        except UserError as error:
            why = error
    session = Session(learner, task, **settings)  # what else is wrong is said by this
    print(f"without a picture: {why}")
    return session


def _has_screen() -> bool:
    return sys.platform != "linux" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
