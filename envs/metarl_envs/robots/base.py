"""Task environments on `mujoco.batch.Batch`: all simulations of a robot in one native call."""

import copy
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium.envs.mujoco as gymnasium_mujoco
import mujoco
import numpy as np
from gymnasium import spaces
from mujoco.batch import Batch, SimulationError

from metarl_envs.errors import EnvironmentConfigError
from metarl_envs.parts.goals import TaskPart, combine_splits
from metarl_envs.parts.variations import make_variations
from metarl_envs.task_env import Rows, TaskVectorEnv, Transition
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import TaskDistribution

_ASSETS = Path(gymnasium_mujoco.__file__).parent / "assets"

Variations = Mapping[str, Mapping[str, Any] | None] | None

# Metres from the robot, for models without a camera of their own that follows it
_CAMERA = {"distance": 4.0}
_PIXELS = 480

# Engine warnings after which MuJoCo has reset the simulation by itself: bad positions, velocities
# and accelerations, one after the other
_FATAL_WARNINGS = slice(
    int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1
)


def load_model(
    xml_file: str,
    timestep: float | None = None,
    edit: Callable[[mujoco.MjSpec], None] | None = None,
) -> mujoco.MjModel:
    """Compile a robot model: a name among Gymnasium's assets, or a path of your own.

    Args:
        xml_file: file name in Gymnasium's MuJoCo assets, or a path.
        timestep: simulator step in seconds, or None for the model's own.
        edit: changes the specification before it is compiled.

    Raises:
        EnvironmentConfigError: if there is no such file, or the timestep is not positive.
    """
    path = _ASSETS / xml_file if (_ASSETS / xml_file).is_file() else Path(xml_file)
    if not path.is_file():
        raise EnvironmentConfigError(f"no robot model {xml_file!r}: neither a path nor an asset")
    if timestep is not None and not timestep > 0:
        raise EnvironmentConfigError(f"timestep must be positive, got {timestep}")
    # Gymnasium's models use attributes that MuJoCo announces it will drop: no news to the user
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated and will be removed.*")
        spec = mujoco.MjSpec.from_file(str(path))
        if edit is not None:
            edit(spec)
        model = spec.compile()
    if timestep is not None:
        model.opt.timestep = timestep
    return model


def add_contact_probe(spec: mujoco.MjSpec, body: str) -> None:
    """Make the batch compute `cfrc_ext`: an accelerometer, whose value needs contact forces.

    Gymnasium computes them after the step (`mj_rnePostConstraint`); the batch at the first stage
    of the last simulator step. The probe changes no motion.
    """
    site = spec.body(body).add_site(name="contact_probe")
    spec.add_sensor(
        name="contact_probe",
        type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname=site.name,
    )


class MujocoTaskEnv(TaskVectorEnv):
    """N simulations of one robot, with per-simulation tasks and model fields.

    A subclass is a robot with a reward; what its task consists of are its parts: goals that the
    reward reads, variations of the robot, and any variation the user adds.

    Args:
        num_envs: N.
        xml_file: robot model, see `load_model`.
        parts: what the task consists of.
        variations: further parts by name, see `metarl_envs.parts.variations.VARIATIONS`, each with
            its arguments: `{"payload": {"max_mass": 3.0}}`; without any part at all, `link_mass`.
        frame_skip: simulator steps per control step.
        timestep: simulator step in seconds, or None for the model's own.
        observation_size: O.
        action_scale: actions are divided by this before they reach the actuators, so that a
            policy with unit noise explores 1/action_scale of their range.
        max_episode_steps: horizon in control steps, or None for none.
        num_threads: physics threads; 0 takes all CPUs. Results do not depend on it.

    Attributes:
        physics_s: seconds spent in the physics engine so far.
    """

    render_modes = ("human", "rgb_array")

    def __init__(
        self,
        num_envs: int,
        *,
        xml_file: str,
        parts: Sequence[TaskPart],
        observation_size: int,
        frame_skip: int,
        timestep: float | None = None,
        variations: Variations = None,
        action_scale: float = 1.0,
        max_episode_steps: int | None = None,
        num_threads: int = 0,
    ) -> None:
        if frame_skip < 1:
            raise EnvironmentConfigError(f"frame_skip must be positive, got {frame_skip}")
        self.model = load_model(xml_file, timestep, self._edit_model)
        self.num_envs = num_envs
        if not parts and not variations:
            variations = {"link_mass": {}}
        self.parts = (*parts, *make_variations(variations or {}))
        self._prepare_parts()
        low, high = self.model.actuator_ctrlrange.T
        super().__init__(
            num_envs,
            observation_size=observation_size,
            action_low=low.copy(),
            action_high=high.copy(),
            action_scale=action_scale,
            max_episode_steps=max_episode_steps,
        )
        self.frame_skip = frame_skip
        self.dt = self.model.opt.timestep * frame_skip
        self.batch = Batch(self.model, num_envs, num_threads)
        self.physics_s = 0.0
        self.qpos = self.batch.bind("qpos")  # live views of the simulations' states
        self.qvel = self.batch.bind("qvel")
        self._ctrl = self.batch.bind("ctrl")
        self._nominal: dict[str, np.ndarray] = {}
        self._renderer: Any = None
        self.render_fps = round(1 / self.dt)

    def _prepare_parts(self) -> None:
        """Let the parts see the model, and join their task spaces."""
        space: dict[str, spaces.Space] = {}
        self.nominal_task = {}
        for part in self.parts:
            part.prepare(self)
            repeated = space.keys() & part.spaces.keys()
            if repeated:
                raise EnvironmentConfigError(f"two parts vary the same task key {repeated.pop()!r}")
            space |= part.spaces
            self.nominal_task |= part.nominal
        self.task_space = spaces.Dict(space)
        self.shares_tasks = all(part.shares_tasks for part in self.parts)
        self._splits = combine_splits(self.parts)

    def _distributions(self) -> dict[str, TaskDistribution]:
        return self._splits

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        for name, nominal in self._nominal.items():
            self.batch.expand(name)[rows] = nominal
        for part in self.parts:
            part.apply(self, tasks, rows)
        if self._nominal:
            self.batch.set_const(rows)

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        self.batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE)
        for row, generator in zip(rows, generators, strict=True):
            self.qpos[row], self.qvel[row] = self._initial_state(generator)
        self.batch.forward(rows)
        for part in self.parts:
            part.reset(self, rows, generators)

    def _observe(self) -> np.ndarray:
        observations = self._robot_observation()
        for part in self.parts:
            observations = part.observe(self, observations)
        return observations

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        before = self._before_step()
        applied = control
        for part in self.parts:
            applied = part.act(self, applied)
        self._ctrl[:] = applied
        diverged: np.ndarray | None = None
        if rows is None or rows.size:
            start = time.perf_counter()
            try:
                self.batch.step(rows, nstep=self.frame_skip)
            except SimulationError as error:
                diverged = np.isin(np.arange(self.num_envs), error.ids)
            self.physics_s += time.perf_counter() - start
        if np.count_nonzero(self.batch.warning):
            fatal = self.batch.warning[:, _FATAL_WARNINGS, 1].any(axis=1)
            diverged = fatal if diverged is None else diverged | fatal
        rewards, terminated = self._outcome(before, control)
        return Transition(self._observe(), rewards, terminated, self._info(), diverged=diverged)

    def field(self, name: str) -> np.ndarray:
        """A model field of all simulations, shape (N, ...), to be written by the parts' `apply`.

        Before they are asked, the rows concerned hold the model's own values; afterwards the
        constants that MuJoCo derives from masses and inertias follow (`mj_setConst`).

        Args:
            name: as in `MjModel`, or "opt.<name>".
        """
        if name not in self._nominal:
            owner, _, attribute = name.rpartition(".")
            source = self.model.opt if owner else self.model
            self._nominal[name] = np.array(getattr(source, attribute))
        return self.batch.expand(name)

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one simulation, through Gymnasium's renderer."""
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        if self._renderer is None:
            self._drawn = copy.copy(self.model), mujoco.MjData(self.model)
            self._renderer = MujocoRenderer(
                *self._drawn, default_cam_config=_CAMERA, width=_PIXELS, height=_PIXELS
            )
        # the renderer keeps references: refill the same model and data
        model, data = self._drawn
        self.batch.get_model(row, model)
        self.batch.get_data(row, data)
        mujoco.mj_forward(model, data)
        return self._renderer.render(render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer, if any."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _before_step(self) -> Any:
        """What the reward needs of the state before the step; by default the root's x."""
        return self.qpos[:, 0].copy()

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        """Change the robot's specification before it is compiled."""

    @abstractmethod
    def _initial_state(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw one initial (qpos, qvel)."""

    @abstractmethod
    def _robot_observation(self) -> np.ndarray:
        """A fresh array of all observations, shape (num_envs, O)."""

    def _info(self) -> dict[str, np.ndarray]:
        """What `info` reports after a step, one row per simulation; such as "success"."""
        return {}

    @abstractmethod
    def _outcome(self, before: Any, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Rewards and terminated flags of all rows, from the state after the step.

        None for flags where no episode ends by itself.
        """
