"""Robots as task environments: N simulations, goals and variations in one and the same way.

Shapes: N simulations, O observation, A actuators.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NoReturn

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.engine.model import load_model
from metarl_envs.engine.rendering import Renderer
from metarl_envs.engine.simulations import NativeSimulations
from metarl_envs.errors import EnvironmentConfigError, require_positive
from metarl_envs.parts.base import TaskPart
from metarl_envs.parts.goals import Forward, Goal
from metarl_envs.parts.variations import Variations, make_variations
from metarl_envs.protocol import Rows, Transition
from metarl_envs.task_env import TaskVectorEnv
from metarl_envs.tasks.batches import Tasks, take
from metarl_envs.tasks.distributions import TaskDistribution
from metarl_envs.tasks.splits import product_splits


class MujocoTaskEnv(TaskVectorEnv):
    """N simulations of one robot, with per-simulation tasks and model fields.

    A robot is a subclass: its model, initial states, observation, named quantities, costs and
    falls. What its tasks consist of is given: a goal that the reward reads, and variations.

    Args:
        num_envs: N.
        xml_file: robot model, see `load_model`.
        observation_size: O.
        goal: what is rewarded; by default running along x, the same in every task.
        variations: what varies besides, by name (`metarl_envs.parts.variations.VARIATIONS`), each
            with its arguments: `{"payload": {"max_mass": 3.0}}`. Without any task key at all,
            `link_mass`.
        parts: further parts of the task, made by hand.
        frame_skip: simulator steps per control step.
        timestep: simulator step in seconds, or None for the model's own.
        action_scale: actions are divided by this before they reach the actuators, so that a
            policy with unit noise explores 1/action_scale of their range.
        max_episode_steps: horizon in control steps, or None for none.
        num_threads: physics threads; 0 takes all CPUs. Results do not depend on it.

    Attributes:
        model: the robot's, as compiled.
        simulations: of the robot.
        qpos: positions, shape (N, nq), a live view.
        qvel: velocities, shape (N, nv), a live view.
        dt: control step in s.

    Raises:
        EnvironmentConfigError: if a size is not positive, a variation unknown, or the robot lacks
            a quantity that the goal needs.
    """

    render_modes = ("human", "rgb_array")

    def __init__(
        self,
        num_envs: int,
        *,
        xml_file: str,
        observation_size: int,
        frame_skip: int,
        goal: Goal | None = None,
        variations: Variations = None,
        parts: Sequence[TaskPart] = (),
        timestep: float | None = None,
        action_scale: float = 1.0,
        max_episode_steps: int | None = None,
        num_threads: int = 0,
    ) -> None:
        for name, size in (("num_envs", num_envs), ("frame_skip", frame_skip)):
            require_positive(name, size)
        self.model = load_model(xml_file, timestep, self._edit_model)
        self.simulations = NativeSimulations(self.model, num_envs, num_threads)
        self.qpos, self.qvel = self.simulations.qpos, self.simulations.qvel
        self.goal = goal or Forward()
        self._require_quantities("" if goal else ", the default,")
        varied = variations or ({} if self.goal.spaces or parts else {"link_mass": {}})
        self.parts = (self.goal, *parts, *make_variations(varied))
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
        self.simulations.elapsed_steps = self.elapsed_steps
        self.frame_skip, self.dt = frame_skip, self.model.opt.timestep * frame_skip
        self._velocity = np.zeros((num_envs, 2))
        self._renderer: Renderer | None = None
        self.render_fps, self.step_s = round(1 / self.dt), self.dt

    @property
    def physics_s(self) -> float:
        """Seconds spent in the physics engine so far."""
        return self.simulations.physics_s

    # Tasks

    def _require_quantities(self, default: str) -> None:
        for name in self.goal.needs:
            if getattr(type(self), name) is getattr(MujocoTaskEnv, name):
                raise EnvironmentConfigError(
                    f"the goal {type(self.goal).__name__}{default} needs the quantity {name!r}, "
                    f"which {type(self).__name__} does not have"
                )

    def _prepare_parts(self) -> None:
        """Let the parts see the model, and join their task spaces."""
        space: dict[str, spaces.Space] = {}
        self.nominal_task = {}
        for part in self.parts:
            part.prepare(self.simulations)
            repeated = space.keys() & part.spaces.keys()
            if repeated:
                raise EnvironmentConfigError(f"two parts vary the same task key {repeated.pop()!r}")
            space |= part.spaces
            self.nominal_task |= part.nominal
        self.task_space = spaces.Dict(space)
        keyed = [part for part in self.parts if part.spaces]
        self.shares_tasks = all(part.shares_tasks for part in keyed)
        self._splits = product_splits([part.splits() for part in keyed])
        self._changing = [part for part in self.parts if part.changes_in_episodes]

    def _distributions(self) -> Mapping[str, TaskDistribution]:
        return self._splits

    def _apply_tasks(self, tasks: Tasks, rows: np.ndarray) -> None:
        self.simulations.restore(rows)
        for part in self.parts:
            part.apply(self.simulations, tasks, rows)
        self.simulations.derive(rows)

    def _change(self, rows: np.ndarray) -> None:
        """Let values come into force, or go out of it, where their time has come."""
        changed = [part.changing(self.simulations, rows) for part in self._changing]
        due = np.unique(np.concatenate(changed))
        if due.size:
            self._apply_tasks(take(self._tasks_under_way, due), due)

    @property
    def changes_in_episodes(self) -> bool:
        """Whether parts of the task come into force in mid-episode."""
        return bool(self._changing)

    @property
    def tasks_in_force(self) -> Tasks:
        tasks, rows = super().tasks_in_force, np.arange(self.num_envs)
        for part in self._changing:
            tasks = part.in_force(tasks, rows)
        return tasks

    # Episodes

    def _reset_rows(self, rows: np.ndarray, generators: list[np.random.Generator]) -> None:
        if self._changing:
            self._change(rows)
        states = [
            self._initial_state(int(row), generator)
            for row, generator in zip(rows, generators, strict=True)
        ]
        self.simulations.reset(rows, states)
        for part in self.parts:
            part.reset(self.simulations, rows, generators)
        if self._changing:  # onsets are drawn now
            self._change(rows)

    def start_as_seen(self, observations: np.ndarray) -> None:
        """See `protocol.SeenStart`."""
        states = self._state_seen(np.asarray(observations, float))
        self.simulations.reset(np.arange(self.num_envs), list(zip(*states, strict=True)))

    def _state_seen(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(qpos, qvel) at an episode's start, shapes (N, nq) and (N, nv)."""
        raise EnvironmentConfigError(
            f"{type(self).__name__} cannot be put into the state that an observation shows"
        )

    def _state_but_for_place(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """That of observations which begin with qpos without its first number, and then qvel."""
        angles, size = self.model.nq - 1, self.model.nq - 1 + self.model.nv
        qpos = np.concatenate([np.zeros((self.num_envs, 1)), observations[:, :angles]], axis=1)
        return qpos, observations[:, angles:size]

    def _observe(self) -> np.ndarray:
        observations = self._robot_observation()
        for part in self.parts:
            observations = part.observe(self.simulations, observations)
        return observations

    def _advance(self, control: np.ndarray, rows: Rows) -> Transition:
        before = self._moved_point()
        applied = control
        for part in self.parts:
            applied = part.act(self.simulations, applied)
        diverged = self.simulations.step(applied, rows, self.frame_skip)
        self._velocity = (self._moved_point() - before) / self.dt
        rewards, terminated = self._outcome(control)
        if self._changing:
            self._change(np.arange(self.num_envs) if rows is None else rows)
        return Transition(
            self._observe(), rewards, terminated, self.goal.info(self), diverged=diverged
        )

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one simulation."""
        if self._renderer is None:
            self._renderer = Renderer(self.model)
        return self._renderer.draw(self.simulations.batch, row, render_mode)

    def close_extras(self, **kwargs: object) -> None:
        """Free the renderer, if any."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # What a robot defines

    def _edit_model(self, spec: mujoco.MjSpec) -> None:
        """Change the robot's specification before it is compiled."""

    @abstractmethod
    def _initial_state(
        self, row: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the initial (qpos, qvel) of one simulation."""

    @abstractmethod
    def _robot_observation(self) -> np.ndarray:
        """A fresh array of all observations, shape (num_envs, O)."""

    @abstractmethod
    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Rewards and terminated flags of all rows, from the state after the step.

        None for flags where no episode ends by itself.
        """

    # Named quantities (`parts.goals.Quantities`): a robot overrides those that it has

    def _moved_point(self) -> np.ndarray:
        """A copy of the point whose motion is the robot's velocity: shape (N, 1 or 2)."""
        return self.qpos[:, :1].copy()

    @property
    def forward_velocity(self) -> np.ndarray:
        """Mean velocity along x during the last control step in m/s, shape (N,)."""
        self._lacks("forward_velocity")

    @property
    def planar_velocity(self) -> np.ndarray:
        """Mean velocity in the horizontal plane during the last control step, shape (N, 2)."""
        self._lacks("planar_velocity")

    @property
    def position(self) -> np.ndarray:
        """Where the robot is in the horizontal plane in m, shape (N, 2)."""
        self._lacks("position")

    @property
    def height(self) -> np.ndarray:
        """Height of the trunk in m, shape (N,)."""
        self._lacks("height")

    @property
    def pitch(self) -> np.ndarray:
        """Angle of the trunk in the sagittal plane in rad, shape (N,)."""
        self._lacks("pitch")

    @property
    def tip(self) -> np.ndarray:
        """Position of the arm's tip in m, shape (N, 3)."""
        self._lacks("tip")

    @property
    def tracking(self) -> np.ndarray:
        """How well the robot follows its command, as its weights say, shape (N,)."""
        self._lacks("tracking")

    @property
    def tracking_error(self) -> np.ndarray:
        """Distance of the mean velocity from the commanded one in m/s, shape (N,)."""
        self._lacks("tracking_error")

    def _lacks(self, name: str) -> NoReturn:
        raise EnvironmentConfigError(f"{type(self).__name__} has no quantity {name!r}")
