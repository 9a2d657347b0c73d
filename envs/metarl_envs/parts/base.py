"""A part of a task: one or more of its keys, and what they do to the simulations.

A robot's task space is the union of its parts' spaces; goals and variations combine freely.
Shapes: N simulations, O observation, A actuators.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import mujoco
import numpy as np
from gymnasium import spaces

from metarl_envs.mirror import Exchange
from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.splits import Splits

TaskValue = int | float | list[float] | np.ndarray


class Simulations(Protocol):
    """What a part sees of the simulations.

    Attributes:
        model: of the robot.
        num_envs: N.
        elapsed_steps: control steps since the start of each episode, shape (N,).
    """

    model: mujoco.MjModel
    num_envs: int
    elapsed_steps: np.ndarray

    def field(self, name: str) -> np.ndarray:
        """A model field of all simulations, shape (N, ...), to be written by `apply`.

        The rows concerned then hold the model's own values; afterwards the constants that MuJoCo
        derives from masses and inertias follow.

        Args:
            name: as in `MjModel`, or "opt.<name>".
        """
        ...

    def bind(self, name: str) -> np.ndarray:
        """A field of `MjData` of all simulations, a live view with leading axis N."""
        ...


class TaskPart(ABC):
    """One or more keys of a task.

    Attributes:
        shares_tasks: True where training and test tasks are the same few.
        changes_in_episodes: whether its values come into force in mid-episode.
    """

    shares_tasks: bool = False
    changes_in_episodes: bool = False

    def prepare(self, simulations: Simulations) -> None:  # noqa: B027
        """Called once, when the model is compiled and before anything else is asked."""

    @property
    @abstractmethod
    def spaces(self) -> Mapping[str, spaces.Space]:
        """The space of each key."""

    @property
    @abstractmethod
    def nominal(self) -> Mapping[str, TaskValue]:
        """The value of each key that leaves the robot as its model defines it."""

    @abstractmethod
    def splits(self) -> Splits:
        """Distributions of these keys, by split name."""

    @abstractmethod
    def apply(self, simulations: Simulations, tasks: Tasks, rows: np.ndarray) -> None:
        """Put these keys' values (leading axis len(rows)) in force in some simulations."""

    def changing(self, simulations: Simulations, rows: np.ndarray) -> np.ndarray:
        """Which of these rows' values come into force or cease to be with the next step.

        Asked at reset and after every step where `changes_in_episodes`; `apply` follows.
        """
        return rows[:0]

    def in_force(self, tasks: Tasks, rows: np.ndarray) -> Tasks:
        """These rows' tasks (leading axis len(rows)) with the values that hold now."""
        return tasks

    def reset(  # noqa: B027
        self, simulations: Simulations, rows: np.ndarray, generators: list[np.random.Generator]
    ) -> None:
        """Called when episodes begin, after the initial states are drawn."""

    def act(self, simulations: Simulations, control: np.ndarray) -> np.ndarray:
        """What reaches the actuators when the policy asks for `control`, shape (N, A)."""
        return control

    def mirrored(self, motors: Exchange) -> Mapping[str, Exchange] | None:
        """What becomes of each key's numbers in the mirror; None where nobody has said.

        Args:
            motors: of what every motor has one of, such as its strength.
        """
        return None

    def observe(self, simulations: Simulations, observations: np.ndarray) -> np.ndarray:
        """What the policy sees of `observations`, shape (N, O)."""
        return observations
