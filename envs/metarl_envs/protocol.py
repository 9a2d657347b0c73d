"""The contract of a batched task environment, as its users see it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

from metarl_envs.tasks.batches import Tasks
from metarl_envs.tasks.distributions import TaskDistribution

# An episode succeeds if its info says so once (Meta-World's name), or at its last step (Fetch's)
ONCE, AT_THE_END = "success", "is_success"
SUCCESS_KEYS = (ONCE, AT_THE_END)
# A denser reward that meta-training may learn from; adaptation never sees it
TRAINING_REWARD = "training_reward"
# How far a robot is from what it is commanded, in units of the command; nothing learns from it
TRACKING_ERROR = "tracking_error"
PER_STEP_KEYS = (TRAINING_REWARD, TRACKING_ERROR)

RANDOM_KEYS = frozenset({"observation_noise_std", "push_force"})
"""Task keys of what is random in every episode: no simulation repeats what a robot met."""

Rows = np.ndarray | None  # indices of sub-environments; None means all of them


class Transition(NamedTuple):
    """What one step of the dynamics gave, one row per sub-environment."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray | None  # None for flags: of no sub-environment
    info: dict[str, np.ndarray]
    truncated: np.ndarray | None = None  # by the environment itself, before the horizon
    diverged: np.ndarray | None = None


@runtime_checkable
class SeenStart(Protocol):
    """An environment that can be put into the state that an observation shows."""

    def start_as_seen(self, observations: np.ndarray) -> None:
        """Begin the episodes that `reset` has just begun in these states instead, one row each.

        What an observation does not show is as at an episode's start.

        Raises:
            EnvironmentConfigError: if the environment cannot tell its state from observations.
        """
        ...


@runtime_checkable
class Changing(Protocol):
    """An environment whose tasks may change in mid-episode."""

    @property
    def changes_in_episodes(self) -> bool:
        """Whether they do, see `TaskEnv.tasks_in_force`."""
        ...


def changes_in_episodes(env: object) -> bool:
    """Whether an environment's tasks may change in mid-episode."""
    return isinstance(env, Changing) and env.changes_in_episodes


class TaskEnv(Protocol):
    """What sampling, training and rendering need of a batched task environment.

    Attributes:
        num_envs: N.
        single_observation_space: of one sub-environment.
        single_action_space: likewise.
        task_space: the space of a single task.
        shares_tasks: True where the literature trains and tests on the same few tasks.
        render_modes: what `draw` accepts.
        render_fps: frames per second of a film of every control step.
        step_s: seconds of simulated time of a control step, None where there is no time.
    """

    num_envs: int
    single_observation_space: spaces.Space
    single_action_space: spaces.Space
    task_space: spaces.Dict
    shares_tasks: bool
    render_modes: tuple[str, ...]
    render_fps: int
    step_s: float | None

    @property
    def tasks(self) -> Tasks:
        """The task of every sub-environment, in force from its next reset."""
        ...

    @property
    def tasks_in_force(self) -> Tasks:
        """The tasks as they hold in the episodes under way; values may change in mid-episode."""
        ...

    @property
    def physics_s(self) -> float:
        """Seconds spent in a physics engine so far, 0 where there is none."""
        ...

    @property
    def task_splits(self) -> tuple[str, ...]:
        """Names of the task distributions that there are."""
        ...

    def task_distribution(self, split: str) -> TaskDistribution:
        """The distribution named `split`."""
        ...

    def set_tasks(self, tasks: Mapping[str, Any]) -> None:
        """Give every sub-environment a task, in force from its next reset."""
        ...

    def reset(self, *, seed: int | Sequence[int] | None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes."""
        ...

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every running episode by one control step."""
        ...

    def draw(self, row: int, render_mode: str) -> np.ndarray | None:
        """A frame of one sub-environment."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...
