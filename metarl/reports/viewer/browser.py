"""The robot in a browser, with everything that can be done to it. Needs the extra `report`."""

import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import mujoco
import numpy as np
import viser

from metarl.errors import UserError
from metarl.reports.scene import CAMERA, LOOKED_AT, RobotShape, Simulated, pose_of
from metarl.reports.viewer.session import Session, TaskNumber, status

_STEPS, _PUSH_STEPS, _PICTURES_HZ, _HEAVIEST_KG = 0.02, 10, 5.0, 10.0
_NONE = "none"


class BrowserViewer:
    """Serves a session until it is closed.

    Args:
        session: what is watched.
        host: address to listen on; only this machine by default.
        port: to listen on; 0 for any that is free.
        speed: of the robot, 1 for real time.

    Attributes:
        url: where it is served.
    """

    def __init__(
        self, session: Session, host: str = "127.0.0.1", port: int = 8080, speed: float = 1.0
    ) -> None:
        self._session, self._speed = session, speed
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._complaint = ""
        self._wishes = list[Callable[[], object]]()  # since the last step
        with redirect_stdout(StringIO()):  # viser greets
            self._server = viser.ViserServer(host=host, port=port, verbose=False)
        self.url = f"http://{host}:{self._server.get_port()}"
        self._server.initial_camera.position = CAMERA
        self._server.initial_camera.look_at = LOOKED_AT
        self._add_shape()
        self._add_controls()

    def _add_shape(self) -> None:
        batch = self._session.env.get_wrapper_attr("vector_env")
        self._simulated = batch if isinstance(batch, Simulated) else None
        self._step_s = batch.step_s or 1.0 / batch.render_fps
        if self._simulated is not None:
            engine = self._simulated.simulations.batch
            self._model = engine.get_model(0)
            self._data = mujoco.MjData(self._model)
            start = pose_of(engine, self._model, self._data)
            self._shape = RobotShape(self._server, "robot", self._model, start)
        else:
            self._picture = self._server.gui.add_image(np.zeros((64, 64, 3), np.uint8))
        self._drawn_at = 0.0

    def _add_controls(self) -> None:
        gui, session = self._server.gui, self._session
        self._status = gui.add_markdown("")
        adapt = gui.add_button("Adapt")
        adapt.on_click(lambda _: self.wish(session.adapt))
        gui.add_button("Forget").on_click(lambda _: self.wish(session.forget))
        self._sliders = {}
        with gui.add_folder("Task"):
            for number in session.numbers:
                self._sliders[number] = self._slider(number)
        with gui.add_folder("Disturbances"):
            if session.env.bodies is not None:
                push = gui.add_slider("push, N", 0.0, 500.0, 10.0, 100.0)
                gui.add_button("Push").on_click(
                    lambda _: self.wish(
                        lambda: session.env.push((-float(push.value), 0.0, 0.0), _PUSH_STEPS)
                    )
                )
                load = gui.add_slider("payload, kg", 0.0, _HEAVIEST_KG, 0.1, 0.0)
                load.on_update(lambda _: self.wish(lambda: session.env.load(float(load.value))))
            names = [_NONE, *map(str, range(session.env.num_motors))]
            dead = gui.add_dropdown("dead motor", names)
            dead.on_update(lambda _: self.wish(lambda: session.env.kill(_motor(dead.value))))

    def _slider(self, number: TaskNumber) -> Any:
        value = float(np.ravel(self._session.task[number.key])[max(0, number.place)])
        low, high = min(number.low, value), max(number.high, value)
        step = 1.0 if number.whole else (high - low) * _STEPS or 1.0
        slider = self._server.gui.add_slider(number.name, low, high, step, value)
        slider.on_update(lambda _: self.wish(self._change_task))
        return slider

    def _change_task(self) -> None:
        task = {key: np.array(value) for key, value in self._session.task.items()}
        for number, slider in self._sliders.items():
            np.reshape(task[number.key], -1)[max(0, number.place)] = slider.value
        self._session.change_task(task)

    def wish(self, wish: Callable[[], object]) -> None:
        """Have something done to the session before its next step."""
        with self._lock:
            self._wishes.append(wish)

    def run(self) -> None:
        """Let the robot live, in real time, until `close`."""
        while not self._closed.is_set():
            start = time.monotonic()
            with self._lock:
                wishes, self._wishes = self._wishes, []
            if wishes:
                self._status.content = "at it ..."  # adapting takes its time
            for wish in wishes:
                self._grant(wish)
            self._session.advance()
            self._draw()
            self._closed.wait(max(0.0, self._step_s / self._speed - (time.monotonic() - start)))
        with redirect_stdout(StringIO()):
            self._server.stop()

    def _grant(self, wish: Callable[[], object]) -> None:
        self._complaint = ""
        try:
            wish()
        except UserError as error:  # the robot lives on
            self._complaint = str(error)

    def _draw(self) -> None:
        session, now = self._session, time.monotonic()
        if self._simulated is not None:
            pose = pose_of(self._simulated.simulations.batch, self._model, self._data)
            self._shape.show(pose, f"return {session.total:.0f}")
        if now - self._drawn_at < 1.0 / _PICTURES_HZ:
            return
        self._drawn_at = now
        if self._simulated is None and session.env.render_mode is not None:
            self._picture.image = np.asarray(session.env.render())
        self._status.content = f"{status(session)}\n\n{self._complaint}"

    def close(self) -> None:
        """End `run`."""
        self._closed.set()


def _motor(name: str) -> int | None:
    return None if name == _NONE else int(name)
