"""N simulations of one model on MuJoCo's native batch, each with model fields of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from metarl_envs.engine.model import model_field, object_id
from metarl_envs.memory import require_memory

# Engine warnings after which MuJoCo has reset the simulation by itself: bad positions, velocities
# and accelerations, one after the other
_FATAL_WARNINGS = slice(
    int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1
)
_BYTES_PER_SIMULATION = 2**19  # of Gymnasium's robots: 0.6 to 1 MiB (measured)
_threads: ContextVar[int] = ContextVar("physics_threads", default=0)


@contextmanager
def physics_threads(count: int) -> Iterator[None]:
    """Environments made inside step on so many threads, 0 for all CPUs, unless they say otherwise.

    Results do not depend on it.
    """
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


class NativeSimulations:
    """All simulations of a robot, stepped in one native call.

    Args:
        model: of the robot.
        num_envs: N.
        num_threads: physics threads; 0 takes what `physics_threads` says.

    Attributes:
        batch: the engine's.
        qpos: positions, shape (N, nq), a live view.
        qvel: velocities, shape (N, nv), a live view.
        elapsed_steps: control steps since the start of each episode, shape (N,).
        physics_s: seconds spent in the physics engine so far.
    """

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int = 0) -> None:
        require_memory(f"{num_envs:,} simulations", num_envs * _BYTES_PER_SIMULATION)
        self.model, self.num_envs = model, num_envs
        self.batch = Batch(model, num_envs, num_threads or _threads.get())
        self.qpos, self.qvel = self.bind("qpos"), self.bind("qvel")
        self._ctrl = self.bind("ctrl")
        self.elapsed_steps = np.zeros(num_envs, np.int64)
        self.physics_s = 0.0
        self._nominal: dict[str, np.ndarray] = {}

    def bind(self, name: str) -> np.ndarray:
        """A field of `MjData` of all simulations, a live view with leading axis N."""
        bound: np.ndarray = self.batch.bind(name)
        return bound

    def body_positions(self, name: str) -> np.ndarray:
        """Positions of a named body in m, shape (N, 3), a live view.

        They lag one simulator step behind `qpos`, as in Gymnasium.

        Raises:
            EnvironmentConfigError: if the model has no such body.
        """
        return self.bind("xpos")[:, object_id(self.model, "body", name)]

    def field(self, name: str) -> np.ndarray:
        """A model field of all simulations, shape (N, ...), to be written when tasks change.

        Between `restore` and `derive` the rows concerned hold the model's own values.

        Args:
            name: as in `MjModel`, or "opt.<name>".
        """
        if name not in self._nominal:
            self._nominal[name] = model_field(self.model, name)
        expanded: np.ndarray = self.batch.expand(name)
        return expanded

    def restore(self, rows: np.ndarray) -> None:
        """Give back the model's own values in every field that has been written."""
        for name, nominal in self._nominal.items():
            self.batch.expand(name)[rows] = nominal

    def derive(self, rows: np.ndarray) -> None:
        """Let the constants follow that MuJoCo derives from masses and inertias."""
        if self._nominal:
            self.batch.set_const(rows)

    def masses(self) -> np.ndarray:
        """Body masses in kg, shape (N or 1, nbody)."""
        expanded: np.ndarray | None = self.batch.expanded("body_mass")
        return self.model.body_mass[None] if expanded is None else expanded

    def gravity(self) -> np.ndarray:
        """Acceleration of gravity in m/s^2, shape (N or 1, 3)."""
        expanded: np.ndarray | None = self.batch.expanded("opt.gravity")
        return self.model.opt.gravity[None] if expanded is None else expanded

    def reset(self, rows: np.ndarray, states: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put simulations into states (qpos, qvel), one each."""
        self.batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        for row, (qpos, qvel) in zip(rows, states, strict=True):
            self.qpos[row], self.qvel[row] = qpos, qvel
        self.batch.forward(rows)

    def step(self, control: np.ndarray, rows: np.ndarray | None, count: int) -> np.ndarray | None:
        """Take `count` simulator steps in some simulations (None: all).

        Returns:
            Which simulations have diverged, bool (N,), or None if none has.
        """
        self._ctrl[:] = control
        diverged: np.ndarray | None = None
        if rows is None or rows.size:
            start = time.perf_counter()
            try:
                self.batch.step(rows, nstep=count)
            except SimulationError as error:
                diverged = np.isin(np.arange(self.num_envs), error.ids)
            self.physics_s += time.perf_counter() - start
        if np.count_nonzero(self.batch.warning):
            fatal = self.batch.warning[:, _FATAL_WARNINGS, 1].any(axis=1)
            diverged = fatal if diverged is None else diverged | fatal
        return diverged
