"""The robot in MuJoCo's own window; keys do what the browser's controls do."""

import time

import mujoco
import mujoco.viewer

from metarl.errors import ConfigError
from metarl.reports.scene import Simulated
from metarl.reports.viewer.session import Session, status

_ADAPT, _FORGET, _PUSH = ord("A"), ord("F"), ord("P")
HELP = "keys: A adapts, F forgets, P pushes"


def run_desktop(session: Session, speed: float = 1.0) -> None:
    """Show a session until the window is closed.

    Raises:
        ConfigError: if its environment has no engine.
    """
    batch = session.env.get_wrapper_attr("vector_env")
    if not isinstance(batch, Simulated):
        raise ConfigError(
            "MuJoCo's window shows native environments that do not show the task: take --browser"
        )
    engine = batch.simulations.batch
    model = engine.get_model(0)
    data, pressed = mujoco.MjData(model), list[int]()
    with mujoco.viewer.launch_passive(model, data, key_callback=pressed.append) as window:
        while window.is_running():
            start = time.monotonic()
            for key in (pressed.pop(0) for _ in range(len(pressed))):
                if key == _ADAPT:
                    session.adapt()
                elif key == _FORGET:
                    session.forget()
                elif key == _PUSH:
                    session.env.push((-100.0, 0.0, 0.0), 10)
            if session.advance():
                print(status(session).replace("*", "").replace("\n\n", "; "))
            engine.get_data(0, data)
            mujoco.mj_forward(model, data)
            window.sync()
            rest = (batch.step_s or 0.02) / speed - (time.monotonic() - start)
            time.sleep(max(0.0, rest))
